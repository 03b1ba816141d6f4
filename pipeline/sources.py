"""Pictures from files, RTSP streams and webcams; for a live camera a thread keeps only the newest one."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame

from pipeline.config import CameraConfig, redact
from pipeline.datatypes import END_OF_FILE, U8, Frame, Position
from pipeline.errors import SourceError

log = logging.getLogger(__name__)

_OPEN_TIMEOUT_S = 5.0
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_CORRUPT_LIMIT = 100  # undecodable packets in a row before a source counts as broken
_SHORT_BY_S = 1.0  # stated lengths are rounded
_READ_AHEAD = 8
_LEAVE_S = 2.0
_BEGINNING = Position()


class Picture(Protocol):
    """A decoded picture whose pixels are converted only when wanted."""

    def bgr(self) -> U8:
        """(H, W, 3) uint8."""
        ...


@dataclass(frozen=True, slots=True)
class _Decoded:
    frame: VideoFrame

    def bgr(self) -> U8:
        return np.asarray(self.frame.to_ndarray(format="bgr24"), np.uint8)


@dataclass(frozen=True, slots=True)
class _Grabbed:
    image_bgr: U8

    def bgr(self) -> U8:
        return self.image_bgr


@dataclass(frozen=True, slots=True)
class Timed:
    """A picture and its time in seconds: of a file since its first frame, of a stream by the container."""

    seconds: float
    picture: Picture


def read_video(camera: CameraConfig) -> Iterator[Timed]:
    """Every picture of a source, in order, until a file ends.

    Raises:
        SourceError: it cannot be opened, stops answering, is corrupt, or a file ends before its stated length.
    """
    if camera.url.startswith("webcam:"):
        yield from _read_webcam(camera)
    else:
        yield from _read_container(camera)


def _read_container(camera: CameraConfig) -> Iterator[Timed]:
    with _opened(camera) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO" if camera.is_file else "SLICE"
        start = float((stream.start_time or 0) * (stream.time_base or 0)) if camera.is_file else 0.0
        clock = _Clock(start, 1 / float(stream.average_rate or 25))
        count, damaged, in_a_row, seconds = 0, 0, 0, 0.0
        try:
            for packet in container.demux(stream):
                damaged += packet.is_corrupt
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError as error:
                    damaged, in_a_row = damaged + 1, in_a_row + 1
                    if in_a_row > _CORRUPT_LIMIT:
                        raise SourceError(_broken(camera, count, seconds, error)) from error
                    continue
                for frame in frames:
                    in_a_row = 0
                    count += 1
                    seconds = clock.seconds(frame.time)
                    yield Timed(seconds, _Decoded(frame))
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(_broken(camera, count, seconds, error)) from error
        if not camera.is_file:
            raise SourceError(f"{camera.id}: {camera.safe_url} ended its stream after {count} frames; reconnecting")
        # An edited file states frames that it does not show; only one that also ends early lacks them.
        stated_s = float((stream.duration or 0) * (stream.time_base or 0))
        if damaged or (count < stream.frames and seconds < stated_s - _SHORT_BY_S):
            raise SourceError(
                f"{camera.id}: {camera.safe_url}: {count} frames could be read, the last at {seconds:.1f} of "
                f"{stated_s:.1f} s; the file is truncated or damaged, copy it again"
            )


class _Clock:
    """Time since the first frame that never goes back: recorders join clips whose times begin anew.

    Args:
        start: time of the first frame.
        step_s: from one frame to the next where the container does not say.
    """

    def __init__(self, start: float, step_s: float) -> None:
        self._start = start
        self._step_s = step_s
        self._last = -step_s

    def seconds(self, stated: float | None) -> float:
        """Seconds of the next frame, whose time the container states, or not."""
        following = self._last + self._step_s
        if stated is None:
            self._last = following
        elif stated - self._start < self._last:
            self._start, self._last = stated - following, following
        else:
            self._last = stated - self._start
        return self._last


@contextmanager
def _opened(camera: CameraConfig) -> Iterator[InputContainer]:
    if camera.is_file and Path(camera.url).is_fifo():  # opening one waits for a writer, and for ever
        raise SourceError(f"{camera.id}: cannot open {camera.safe_url}: a pipe; give a video file")
    options = {"rtsp_transport": "tcp", "fflags": "nobuffer"} if camera.url.startswith("rtsp") else {}
    try:
        container = av.open(camera.url, options=options, timeout=(_OPEN_TIMEOUT_S, camera.max_age_s))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SourceError(_unopened(camera, error)) from error
    with container:
        if not container.streams.video or container.format.name == "tty":  # ffmpeg draws text files
            raise SourceError(f"{camera.id}: {camera.safe_url} holds no video; give a video file or stream")
        yield container


def _unopened(camera: CameraConfig, error: Exception) -> str:
    advice = {
        av.error.FileNotFoundError: "no such file; check the url, relative paths start at cams.yaml",
        av.error.IsADirectoryError: "a folder; give a video file",
        av.error.InvalidDataError: "not a video that can be read; if it is one, it may be truncated, copy it again",
        av.error.HTTPUnauthorizedError: "user or password refused; check the secret behind the url",
        av.error.HTTPNotFoundError: "the server knows no such stream; check the path of the url",
        av.error.ConnectionRefusedError: "connection refused; check host and port, and that the camera is on",
        av.error.ExitError: f"no video within {_OPEN_TIMEOUT_S:g} s; check host, path, cable and firewall",
        av.error.ProtocolNotFoundError: "unknown kind of url; use rtsp://, http://, a file or webcam:N",
    }
    if not camera.is_file:  # a host that accepts and stays silent ends as invalid data
        advice[av.error.InvalidDataError] = advice[av.error.ExitError]
        advice[av.error.OSError] = f"{_told(camera, error)}; check the host's name and the network"
    reason = next((text for kind, text in advice.items() if isinstance(error, kind)), "")
    return f"{camera.id}: cannot open {camera.safe_url}: {reason or _told(camera, error)}"


def _broken(camera: CameraConfig, count: int, seconds: float, error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return f"{camera.id}: no frame for {camera.max_age_s:g} s from {camera.safe_url}; check it or raise max_age_s"
    return f"{camera.id}: {camera.safe_url} broke after {count} frames ({seconds:.1f} s): {_told(camera, error)}"


def _told(camera: CameraConfig, error: Exception) -> str:
    reason = error.strerror if isinstance(error, (av.error.FFmpegError, OSError)) else None
    return redact(reason or str(error).replace(camera.url, ""))


def _read_webcam(camera: CameraConfig) -> Iterator[Timed]:
    number = camera.url.removeprefix("webcam:")
    if not number.isdecimal():
        raise SourceError(f"{camera.id}: {camera.url!r} names no webcam; write webcam:0 for the first")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong is said once, below
    device = cv2.VideoCapture(int(number))
    try:
        if not device.isOpened():
            raise SourceError(f"{camera.id}: webcam {number} cannot be opened; is it plugged in and not in use?")
        while True:
            there, image = device.read()
            if not there:
                raise SourceError(f"{camera.id}: webcam {number} delivers no more frames; is it still plugged in?")
            yield Timed(time.monotonic(), _Grabbed(image.astype(np.uint8, copy=False)))
    finally:
        device.release()


def _as_source_error(camera: CameraConfig, error: Exception) -> SourceError:
    if isinstance(error, SourceError):
        return error
    return SourceError(f"{camera.id}: {camera.safe_url}: {type(error).__name__}: {redact(str(error))}")


@dataclass(slots=True)
class CaptureState:
    """What a live camera's thread tells; `changes` counts ups and downs, `captured` is the index of the next frame."""

    up: bool = False
    reason: str = "connecting"
    changes: int = 0
    captured: int = 0
    overwritten: int = 0
    reconnects: int = 0
    ended: bool = False


class _Pace:
    """Which frames of a camera are looked at: the first of each slot of 1 / max_fps seconds.

    Slots begin a quarter early, so that a frame that comes somewhat before its time does not fall into the slot before.

    Args:
        max_fps: None takes every frame.
    """

    def __init__(self, max_fps: float | None) -> None:
        self._max_fps = max_fps
        self._first: float | None = None
        self._slot = -1

    def takes(self, seconds: float) -> bool:
        """Whether the frame of this time, no earlier than that of the last call, is one of them."""
        if self._max_fps is None:
            return True
        self._first = seconds if self._first is None else self._first
        slot = math.floor((seconds - self._first) * self._max_fps + 0.25)
        taken, self._slot = slot > self._slot, slot
        return taken


class LiveCapture:
    """Thread of one live camera: reads, reconnects with back-off, and keeps the newest picture only.

    A file is played at its own speed. `with` starts and stops the thread.

    Args:
        notify: called after each new picture and each change of state, from the thread.
        position: where to go on; what a file would have shown meanwhile is passed over.
        utc: seconds at the zero of the monotonic clock, the same for all cameras of a run; a clock that is set back
            must not stop the trackers.
    """

    def __init__(
        self, camera: CameraConfig, notify: Callable[[], None], position: Position = _BEGINNING, utc: float = 0.0
    ) -> None:
        self.camera = camera
        self._position = position
        self.utc = utc
        self.state = CaptureState()
        self._notify = notify
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._newest: tuple[int, float, Picture] | None = None

    def take(self) -> Frame | None:
        """The newest frame that was not taken yet, or None."""
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return None
        index, arrived, picture = newest
        age_s = time.monotonic() - arrived
        return Frame(self.camera.id, index, self.utc + arrived, time.time() - age_s, picture.bgr())

    def __enter__(self) -> Self:
        self.state.captured = self._position.index_at(time.monotonic())
        self._thread = threading.Thread(target=self._run, name=f"capture-{self.camera.id}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Asks the thread to end. Leaving waits for it, no longer than two seconds from here: a read may block."""
        if not self._stop.is_set():
            self._leave_by = time.monotonic() + _LEAVE_S
            self._stop.set()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self._thread.join(max(0.0, self._leave_by - time.monotonic()))

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            before = self.state.captured
            try:
                self._read()
                if self._stop.is_set():
                    return
                self._change(up=False, reason=END_OF_FILE)
                self.state.ended = True
                self._notify()
                return
            except Exception as error:  # top of the thread: whatever a decoder throws is this camera's problem alone
                if self._stop.is_set():  # nobody waits for it any more
                    return
                failures = 1 if self.state.captured > before else failures + 1
                self._change(up=False, reason=str(_as_source_error(self.camera, error)))
            if self.camera.is_file:
                self.state.ended = True
                self._notify()
                return
            self.state.reconnects += 1
            self._stop.wait(_BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1])

    def _read(self) -> None:
        started: float | None = None
        over = self.state.captured - self._position.first if self.camera.is_file else 0
        pace = _Pace(self.camera.max_fps)
        for timed in islice(read_video(self.camera), over, None):
            if self.camera.is_file:
                started = time.monotonic() - timed.seconds if started is None else started
                self._stop.wait(max(0.0, started + timed.seconds - time.monotonic()))
            if self._stop.is_set():
                return
            if not self.state.up:
                self._change(up=True, reason="")
            index, arrived = self.state.captured, time.monotonic()
            self.state.captured += 1
            if pace.takes(timed.seconds if self.camera.is_file else arrived):
                with self._lock:
                    self.state.overwritten += self._newest is not None
                    self._newest = (index, arrived, timed.picture)
                self._notify()

    def _change(self, *, up: bool, reason: str) -> None:
        if (up, reason) != (self.state.up, self.state.reason):
            self.state.up, self.state.reason = up, reason
            self.state.changes += 1
            told = "frames are coming" if up else reason.removeprefix(f"{self.camera.id}: ")
            log.log(logging.INFO if up or reason == END_OF_FILE else logging.WARNING, "%s: %s", self.camera.id, told)
            self._notify()


class FileReplay:
    """Every frame of a file, or `max_fps` a second, in order, decoded ahead by a thread; `with` starts and stops it."""

    def __init__(self, camera: CameraConfig) -> None:
        self.camera = camera
        self._queue: queue.Queue[Frame | SourceError | None] = queue.Queue(_READ_AHEAD)
        self._stop = threading.Event()

    def next(self) -> Frame | None:
        """The next frame, None at the end.

        Raises:
            SourceError: the file cannot be read further; what was read before has been returned.
        """
        found = self._queue.get()
        if isinstance(found, SourceError):
            raise found
        return found

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name=f"replay-{self.camera.id}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        try:
            pace = _Pace(self.camera.max_fps)
            for index, timed in enumerate(read_video(self.camera)):
                if not pace.takes(timed.seconds):
                    continue
                captured_at = self.camera.started_at + timed.seconds
                image = timed.picture.bgr()
                if not self._put(Frame(self.camera.id, index, captured_at, time.time(), image)):
                    return
            self._put(None)
        except Exception as error:  # top of the thread: it must end with a word, or the replay waits for ever
            self._put(_as_source_error(self.camera, error))

    def _put(self, item: Frame | SourceError | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
