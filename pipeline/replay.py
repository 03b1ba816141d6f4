"""Files to identities in one process: no frame is dropped, and the same files give the same event log, byte for byte.

Worker and matcher are joined by a function call and time comes from the files; people in the next few steps are
detected in a thread while this one is tracked, described and matched.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import psutil

from pipeline.config import Site
from pipeline.datatypes import END_OF_FILE, CameraIdentities, CameraState, Detections, Frame
from pipeline.embedder import reid_digest
from pipeline.errors import SourceError, StoreError
from pipeline.film import Film
from pipeline.kept_tracks import kept_files
from pipeline.match_service import MatchService
from pipeline.matcher import Matcher
from pipeline.networks import load_networks
from pipeline.people import FOUND, PAGE, is_page
from pipeline.portraits import Portraits, of_replays
from pipeline.results import Summary, camera_summary
from pipeline.sinks import RunWriter
from pipeline.sources import FileReplay
from pipeline.stop import Stop
from pipeline.store import Store, is_of_a_live_run
from pipeline.telemetry import CameraCounters, Latencies
from pipeline.worker import Worker

log = logging.getLogger(__name__)

_REPLACED = (
    "identities.db",
    "identities.db-wal",
    "identities.db-shm",
    "summary.json",
    "evaluation.json",
    "mosaic.mp4",
)
_SAME_MOMENT_S = 0.02  # frames of different cameras this close share a step
_BATCH = 4  # frames in a call of the detector: a quarter less core time each than alone, and more save little
_AHEAD = 1  # batches that are detected while an earlier one is matched

_Steps = Iterator[tuple[list[Frame], list[Detections]]]
Progress = Callable[[Mapping[str, CameraCounters], int], None]


class Replay:
    """One replay of a site of files into a run directory, whatever an earlier replay left there replaced.

    Args:
        video: also write mosaic.mp4.
        pictures: also keep a good view of every track.
        tracklets: also keep tracks as their cameras follow them.
        on_progress: called about twice a second with each camera's counters and the number of identities.
    """

    def __init__(
        self,
        site: Site,
        out: Path,
        *,
        video: bool = False,
        pictures: bool = False,
        tracklets: bool = False,
        on_progress: Progress | None = None,
    ) -> None:
        self._site = site
        self._out = out
        self._video = video
        self._pictures = pictures
        self._tracklets = tracklets
        self._on_progress = on_progress
        self._ids = [camera.id for camera in site.cameras]
        self._counters = {one: CameraCounters() for one in self._ids}
        self._last_index: dict[str, int] = {}  # of each camera whose end was read
        self._latencies = Latencies()
        self._interrupted = False

    def run(self) -> Summary:
        """Replays everything, or what there is until Ctrl-C.

        Raises:
            EngineFailure: a network cannot be loaded or run; what an earlier replay left is still there.
            StoreError: the run directory cannot be written, or is a live run's.
        """
        networks = load_networks(self._site, replay=True)
        self._make_room()
        embedder = networks.embedder
        portraits = Portraits(self._out) if self._pictures else None
        worker = Worker(self._site, 0, networks.detector, embedder, portraits)
        with ExitStack() as stack:
            writer = stack.enter_context(RunWriter(self._out, self._ids, fresh=True, tracklets=self._tracklets))
            config, path = self._site.matcher, self._out / "identities.db"
            store = Store(
                path,
                embedder.dimension,
                bias_removed=config.remove_camera_bias,
                network=reid_digest(self._site.reid.model),
                replayed=True,
            )
            stack.enter_context(store)
            service = MatchService(Matcher(config, embedder.dimension), store, writer)
            film = stack.enter_context(self._film()) if self._video else None
            started = time.monotonic()
            with Stop() as stop:
                self._play(_detected(worker, self._steps(writer)), worker, service, film, stop)
                service.finish()
            return self._summary(service, time.monotonic() - started)

    def _film(self) -> Film:
        return Film(self._out / "mosaic.mp4", {camera.id: camera.max_age_s for camera in self._site.cameras})

    def _make_room(self) -> None:
        if is_of_a_live_run(self._out / "identities.db"):
            raise StoreError(
                f"{self._out}: holds the identities of a live run, which a replay would replace; give another --out, "
                "or --live to go on there"
            )
        try:
            pages = filter(is_page, (self._out / PAGE, self._out / FOUND))
            old = [*(self._out / name for name in _REPLACED), *(self._out / "tracks").glob("*.txt")]
            for path in (*old, *of_replays(self._out), *kept_files(self._out), *pages):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{error.filename}: cannot be replaced: {error.strerror}; give another --out") from error

    def _play(self, steps: _Steps, worker: Worker, service: MatchService, film: Film | None, stop: Stop) -> None:
        shown_at = 0.0
        for frames, detections in steps:
            if stop.asked:
                log.warning("stopping")
                self._interrupted = True
                for camera_id in self._ids:
                    service.step(worker.finish(camera_id))
                break
            answers = service.step(worker.follow(frames, detections))
            self._count(worker, answers)
            over = [one.camera_id for one in frames if one.index == self._last_index.get(one.camera_id)]
            for camera_id in over:
                service.step(worker.finish(camera_id))
            if film and not _filmed(film, frames, answers, over):
                film = None
            if self._on_progress and time.monotonic() - shown_at > 0.5:
                self._on_progress(self._counters, service.identities)
                shown_at = time.monotonic()

    def _steps(self, writer: RunWriter) -> Iterator[list[Frame]]:
        """Frames of the same moment, one a camera at most, in order of time."""
        with ExitStack() as stack:
            readers = [stack.enter_context(FileReplay(camera)) for camera in self._site.cameras]
            heads = {reader.camera.id: self._next(reader, writer, None) for reader in readers}
            while present := [frame for frame in heads.values() if frame is not None]:
                moment = min(frame.captured_at for frame in present) + _SAME_MOMENT_S
                yield [frame for frame in present if frame.captured_at <= moment]
                for reader in readers:
                    head = heads[reader.camera.id]
                    if head is not None and head.captured_at <= moment:
                        heads[reader.camera.id] = self._next(reader, writer, head)

    def _next(self, reader: FileReplay, writer: RunWriter, last: Frame | None) -> Frame | None:
        counters = self._counters[reader.camera.id]
        try:
            frame = reader.next()
            reason = END_OF_FILE
        except SourceError as error:
            frame, reason = None, str(error)
            log.warning("%s", error)
        if frame is not None and not counters.up:
            writer.camera(CameraState(reader.camera.id, frame.captured_at, up=True))
        if frame is None:
            ended_at = last.captured_at if last else 0.0
            writer.camera(CameraState(reader.camera.id, ended_at, up=False, reason=reason))
            self._last_index[reader.camera.id] = last.index if last else -1
            counters.ended, counters.reason = True, reason
        counters.up = frame is not None
        return frame

    def _count(self, worker: Worker, answers: list[CameraIdentities]) -> None:
        for answer in answers:
            counters = self._counters[answer.camera_id]
            counters.frames += 1
            counters.visible = len(answer.tracks)
            counters.crops += worker.counts.crops[answer.camera_id]
            counters.tracks = max([counters.tracks, *(track.track_id for track in answer.tracks)])
            self._latencies.add(answer.decided_at - answer.arrived_at)

    def _summary(self, service: MatchService, seconds: float) -> Summary:
        cameras = {one: camera_summary(counters, seconds) for one, counters in self._counters.items()}
        return Summary(
            mode="replay",
            identities=service.identities,
            seconds=round(seconds, 2),
            fps=round(sum(camera.frames for camera in cameras.values()) / seconds, 1),
            cameras=cameras,
            latency_ms=self._latencies.summary(),
            rss_mb=round(psutil.Process().memory_info().rss / 2**20, 1),
            interrupted=self._interrupted,
        )


def _filmed(film: Film, frames: Sequence[Frame], answers: Sequence[CameraIdentities], over: Sequence[str]) -> bool:
    """Films one moment; the cameras that are over with it are dark from the next one on. False where it cannot."""
    for frame, answer in zip(frames, answers, strict=True):
        film.show(frame.camera_id, frame.image_bgr, answer, frame.captured_at)
    try:
        film.write(frames[0].captured_at)
    except StoreError as error:
        log.error("%s; the run goes on without the film", error)
        return False
    for camera_id in over:
        film.lose(camera_id, ended=True)
    return True


def _detected(worker: Worker, steps: Iterator[list[Frame]]) -> _Steps:
    """Each step with its detections, which a thread computes ahead, several steps in one call of the network."""
    with ThreadPoolExecutor(1, "detect") as pool:
        ahead: deque[tuple[list[list[Frame]], Future[list[Detections]]]] = deque()
        for batch in _batches(steps):
            ahead.append((batch, pool.submit(worker.detect, list(chain.from_iterable(batch)))))
            if len(ahead) > _AHEAD:
                yield from _apart(*ahead.popleft())
        for batch, detections in ahead:
            yield from _apart(batch, detections)


def _batches(steps: Iterator[list[Frame]]) -> Iterator[list[list[Frame]]]:
    """Steps in a row that hold _BATCH frames together, or a few more."""
    batch: list[list[Frame]] = []
    for frames in steps:
        now = time.time()
        batch.append([replace(frame, arrived_at=now) for frame in frames])
        if sum(map(len, batch)) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _apart(batch: list[list[Frame]], detections: Future[list[Detections]]) -> _Steps:
    """The steps of a batch, each with its own detections."""
    found = iter(detections.result())
    for frames in batch:
        yield frames, list(islice(found, len(frames)))
