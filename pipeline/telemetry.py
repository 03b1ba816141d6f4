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


class Reports:
    """What the processes told; of those that ended only the sums are kept, however often they are restarted."""

    def __init__(self) -> None:
        self.cameras: dict[str, CameraCounters] = {}
        self._workers: dict[int, WorkerReport] = {}
        self._matcher: MatcherReport | None = None
        self._former: dict[str, CameraCounters] = {}
        self._former_latencies = Latencies()

    def hear(self, report: WorkerReport | MatcherReport) -> None:
        """Takes in one report, in place of the former one of that process."""
        if isinstance(report, WorkerReport):
            before = self._workers.get(report.worker)
            if before and before.pid != report.pid:
                for camera_id, counters in before.cameras.items():
                    self._former[camera_id] = added(self._former.get(camera_id, CameraCounters()), counters)
            self._workers[report.worker] = report
            self.cameras |= report.cameras
        else:
            if self._matcher and self._matcher.pid != report.pid:
                self._former_latencies.counts += Latencies(self._matcher.latency_counts).counts
            self._matcher = report

    def total(self, camera_id: str) -> CameraCounters:
        """One camera's sums over all the workers that served it in turn."""
        now = self.cameras.get(camera_id, CameraCounters())
        return added(self._former[camera_id], now) if camera_id in self._former else now

    def latencies(self) -> Latencies:
        """Of all matchers in turn."""
        now = Latencies(self._matcher.latency_counts if self._matcher else ())
        return Latencies(self._former_latencies.counts + now.counts)

    @property
    def identities(self) -> int:
        """Different people confirmed so far."""
        return self._matcher.identities if self._matcher else 0

    @property
    def rss_mb(self) -> float:
        """Resident memory of the processes that report."""
        return sum(one.rss_mb for one in (*self._workers.values(), self._matcher) if one)


def added(one: CameraCounters, other: CameraCounters) -> CameraCounters:
    """The sums of what two workers in turn counted; the state is that of the other."""
    dropped = {
        reason: one.dropped.get(reason, 0) + other.dropped.get(reason, 0) for reason in one.dropped | other.dropped
    }
    sums = {name: getattr(one, name) + getattr(other, name) for name in ("frames", "tracks", "crops", "reconnects")}
    return msgspec.structs.replace(other, dropped=dropped, **sums)
