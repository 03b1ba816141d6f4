"""Starts the process table of a live run, watches it, restarts what dies or hangs, and sums it up. Holds no model."""

import logging
import multiprocessing
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import zmq

from pipeline import processes
from pipeline.config import Site
from pipeline.datatypes import Position
from pipeline.errors import PipelineError
from pipeline.job import Addresses, Job, rss_mb, start_deaf
from pipeline.results import Summary, camera_summary
from pipeline.sinks import frames_written
from pipeline.stop import Stop
from pipeline.telemetry import CameraCounters, Latencies, MatcherReport, Reports, WorkerReport
from pipeline.wire import Context, Receiver

log = logging.getLogger(__name__)

_SILENT_S = 30.0  # a process that reports nothing for so long hangs
_FIRST_REPORT_S = 120.0  # networks may take long to load
_BACKOFF_S = (0.0, 1.0, 2.0, 5.0, 10.0)
_STABLE_S = 30.0
_STOP_S = 10.0
_MINUTE_S = 60.0

Progress = Callable[[Mapping[str, CameraCounters], int], None]


class Course:
    """What a camera's reports say of its course, of which the newest few seconds are kept.

    Args:
        first: index of its first frame.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._heard: deque[tuple[float, int]] = deque(maxlen=6)

    def hear(self, captured: int, now: float) -> None:
        """Takes in one report."""
        self._heard.append((now, captured))

    def position(self) -> Position:
        """Where the camera was at its last report, and how fast it went."""
        if not self._heard:
            return Position(self._first, first=self._first)
        (since, before), (at, index) = self._heard[0], self._heard[-1]
        return Position(index, at, (index - before) / (at - since) if at > since else 0.0, self._first)


class _Child:
    """A process of the table and the history of its restarts.

    Args:
        brief: brings a job up to date before each start.
    """

    def __init__(self, spec: processes.ProcessSpec, brief: Callable[[Job], Job]) -> None:
        self.spec = spec
        self._brief = brief
        self.restarts = 0
        self.heard_at = 0.0
        self._failures = 0
        self._start_at = 0.0
        self._started_at = 0.0
        self._process: BaseProcess | None = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        spec = replace(self.spec, job=self._brief(self.spec.job))
        self._process = context.Process(target=processes.main, args=(spec,), name=spec.name)
        start_deaf(self._process)
        self._started_at = time.monotonic()
        self.heard_at = self._started_at + _FIRST_REPORT_S - _SILENT_S

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def watch(self, now: float) -> None:
        """Restarts the process when it is dead or silent.

        Raises:
            PipelineError: it says that no restart will help.
        """
        if self._process is None:
            if now >= self._start_at:
                self.start()
            return
        if self._process.is_alive():
            if not self.spec.optional and now - self.heard_at > _SILENT_S:
                log.warning("%s: silent for %.0f s, killed and restarted", self.spec.name, now - self.heard_at)
                self._process.kill()
            return
        if self._process.exitcode == processes.FAILED and self.spec.optional:
            return
        if self._process.exitcode == processes.FAILED:
            raise PipelineError(f"{self.spec.name} cannot work; the line above says why")
        self._failures = 0 if now - self._started_at > _STABLE_S else self._failures + 1
        wait = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        log.warning("%s: died (exit status %s), starting again", self.spec.name, self._process.exitcode)
        self._process, self._start_at = None, now + wait
        self.restarts += 1

    def stop(self) -> None:
        """Asks the process to end, and makes it; one that was never started needs nothing."""
        if self._process is None or not self._process.is_alive():
            return
        self._process.terminate()
        self._process.join(_STOP_S)
        if self._process.is_alive():
            log.warning("%s: did not stop within %.0f s, killed", self.spec.name, _STOP_S)
            self._process.kill()
            self._process.join()


class Supervisor:
    """A live run of a site. `run` returns when every camera has ended, the time is over, or on Ctrl-C.

    Args:
        out: run directory; identities found there are known again.
        network: digest of the network that describes people; identities of another one are refused.
        seconds: longest duration, None for no end.
        on_progress: called about twice a second with each camera's counters and the number of identities.
    """

    def __init__(
        self,
        site: Site,
        out: Path,
        *,
        network: str = "",
        video: bool = False,
        pictures: bool = False,
        tracklets: bool = False,
        seconds: float | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._site = site
        self._out = out
        self._network = network
        self._video = video
        self._pictures = pictures
        self._tracklets = tracklets
        self._seconds = seconds
        self._on_progress = on_progress
        self._reports = Reports()
        self._courses: dict[str, Course] = {}
        self._epoch = 0

    def run(self) -> Summary:
        """Runs the site.

        Raises:
            PipelineError: a process cannot work, however often restarted; its line in the log says why.
        """
        sockets = Path(tempfile.mkdtemp(prefix="mspf-"))
        names = ("tracklets", "identities", "telemetry", "views")
        addresses = Addresses(*(f"ipc://{sockets / name}" for name in names))
        utc = time.time() - time.monotonic()
        job = Job(
            self._site,
            self._out,
            addresses,
            self._site.cameras,
            video=self._video,
            pictures=self._pictures,
            tracklets=self._tracklets,
            utc=utc,
            network=self._network,
        )
        ids = [camera.id for camera in self._site.cameras]
        self._courses = {one: Course(frames_written(self._out, one)) for one in ids}
        children = [_Child(spec, self._brief) for spec in processes.process_table(job)]
        started = time.monotonic()
        try:
            with ExitStack() as stack:
                context = stack.enter_context(Context())
                telemetry = stack.enter_context(Receiver(context, zmq.PULL, addresses.telemetry, 1024))
                stop = stack.enter_context(Stop())
                for child in children:
                    if not stop.asked:
                        stack.callback(child.stop)  # first, whatever happens while it starts
                        child.start()
                self._watch(children, telemetry, started, stop)
                if stop.asked:
                    log.warning("stopping")
                for child in reversed(children):  # the workers first: the matcher still takes their last words
                    child.stop()
                self._listen(children, telemetry, 0.2)
                return self._summary(time.monotonic() - started, sum(child.restarts for child in children))
        finally:
            shutil.rmtree(sockets, ignore_errors=True)

    def _watch(self, children: list[_Child], telemetry: Receiver, started: float, stop: Stop) -> None:
        shown_at = 0.0
        minute_at, latencies = started + _MINUTE_S, Latencies()
        while not stop.asked and (self._seconds is None or time.monotonic() - started < self._seconds):
            self._listen(children, telemetry, 0.2)
            now = time.monotonic()
            for child in children:
                child.watch(now)
            if self._on_progress and now - shown_at > 0.5:
                self._on_progress(self._reports.cameras, self._reports.identities)
                shown_at = now
            if now >= minute_at:
                minute_at, latencies = now + _MINUTE_S, self._log_minute(latencies)
            if self._all_ended():
                return

    def _listen(self, children: list[_Child], telemetry: Receiver, timeout_s: float) -> None:
        for message in telemetry.receive(timeout_s):
            if not isinstance(message, WorkerReport | MatcherReport):
                continue
            self._reports.hear(message)
            if isinstance(message, WorkerReport):
                for camera_id, counters in message.cameras.items():
                    self._courses[camera_id].hear(counters.captured, time.monotonic())
            for child in children:
                if child.pid == message.pid:
                    child.heard_at = time.monotonic()

    def _brief(self, job: Job) -> Job:
        self._epoch = max(self._epoch + 1, time.time_ns() // 1_000_000)  # grows though the clock be set back
        positions = {camera_id: course.position() for camera_id, course in self._courses.items()}
        return replace(job, epoch=self._epoch, positions=positions)

    def _rss_mb(self) -> float:
        return round(rss_mb() + self._reports.rss_mb, 1)

    def _log_minute(self, before: Latencies) -> Latencies:
        """One line a minute for whoever asks later whether it slowed down or grew."""
        total = self._reports.latencies()
        recent = Latencies(total.counts - before.counts).summary()
        counters = self._reports.cameras.values()
        log.info(
            "minute: p50 %.0f ms, p95 %.0f ms, p99 %.0f ms, %.0f MB, %d frames, %d dropped, %d identities",
            *recent.values(),
            self._rss_mb(),
            sum(one.frames for one in counters),
            sum(sum(one.dropped.values()) for one in counters),
            self._reports.identities,
        )
        return total

    def _all_ended(self) -> bool:
        counters = self._reports.cameras
        return len(counters) == len(self._site.cameras) and all(one.ended for one in counters.values())

    def _summary(self, seconds: float, restarts: int) -> Summary:
        cameras = {one.id: camera_summary(self._reports.total(one.id), seconds) for one in self._site.cameras}
        return Summary(
            mode="live",
            identities=self._reports.identities,
            seconds=round(seconds, 2),
            fps=round(sum(camera.frames for camera in cameras.values()) / seconds, 1),
            cameras=cameras,
            latency_ms=self._reports.latencies().summary(),
            rss_mb=self._rss_mb(),
            restarts=restarts,
        )
