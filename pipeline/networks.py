"""The two networks of a site, loaded with the threads that each of their calls may take."""

import os
from dataclasses import dataclass

import psutil

from engines import Engine, quickest, reference
from pipeline.config import Site
from pipeline.detector import Detector, example_input
from pipeline.embedder import Embedder


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
    detector = Detector.load(site.detector, threads=threads)
    return Networks(detector, Embedder.load(site.reid, threads=threads_each(2) if replay else threads))


def threads_each(calls: int) -> int:
    """Threads for each of so many calls of networks at once, which share the cores that this process may use.

    With more, calls wait for each other; and one thread needs less core time than two (docs/engines.md, "Threads").
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed) // calls)


def core_ms(engine: Engine) -> float | None:
    """Core time of a picture in batches of four, all threads together; None if nobody knows pictures for it."""
    examples = reference.generated if engine.metadata.get("kind") == "reid" else example_input
    pictures = examples(engine.inputs, engine.metadata)
    return None if pictures is None else quickest.measured({"": engine}, pictures)[""]
