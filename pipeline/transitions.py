"""How long people take from camera to camera, learnt from what looks alone decide. Pure.

Somebody who comes into a camera's view was last seen a while ago in some camera: mostly in one of a few, so many
seconds ago. Counted over a site's newcomers, that says who is due now, and nobody has to say where cameras stand.
Histograms of such times, taken from labels, are known to help much (spatial-temporal re-ID, Wang et al., AAAI 2019,
arXiv 1812.03282); here they come from newcomers whom their looks alone give away.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32, Sightings

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
UP_TO_S = np.array([-60, 0, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560])  # before: a clock was set
SPANS = len(UP_TO_S) + 1
_ASSUMED = 1.0  # newcomers, as expected, that count as seen in every cell: few say little
_TRIED = 10.0  # chances, as average, that count as seen in every cell
_MEMORY = 4000  # newcomers to a camera that count; of more the older count half, so that a site may change
_LEAST = -1.0  # decades by which somebody may be less likely
_TOLD = 16  # newcomers to a camera after which what was learnt of it is told for keeping


@dataclass(frozen=True, slots=True, eq=False)
class Transition:
    """What is known of one way, from a camera to a camera.

    Attributes:
        chances: (spans,) people known who had last been seen there so long ago, summed over newcomers here.
        arrivals: (spans,) how many of these the newcomers were.
    """

    came_from: str
    came_to: str
    chances: F32
    arrivals: F32


class Transitions:
    """Who is due in a camera, by where and when they were last seen. 224 bytes for each two cameras.

    Args:
        known: from before.
    """

    def __init__(self, known: Iterable[Transition] = ()) -> None:
        self._row: dict[str, int] = {}
        self._chances: F64 = np.zeros((0, 0, SPANS))
        self._arrivals: F64 = np.zeros((0, 0, SPANS))
        self._newcomers: dict[str, int] = {}  # since the older ones were halved
        self._untold: dict[str, int] = {}
        for way in known:
            here, there = self._rows([way.came_to, way.came_from])
            self._chances[here, there], self._arrivals[here, there] = way.chances, way.arrivals

    def note(self, camera_id: str, at: float, everybody: Sightings, came_from: Sightings | None) -> None:
        """Learns from somebody who came into a camera's view at `at`.

        Args:
            came_from: where and when the one was last seen whom looks gave away; None for somebody new, or in doubt.
        """
        here, row, span = self._cells(camera_id, everybody, at)
        beside = (row == here) & (everybody.last_seen >= at)  # may not be the newcomer
        chances = np.bincount((row * SPANS + span)[~beside], minlength=len(self._chances) * SPANS)
        self._chances[here] += chances.reshape(-1, SPANS)
        if came_from is not None:
            here, row, span = self._cells(camera_id, came_from, at)
            self._arrivals[here, row, span] += (row != here) | (came_from.last_seen < at)
        self._untold[camera_id] = self._untold.get(camera_id, 0) + 1
        self._newcomers[camera_id] = self._newcomers.get(camera_id, 0) + 1
        if self._newcomers[camera_id] > _MEMORY:
            self._newcomers[camera_id] //= 2
            self._chances[here] /= 2
            self._arrivals[here] /= 2

    def due(self, camera_id: str, seen: Sightings, at: float, weight: float, crowd: float) -> F32:
        """(N,) what is added to the similarity of each who may be a newcomer of `at`; below zero for who is not due.

        `weight` for each tenfold by which they are likelier than the average one known; but no more than `weight` for
        who surely comes, and nothing for who comes once in ten times, as where most newcomers are new to the site.

        Args:
            crowd: what was taken off because so many people are known; it may be given back.
        """
        here, row, span = self._cells(camera_id, seen, at)
        chances, arrivals = self._chances[here], self._arrivals[here]
        share = arrivals.sum() / max(chances.sum(), 1)
        likelier = np.log10((arrivals + _ASSUMED) / (chances * share + _ASSUMED)).clip(min=_LEAST)
        comes = ((arrivals + _TRIED * share) / (chances + _TRIED)).clip(1e-9, 1)
        most = np.maximum(weight * (1 + np.log10(comes)) + crowd, 0)
        return np.asarray(np.minimum(weight * likelier, most)[row, span], np.float32)

    def _cells(self, camera_id: str, seen: Sightings, at: float) -> tuple[int, I64, I64]:
        """Row of the camera, and of each (N,) the row of where it was last seen and the span of the time since."""
        here, *rows = self._rows([camera_id, *seen.cameras])
        return here, np.array(rows, np.int64)[seen.camera], np.searchsorted(UP_TO_S, at - seen.last_seen)

    def _rows(self, cameras: Iterable[str]) -> list[int]:
        """Rows of cameras, made where they are new."""
        rows = [self._row.setdefault(camera, len(self._row)) for camera in cameras]
        if (more := len(self._row) - len(self._chances)) > 0:
            room = max(more, len(self._chances), 4)
            wider = ((0, room), (0, room), (0, 0))
            self._chances, self._arrivals = np.pad(self._chances, wider), np.pad(self._arrivals, wider)
        return rows

    def take_new(self, least: int = _TOLD) -> tuple[Transition, ...]:
        """What is known of the cameras that had so many newcomers since this was last told of them."""
        told = [camera for camera, newcomers in sorted(self._untold.items()) if newcomers >= least]
        for camera in told:
            del self._untold[camera]
        return tuple(way for camera in told for way in self._ways_to(camera))

    def _ways_to(self, camera_id: str) -> Iterator[Transition]:
        here = self._row[camera_id]
        for other, there in self._row.items():
            chances, arrivals = self._chances[here, there], self._arrivals[here, there]
            if chances.any():
                yield Transition(other, camera_id, chances.astype(np.float32), arrivals.astype(np.float32))
