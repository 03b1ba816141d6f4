"""Which cameras see the same people at the same moment, learnt from what is decided. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32

_MEMORY = 1000  # people of two cameras that count; of more the older count less, so that a camera may be turned
_OVERLAP = 0.5  # cameras that share so many of the people decided in one of them are not doubted at all


@dataclass(slots=True)
class _Pair:
    """People decided in one of two cameras while the other saw somebody: the same one, or only others."""

    shared: int = 0
    apart: int = 0

    def belief(self) -> float:
        """Expected share of shared people, from one half before anything was seen (Laplace's rule of succession)."""
        return (self.shared + 1) / (self.shared + self.apart + 2)


class Covisibility:
    """Belief, for every two cameras, that their views overlap.

    Somebody whom one camera sees now does not walk into the view of another, unless the two views overlap. Nobody has
    to say which do: cameras that overlap keep sharing people, others never do.
    """

    def __init__(self) -> None:
        self._pairs: dict[frozenset[str], _Pair] = {}

    def note(self, camera_id: str, elsewhere: Mapping[str, set[int]], identity_id: int) -> None:
        """Notes that a camera's track was decided, while every other camera saw these identities."""
        for other, seen in elsewhere.items():
            if seen:
                pair = self._pairs.setdefault(frozenset((camera_id, other)), _Pair())
                pair.shared += identity_id in seen
                pair.apart += identity_id not in seen
                if pair.shared + pair.apart > _MEMORY:
                    pair.shared, pair.apart = pair.shared // 2, pair.apart // 2

    def doubt(self, camera_id: str, elsewhere: Mapping[str, set[int]], ids: NDArray[np.int64]) -> F32:
        """(N,) in 0..1: how unlikely each identity is here, being seen elsewhere; 0 for those who are not."""
        doubt = np.zeros(len(ids), np.float32)
        for other, seen in elsewhere.items():
            belief = self._pairs.get(frozenset((camera_id, other)), _Pair()).belief()
            here = max(0.0, 1.0 - belief / _OVERLAP)
            doubt = np.where(np.isin(ids, [*seen]), np.maximum(doubt, here), doubt).astype(np.float32)
        return doubt
