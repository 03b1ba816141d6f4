"""What a camera adds to everybody it sees, learnt from the people it saw and taken off their descriptors. Pure.

Light, lens, angle and background move all descriptors of one camera in one direction, the more so the less the camera
is like those that the network was trained on. Strangers then look alike and one person of two cameras does not. The
mean over the people of a camera shows that direction; without it they compare across cameras (arXiv 2502.10195).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.datatypes import F32
from pipeline.vectors import unit_rows

_UNMOVED = 20  # people without any such direction that count as seen before: a mean of few is of these few
_MEMORY = 512  # people of a camera that count; of more the older count less, so that light changes and cameras turn


@dataclass(frozen=True, slots=True, eq=False)
class CameraMean:
    """What a camera has learnt: how many people count, and the mean (D,) of their unit descriptors."""

    camera_id: str
    people: int
    mean: F32


class CameraBias:
    """Mean descriptor of each camera's people, pulled towards zero while they are few.

    Args:
        means: known from before.
    """

    def __init__(self, means: Iterable[CameraMean] = ()) -> None:
        self._means = {mean.camera_id: mean for mean in means}
        self._new: set[str] = set()

    def note(self, camera_id: str, descriptor: F32) -> None:
        """Learns from a unit descriptor (D,) of somebody whom the camera has not seen before."""
        known = self._means.get(camera_id) or CameraMean(camera_id, 0, np.zeros_like(descriptor))
        people = known.people + 1 if known.people < _MEMORY else _MEMORY // 2
        step: F32 = (descriptor - known.mean) / np.float32(people)
        self._means[camera_id] = CameraMean(camera_id, people, known.mean + step)
        self._new.add(camera_id)

    def take_off(self, camera_id: str, descriptors: F32) -> F32:
        """Unit rows (N, D) without what the camera adds to each."""
        known = self._means.get(camera_id)
        return descriptors if known is None else unit_rows(descriptors - _added(known))

    def take_off_usual(self, descriptors: F32) -> F32:
        """Unit rows (N, D) of an unknown camera, without what those that are known add on average."""
        added = [_added(known) for known in self._means.values()]
        return unit_rows(descriptors - np.mean(added, axis=0)) if added else descriptors

    def take_new(self) -> tuple[CameraMean, ...]:
        """What changed since the last call."""
        new, self._new = tuple(self._means[camera] for camera in sorted(self._new)), set()
        return new


def _added(known: CameraMean) -> F32:
    return known.mean * np.float32(known.people / (known.people + _UNMOVED))
