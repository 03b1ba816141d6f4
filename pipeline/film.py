"""The film of a run: all cameras side by side, in the times of their pictures, as H.264."""

import logging
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.video.frame import VideoFrame

from pipeline.annotate import Mosaic
from pipeline.datatypes import U8, CameraIdentities
from pipeline.errors import StoreError

log = logging.getLogger(__name__)

_CLOCK = 1000  # ticks a second of the written video
_LONGEST_PAUSE_S = 3.0
_AFTER_S = 0.1  # from the last picture to the same one with another camera dark


class Film:
    """What every camera shows, moment by moment; `with` opens and finishes it.

    Args:
        max_age_s: by camera, in reading order: how long its picture is taken for one of now; then it is dark.
    """

    def __init__(self, path: Path, max_age_s: Mapping[str, float]) -> None:
        self._mosaic = Mosaic(max_age_s)
        self._video = VideoWriter(path, self._mosaic.size_wh)
        self._clock = FilmClock()

    def show(
        self, camera_id: str, image_bgr: U8, seen: CameraIdentities | None, at: float, shrunk: float = 1.0
    ) -> None:
        """Takes in a camera's picture of a moment, which the next `write` adds (`Mosaic.show`)."""
        self._mosaic.show(camera_id, image_bgr, seen, at, shrunk)

    def lose(self, camera_id: str, *, ended: bool = False) -> bool:
        """Darkens a camera from the next picture on; False if it is dark (`Mosaic.lose`)."""
        return self._mosaic.lose(camera_id, ended=ended)

    def write(self, at: float) -> None:
        """Adds what all cameras show at a moment. One that is not after those before is left out.

        Raises:
            StoreError: the film cannot be written.
        """
        self._mosaic.fade(at)
        self._video.write(self._mosaic.image_bgr, self._clock.seconds(at))

    def write_again(self) -> None:
        """Adds what all cameras show a little after the last moment, as when one of them went dark; raises as `write`.

        A film without a picture does not begin by it.
        """
        if self._clock.last is not None:
            self.write(self._clock.last + _AFTER_S)

    def __enter__(self) -> Self:
        self._video.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._video.__exit__(kind, value, at)


class FilmClock:
    """Where in a film a moment lies: from one to the next, of all cameras, it passes no more than a few seconds.

    Attributes:
        last: the latest moment asked for.
    """

    def __init__(self) -> None:
        self.last: float | None = None
        self._start = 0.0
        self._cut = 0.0

    def seconds(self, at: float) -> float:
        """Seconds since the first moment, less what was cut."""
        if self.last is None:
            self._start = self.last = at
        self._cut += max(0.0, at - self.last - _LONGEST_PAUSE_S)
        self.last = max(self.last, at)
        return at - self._start - self._cut


class FilmFile:
    """A file for FFmpeg to write. FFmpeg passes over some failures of a disk; this one keeps the first for `check`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._failure: OSError | None = None

    def write(self, content: bytes) -> int:
        """Always the length of the content, whether it could be written or not."""
        if self._failure is None:
            try:
                self._file.write(content)
            except OSError as error:
                self._failure = error
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place."""
        return self._file.tell()

    def close(self) -> None:
        """Writes what is buffered."""
        try:
            self._file.close()
        except OSError as error:
            self._failure = self._failure or error

    def check(self) -> None:
        """Raises OSError, the first one, when anything could not be written."""
        if self._failure:
            raise self._failure


class VideoWriter:
    """An H.264 file whose frames carry their times; `with` opens and finishes it. A finish that fails is logged.

    Args:
        size_wh: even numbers of pixels.
    """

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: int = 10) -> None:
        self._path = path
        self._size_wh = size_wh
        self._fps = fps
        self._last_pts = -1
        self._failed = False

    def write(self, image_bgr: U8, seconds: float) -> None:
        """Adds one picture (H, W, 3); a time not after the last one is skipped.

        Raises:
            StoreError: the file cannot be written.
        """
        pts = round(seconds * _CLOCK)
        if pts <= self._last_pts:
            return
        self._last_pts = pts
        frame = VideoFrame.from_ndarray(image_bgr, format="bgr24")
        frame.pts, frame.time_base = pts, Fraction(1, _CLOCK)
        try:
            self._container.mux(self._stream.encode(frame))
            self._file.check()
        except (av.error.FFmpegError, OSError) as error:
            self._failed = True  # told here, and not again on leaving
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> StoreError:
        return StoreError(f"{self._path}: cannot write the video: {error}; free space there or leave out --video")

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = FilmFile(self._path)
        except OSError as error:
            raise self._failure(error) from error
        # Fragments: what was written stays playable when the process dies. Without B-frames, or they would begin late.
        options = {"movflags": "frag_keyframe+empty_moov"}
        self._container = av.open(self._file, "w", format="mp4", options=options)
        self._stream = self._container.add_stream("libx264", rate=self._fps)
        self._stream.width, self._stream.height = self._size_wh
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._stream.options = {"preset": "veryfast", "crf": "26", "g": str(2 * self._fps), "bf": "0"}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._last_pts >= 0 and kind is None and not self._failed:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            self._file.close()
            self._file.check()
        except (av.error.FFmpegError, OSError) as error:
            if kind is None and not self._failed:
                log.error("%s; its end is missing", self._failure(error))
