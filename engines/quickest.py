"""Which of several proven back ends is the quickest on this CPU: measured once a network, then remembered."""

import json
import logging
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines import cache
from engines.engine import Array, Engine, EngineError

logger = logging.getLogger(__name__)

BATCHES = (3, 5)  # pictures in a call, in turn: a few people, a few cameras, and seldom as many as a moment before
ROUNDS = 7
WORTH_IT = 0.9  # a back end further up in the order has to take less than this share of the time of those behind it


def measured(engines: Mapping[str, Engine], inputs: Array) -> dict[str, float]:
    """Core time of each engine in milliseconds an image: medians of rounds in which they take turns.

    A round is a call for each of BATCHES: OpenVINO pays for every change (docs/engines.md, "Shapes"). Core time
    adds up all threads and leaves out what others do meanwhile, so a busy machine gives the same answer.
    """
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for round_ in range(ROUNDS + 1):
        for name, engine in engines.items():
            sizes = [engine.inputs[0].shape[0] or size for size in BATCHES]
            batches = [np.resize(inputs, (size, *inputs.shape[1:])) for size in sizes]
            started = time.process_time()
            for batch in batches:
                engine(batch)
            if round_:  # the first warms up
                taken[name].append(1000 * (time.process_time() - started) / sum(sizes))
    return {name: statistics.median(times) for name, times in taken.items()}


def best(times_ms: Mapping[str, float]) -> str:
    """The name of the least time, and of nearly equal ones the last: it takes less memory, and no time to compile."""
    *others, chosen = times_ms
    for name in reversed(others):
        if times_ms[name] < WORTH_IT * times_ms[chosen]:
            chosen = name
    return chosen


@dataclass(frozen=True, slots=True)
class Choice:
    """The back end that was the quickest, and the precision that it served in."""

    backend: str
    precision: str


def remembered(place: Path) -> Choice | None:
    """What was chosen; None where nobody has measured."""
    try:
        answer = json.loads(place.read_text())
        return Choice(answer["backend"], answer["precision"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def choose(network: str, engines: Mapping[str, Engine], inputs: Array, place: Path) -> str:
    """Measure, and keep the answer at `place`; the first of them where it cannot be kept, so as to stay with one."""
    try:
        with cache.locked(place):
            known = remembered(place)
            if known and known.backend in engines:  # another process has measured meanwhile
                return known.backend
            times_ms = measured(engines, inputs)
            chosen = best(times_ms)
            answer = {"backend": chosen, "precision": engines[chosen].precision, "core_ms_an_image": times_ms}
            cache.write_atomically(place, json.dumps({"network": network, **answer}).encode())
    except EngineError as error:
        logger.info("%s; the first back end serves", error)
        return next(iter(engines))
    said = ", ".join(f"{name} {ms:.2f}" for name, ms in times_ms.items())
    logger.info("%s: %s serves, measured once (core ms an image: %s)", network, chosen, said)
    return chosen
