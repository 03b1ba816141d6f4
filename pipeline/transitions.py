"""How long people take from camera to camera, learnt from what looks alone decide. Pure.

Somebody who comes into a camera's view was last seen a while ago in some camera: mostly in one of a few, so many
seconds ago. Counted over a site's newcomers, that says who is due now, and nobody has to say where cameras stand.
Histograms of such times, taken from labels, are known to help as much as a better network (spatial-temporal re-ID, Wang
et al., AAAI 2019, arXiv 1812.03282); here they come from newcomers whom their looks alone give away.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32, Sightings

I64 = NDArray[np.int64]
_UP_TO_S = np.array([0.0, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560])  # ends of the spans that are told apart
SPANS = len(_UP_TO_S) + 1
_ASSUMED = 1.0  # newcomers, as expected, that count as seen in every cell: few say little
_TRIED = 10.0  # chances, as average, that count as seen in every cell
_MEMORY = 4000  # newcomers to a camera that count; of more the older count half, so that a site may change
_LEAST = -1.0  # decades by which somebody may be less likely
_TOLD = 16  # newcomers to a camera after which what was learnt of it is told for keeping
_SAMPLE = 4096  # people known who are counted; of more every second, third, ...


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
    """Who is due in a camera, by where and when they were last seen. 104 bytes for each two cameras.

    Args:
        known: from before.
    """

    def __init__(self, known: Iterable[Transition] = ()) -> None:
        self._row: dict[str, int] = {}
        self._chances: F32 = np.zeros((0, 0, SPANS), np.float32)
        self._arrivals: F32 = np.zeros((0, 0, SPANS), np.float32)
        self._newcomers: dict[str, int] = {}  # whose newcomers were not told yet
        for way in known:
            self._rows([way.came_from, way.came_to])
            cell = self._row[way.came_to], self._row[way.came_from]
            self._chances[cell], self._arrivals[cell] = way.chances, way.arrivals

    def note(self, camera_id: str, at: float, everybody: Sightings, came_from: Sightings | None) -> None:
        """Learns from somebody who came into a camera's view at `at`.

        Args:
            came_from: where and when the one was last seen whom looks gave away; None for somebody new, or in doubt.
        """
        step = len(everybody.camera) // _SAMPLE + 1
        sample = Sightings(everybody.cameras, everybody.camera[::step], everybody.last_seen[::step])
        here, row, span = self._cells(camera_id, sample, at)
        np.add.at(self._chances[here], (row, span), step)
        if came_from is not None:
            here, row, span = self._cells(camera_id, came_from, at)
            np.add.at(self._arrivals[here], (row, span), 1)
        self._newcomers[camera_id] = self._newcomers.get(camera_id, 0) + 1
        if self._arrivals[here].sum() > _MEMORY:
            self._chances[here] /= 2
            self._arrivals[here] /= 2

    def due(self, camera_id: str, seen: Sightings, at: float, weight: float, crowd: F32) -> F32:
        """(N,) what is added to the similarity of each who may be a newcomer of `at`; below zero for who is not due.

        `weight` for each tenfold by which they are likelier than the average one known; but no more than `weight` for
        who surely comes, and nothing for who comes once in ten times, as where most newcomers are new to the site.

        Args:
            crowd: (N,) what was taken off because so many people are known; it may be given back.
        """
        here, row, span = self._cells(camera_id, seen, at)
        chances, arrivals = self._chances[here], self._arrivals[here]
        share = arrivals.sum() / max(chances.sum(), 1)
        likelier = np.log10((arrivals + _ASSUMED) / (chances * share + _ASSUMED)).clip(min=_LEAST)
        comes = np.log10(np.maximum((arrivals + _TRIED * share) / (chances + _TRIED), 1e-9))
        most = np.maximum(weight * (1 + comes[row, span]) + crowd, 0)
        return np.asarray(np.minimum(weight * likelier[row, span], most), np.float32)

    def _cells(self, camera_id: str, seen: Sightings, at: float) -> tuple[int, I64, I64]:
        """Row of the camera, and of each (N,) the row of where it was last seen and the span of the time since."""
        here, *rows = self._rows([camera_id, *seen.cameras])
        return here, np.array(rows, np.int64)[seen.camera], np.searchsorted(_UP_TO_S, at - seen.last_seen)

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
        told = [camera for camera, newcomers in sorted(self._newcomers.items()) if newcomers >= least]
        for camera in told:
            del self._newcomers[camera]
        return tuple(
            Transition(other, camera, self._chances[here, there].copy(), self._arrivals[here, there].copy())
            for camera in told
            for here in [self._row[camera]]
            for other, there in self._row.items()
            if self._chances[here, there].any()
        )
