"""What the processes tell about themselves: counters and a latency histogram of fixed size."""

from collections.abc import Iterable

import msgspec
import numpy as np

from pipeline.datatypes import Message

# Upper bounds of the bins in milliseconds: 1 ms to about 100 s in steps of 5 %.
_BOUNDS_MS = np.geomspace(1.0, 1e5, 237)


class CameraCounters(msgspec.Struct, forbid_unknown_fields=True):
    """Running totals of one camera since its worker started.

    Attributes:
        frames: processed.
        captured: delivered by the source; the index of the next one.
        dropped: frames or messages lost, by reason.
        fps: processed over the last seconds.
        up: whether frames are coming.
        tracks: ids given so far.
    """

    frames: int = 0
    captured: int = 0
    dropped: dict[str, int] = {}
    fps: float = 0.0
    up: bool = False
    tracks: int = 0
    visible: int = 0
    crops: int = 0
    reconnects: int = 0
    ended: bool = False
    reason: str = ""


class WorkerReport(Message, frozen=True, eq=False):
    """One worker, now."""

    worker: int
    pid: int
    rss_mb: float
    cameras: dict[str, CameraCounters]


class MatcherReport(Message, frozen=True, eq=False):
    """The matcher, now: identities that are confirmed and known, and latencies since its start."""

    pid: int
    rss_mb: float
    identities: int
    known: int
    latency_counts: list[int]
    unreadable: int
    unsaved: int


class Latencies:
    """Frame-to-assignment times in bins of 5 %, whatever their number."""

    def __init__(self, counts: Iterable[int] = ()) -> None:
        given = np.fromiter(counts, np.int64)
        self.counts = given if len(given) else np.zeros(len(_BOUNDS_MS) + 1, np.int64)

    def add(self, seconds: float) -> None:
        """Counts one measurement."""
        self.counts[int(np.searchsorted(_BOUNDS_MS, seconds * 1000))] += 1

    def percentile_ms(self, percent: float) -> float:
        """Milliseconds that so many per cent stay below, to 5 %; 0 when nothing was measured."""
        total = int(self.counts.sum())
        if not total:
            return 0.0
        bin_ = int(np.searchsorted(np.cumsum(self.counts), percent / 100 * total))
        return round(float(_BOUNDS_MS[min(bin_, len(_BOUNDS_MS) - 1)]), 1)

    def summary(self) -> dict[str, float]:
        """p50, p95 and p99 in milliseconds."""
        return {f"p{percent}": self.percentile_ms(percent) for percent in (50, 95, 99)}
