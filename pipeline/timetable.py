"""When people pass which cameras, learnt from tracks that were gathered to people. Pure.

From any track of a person to any later one it takes them so long: counted by cameras, beside what it would be for any
two tracks whatever, this says how much more likely two tracks are of one person (spatial-temporal re-ID, Wang et al.,
AAAI 2019, arXiv 1812.03282). And of two cameras that see people at the same moment without ever seeing the same
person, nobody is in both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.transitions import UP_TO_S

B1 = NDArray[np.bool_]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
_GAPS_S = UP_TO_S[UP_TO_S >= 0]  # up to 0 both see somebody at once
_SPANS = len(_GAPS_S) + 1
_ASSUMED = 3.0  # pairs, as expected, that count as seen in every cell: few say little
_LEAST = -1.0  # decades by which two tracks may be less likely to be of one person
_SURELY = 1.75  # decades for two who surely are; fewer where they are so less often, none for one in 56
_TOGETHER_S = 5.0  # so long together are two people; shorter may be a tracker's mistake, or clocks that differ
_AT_ONCE_S = 0.5
_SHARED = 0.25  # cameras that share so many of those whom one sees while the other sees anybody see the same ground


@dataclass(frozen=True, slots=True, eq=False)
class Passages:
    """Tracks (N,): their camera's number, and since and until when it saw them."""

    camera: I64
    since: F64
    until: F64

    def __len__(self) -> int:
        return len(self.camera)

    def at(self, rows: I64 | Sequence[int]) -> "Passages":
        """Some of them."""
        return Passages(self.camera[rows], self.since[rows], self.until[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Timetable:
    """What is known of a site.

    Attributes:
        decades: (cameras, cameras, spans) by which an earlier and a later track are likelier to be of one person than
            by chance, by their cameras and the time between.
        shared: (cameras, cameras) whether two see the same ground.
    """

    decades: F64
    shared: B1

    @classmethod
    def unknown(cls, cameras: int) -> "Timetable":
        """Before anything is known: any two cameras may see the same ground."""
        return cls(np.zeros((cameras, cameras, _SPANS)), ~np.eye(cameras, dtype=bool))

    @classmethod
    def learnt(cls, tracks: Passages, group: I64, sure: I64, cameras: int) -> "Timetable":
        """What the groups (N,) of tracks tell.

        Args:
            sure: (P, 2) tracks of one group whom looks alone give away; else times would prove themselves.
        """
        found = np.zeros((cameras, cameras, _SPANS))
        np.add.at(found, _cells(tracks, sure), 1)
        every = _followed(tracks, cameras)
        share = found.sum() / max(every.sum(), 1)
        likelier = np.log10((found + _ASSUMED) / (every * share + _ASSUMED)).clip(min=_LEAST)
        often = np.log10(((found + _ASSUMED * share) / (every + _ASSUMED)).clip(1e-9, 1))
        decades = np.minimum(likelier, np.maximum(_SURELY + often, 0))
        at_once = sum((_beside(tracks.at(rows), cameras) for rows in _members(group)), np.zeros((cameras, cameras)))
        belief = (at_once + 1) / (_beside(tracks, cameras) + 2)
        return cls(decades, ((belief + belief.T) / 2 >= _SHARED) & ~np.eye(cameras, dtype=bool))

    def likelier(self, tracks: Passages, pairs: I64) -> F64:
        """(P,) decades by which pairs (P, 2) of tracks are likelier to be of one person than by chance."""
        return np.asarray(self.decades[_cells(tracks, pairs)])

    def apart(self, some: Passages, others: Passages) -> bool:
        """Whether two groups are two people: one camera saw both at once for long, or two that share nobody did."""
        together = np.minimum(some.until[:, None], others.until) - np.maximum(some.since[:, None], others.since)
        return bool(((together > _TOGETHER_S) & ~self.shared[some.camera[:, None], others.camera]).any())


def _cells(tracks: Passages, pairs: I64) -> tuple[I64, I64, I64]:
    """Of pairs (P, 2), whichever comes first: the earlier one's camera, the later one's, and the span between."""
    swapped = tracks.since[pairs[:, 0]] > tracks.since[pairs[:, 1]]
    before = tracks.at(np.where(swapped, pairs[:, 1], pairs[:, 0]))
    after = tracks.at(np.where(swapped, pairs[:, 0], pairs[:, 1]))
    return before.camera, after.camera, np.searchsorted(_GAPS_S, after.since - before.until)


def _members(group: I64) -> Iterator[I64]:
    """The rows of each group of at least two."""
    order = np.argsort(group, kind="stable")
    bounds = np.flatnonzero(np.diff(group[order])) + 1
    return (rows for rows in np.split(order, bounds) if len(rows) > 1)


def _by_camera(tracks: Passages) -> list[tuple[int, Passages]]:
    """The tracks of each camera, in the order in which they began."""
    ordered = tracks.at(np.lexsort((tracks.since, tracks.camera)))
    cameras, starts = np.unique(ordered.camera, return_index=True)
    bounds = [*starts, len(ordered)]
    rows = np.arange(len(ordered))
    return [(int(c), ordered.at(rows[a:b])) for c, a, b in zip(cameras, bounds[:-1], bounds[1:], strict=True)]


def _followed(tracks: Passages, cameras: int) -> F64:
    """(cameras, cameras, spans) pairs of tracks, by the earlier one's camera, the later one's, and the time between."""
    counts, own = np.zeros((cameras, cameras, _SPANS)), _by_camera(tracks)
    for before, earlier in own:
        for after, later in own:
            begun = np.searchsorted(later.since, earlier.since, side="right")
            ends = np.searchsorted(later.since, earlier.until[:, None] + _GAPS_S, side="right")
            upto = np.maximum(ends - begun[:, None], 0).sum(axis=0)
            counts[before, after] = np.diff([0, *upto, (len(later) - begun).sum()])
    return counts


def _beside(tracks: Passages, cameras: int) -> F64:
    """(cameras, cameras) how many tracks of a camera are beside one of another: both see somebody at once."""
    counts, own = np.zeros((cameras, cameras)), _by_camera(tracks)
    for here, some in own:
        for there, others in own:
            if here != there:
                counts[here, there] = _with_company(some, others).sum()
    return counts


def _with_company(some: Passages, others: Passages) -> B1:
    """(N,) whether any of the others, in order of their beginning, is seen during each."""
    last = np.maximum.accumulate(others.until)
    begun = np.searchsorted(others.since, some.until - _AT_ONCE_S)
    return (begun > 0) & (last[begun - 1] > some.since + _AT_ONCE_S)
