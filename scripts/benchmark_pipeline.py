"""The whole path in the benchmark: decoding, a replay of a site, and which of its stages the cores work for."""

import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from benchmark_timing import Row

import engines
from pipeline.config import Site, load_site
from pipeline.datatypes import Frame
from pipeline.match_service import MatchService
from pipeline.matcher import Matcher
from pipeline.networks import load_networks
from pipeline.replay import Replay
from pipeline.sinks import RunWriter
from pipeline.sources import read_video
from pipeline.store import Store
from pipeline.worker import Worker


def decoding(site: Path) -> list[Row]:
    """Frames a second of the site's first file, decoded to BGR by one thread."""
    camera = load_site(site).cameras[0]
    wall, core = time.perf_counter(), time.process_time()
    frames = sum(timed.picture.bgr() is not None for timed in itertools.islice(read_video(camera), 300))
    wall, core = time.perf_counter() - wall, time.process_time() - core
    return [{"frames": frames, "frames/s": frames / wall, "a core second": frames / core}]


def replay(site: Path) -> list[Row]:
    """The whole run over a site of files, from loading the networks to the summary."""
    plan = msgspec.structs.replace(load_site(site), truth=None)
    wall, core = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as out:
        summary = Replay(plan, Path(out)).run()
    wall, core = time.perf_counter() - wall, time.process_time() - core
    frames = sum(camera.frames for camera in summary.cameras.values())
    crops = sum(camera.crops for camera in summary.cameras.values())
    return [
        {
            "cameras": len(summary.cameras),
            "frames": frames,
            "frames/s": summary.fps,
            "crops/s": crops / summary.seconds,
            "start s": wall - summary.seconds,
            "core ms a frame": 1000 * core / frames,
            "p95 ms a step": summary.latency_ms["p95"],
            "rss MB": summary.rss_mb,
        }
    ]


def stages(site: Path) -> list[Row]:
    """The same path with one stage after the other: core time a frame, and shares of the run that add up to 1."""
    plan = msgspec.structs.replace(load_site(site), truth=None)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as out:
        frames = _in_order(plan, Path(out), watch)
    total = sum(watch.core_s.values())
    taken = sorted(watch.core_s.items(), key=lambda item: -item[1])
    rows: list[Row] = [
        {"stage": stage, "core ms a frame": 1000 * core / frames, "share": core / total} for stage, core in taken
    ]
    return [*rows, {"stage": "whole run", "core ms a frame": 1000 * total / frames, "share": 1.0}]


class Stopwatch:
    """Core time of all threads, by the innermost stage that is on."""

    def __init__(self) -> None:
        self.core_s: Counter[str] = Counter()
        self._on = ["all else"]
        self._since = time.process_time()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What is done inside counts for the stage."""
        self._book()
        self._on.append(name)
        yield
        self._book()
        self._on.pop()

    def _book(self) -> None:
        now = time.process_time()
        self.core_s[self._on[-1]] += now - self._since
        self._since = now


class TimedEngine:
    """An engine whose calls are a stage of their own."""

    def __init__(self, engine: engines.Engine, watch: Stopwatch, stage: str) -> None:
        self._engine, self._watch, self._stage = engine, watch, stage

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def __call__(self, *batch: engines.Array) -> tuple[engines.Array, ...]:
        """The engine's outputs."""
        with self._watch.stage(self._stage):
            return self._engine(*batch)


def _in_order(site: Site, out: Path, watch: Stopwatch) -> int:
    """Follow every frame of a site through all stages; how many there were."""
    with watch.stage("load networks"):
        networks = load_networks(site)
        detector, embedder = networks.detector, networks.embedder
    detector.engine = TimedEngine(detector.engine, watch, "detector network")
    embedder.engine = TimedEngine(embedder.engine, watch, "re-ID network")
    worker = Worker(site, 0, detector, embedder)
    count = 0
    with ExitStack() as stack:
        writer = stack.enter_context(RunWriter(out, [camera.id for camera in site.cameras], fresh=True))
        store = stack.enter_context(Store(out / "identities.db", embedder.dimension))
        service = MatchService(Matcher(site.matcher, embedder.dimension), store, writer)
        for frames in _moments(site, watch):
            count += len(frames)
            with watch.stage("letterbox, read boxes"):
                found = worker.detect(frames)
            with watch.stage("track, choose and cut crops"):
                updates = worker.follow(frames, found)
            with watch.stage("match, store and write"):
                service.step(updates)
        with watch.stage("match, store and write"):
            service.finish()
    return count


def _moments(site: Site, watch: Stopwatch) -> Iterator[list[Frame]]:
    """The next frame of every camera, until the first file ends; cameras are taken to start together."""
    sources = [read_video(camera) for camera in site.cameras]
    for index in itertools.count():
        with watch.stage("decode"):
            timed = [(camera, next(source, None)) for camera, source in zip(site.cameras, sources, strict=True)]
            frames = [
                Frame(camera.id, index, one.seconds, time.time(), one.picture.bgr()) for camera, one in timed if one
            ]
        if len(frames) < len(sources):
            return
        yield frames
