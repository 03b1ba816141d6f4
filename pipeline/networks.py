"""The two networks of a site, loaded with the threads that each of their calls may take."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from engines import Engine, EngineError, quickest
from pipeline.config import Site
from pipeline.detector import Detector
from pipeline.embedder import Embedder
from pipeline.errors import EngineFailure
from pipeline.pictures import example_pictures

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # of this container: quota and period in µs (Linux, cgroup-v2.rst)


@dataclass(frozen=True, slots=True)
class Networks:
    """Who finds people, and who describes them."""

    detector: Detector
    embedder: Embedder


def load_networks(site: Site, *, replay: bool = False) -> Networks:
    """As each worker of a live run has them, where the two take turns; or as a replay, where they run at once.

    Raises:
        ConfigError, EngineFailure: they cannot be loaded.
    """
    threads = threads_each(1 if replay else site.workers)
    detector = Detector.load(
        site.detector, threads=threads, largest=len(site.cameras) if replay else site.cameras_per_worker
    )
    return Networks(detector, Embedder.load(site.reid, threads=threads_each(2) if replay else threads))


def threads_each(calls: int, cpu_max: Path = CPU_MAX) -> int:
    """Threads for each of so many calls of networks at once, which share the cores that this process may use.

    With more, calls wait for each other; and one thread needs less core time than two (docs/engines.md, "Threads").
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = min(bound, cores_of_container(cpu_max), psutil.cpu_count(logical=False) or bound)
    return max(1, int(allowed) // calls)


def cores_of_container(cpu_max: Path) -> float:
    """What `docker run --cpus` allows, in cores; infinite where nothing is said."""
    try:
        quota, period = cpu_max.read_text().split()
    except OSError:
        return math.inf
    return math.inf if quota == "max" else int(quota) / int(period)


def core_ms(engine: Engine, metadata: Mapping[str, str]) -> float | None:
    """Core time of a picture, all threads together, in `timed_batches`; None if nobody knows pictures for it.

    Args:
        metadata: the engine's, or those of its detector, which may say another size.

    Raises:
        EngineFailure: the network cannot run.
    """
    pictures = example_pictures(engine.inputs, metadata)
    try:
        return None if pictures is None else quickest.measured({"": engine}, pictures)[""]
    except EngineError as error:
        raise EngineFailure(str(error)) from error


def timed_batches(engine: Engine) -> str:
    """Pictures in the calls of `core_ms`, in words."""
    return " and ".join(map(str, [engine.inputs[0].shape[0]] if engine.inputs[0].shape[0] else quickest.BATCHES))
