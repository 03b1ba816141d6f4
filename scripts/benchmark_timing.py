"""How the benchmark times: candidates take turns, and the median of several rounds counts."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

ROUNDS = 7

Row = dict[str, str | float]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians of one call.

    Attributes:
        wall_s: by the clock, which runs on while others have the cores.
        core_s: time on cores, of all threads together.
    """

    wall_s: float
    core_s: float


def in_turn(calls: Mapping[Key, Callable[[], object]], rounds: int = ROUNDS) -> dict[Key, Timing]:
    """Each call timed, all of them once a round after one warm-up."""
    taken: dict[Key, list[tuple[float, float]]] = {key: [] for key in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for key, call in calls.items():
            wall, core = time.perf_counter(), time.process_time()
            call()
            taken[key].append((time.perf_counter() - wall, time.process_time() - core))
    return {
        key: Timing(statistics.median(wall for wall, _ in pairs), statistics.median(core for _, core in pairs))
        for key, pairs in taken.items()
    }
