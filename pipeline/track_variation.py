"""What varies while one person walks by, learnt from tracks, and weighed down where people are compared. Pure.

Turning, stepping and passing from sun to shade move a person's descriptor in some directions more than in others, and
in which ones is a matter of the place: measured, the tracks of a site say more of it than any training set does
(docs/other_cameras.md). Rows times the inverse square root of the covariance within tracks count those less
(within-class covariance normalisation; Hatch et al., Interspeech 2006). The covariance is pulled towards nothing
while few views were seen, and towards equal in all directions always.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32

F64 = NDArray[np.float64]
_UNSEEN = 500  # views without any direction that count as seen before: of fewer than there are numbers, little is known
_FIRST = 128  # views before anything is weighed down; then with every doubling
_MEMORY = 1 << 15  # views that count: beyond it the older count half as much, so that a site may change
_TOGETHER = 64  # tracks that are learnt at once: one by one takes 3 ms each


@dataclass(frozen=True, slots=True, eq=False)
class Variation:
    """What was learnt: the number of views, and the sum (D, D) of their squares around the means of their tracks."""

    views: int
    squares: F32


class TrackVariation:
    """Weighs down what varies within tracks; does nothing before it has seen enough and was told to `renew`.

    Args:
        dimension: D, length of an embedding.
        known: from before.
    """

    def __init__(self, dimension: int, known: Variation | None = None) -> None:
        self._known = known or Variation(0, np.zeros((dimension, dimension), np.float32))
        self._apart: list[F32] = []  # new views without the mean of their track
        self._weights: F32 | None = None
        self._plain = np.eye(dimension, dtype=np.float32)  # the inverse
        self._new, self._wait = self._known.views, _FIRST  # views since the last renewal, and how many it takes

    def note(self, embeddings: F32) -> None:
        """Learns from the unit views (K, D) of a track that has ended."""
        if len(embeddings) < 2:
            return
        self._apart.append(_apart(embeddings))
        self._new += len(embeddings) - 1
        if len(self._apart) == _TOGETHER:
            self._known = self.known
            self._apart.clear()

    @property
    def known(self) -> Variation:
        """What is to be kept."""
        known = self._known
        if known.views > _MEMORY:
            known = Variation(known.views // 2, known.squares / np.float32(2))
        return _with(known, self._apart)

    def renew(self, still_open: Sequence[F32] = ()) -> F32 | None:
        """Weighs anew where as many views are new as there were the last time.

        Args:
            still_open: views (K, D) of each track that has not ended; they count, but are not learnt.

        Returns:
            (D, D): times this, rows that were weighed before are as if weighed now. None where nothing has changed.
        """
        shown = sum(max(len(views) - 1, 0) for views in still_open)
        if self._new + shown < self._wait:
            return None
        seen = _with(self.known, [_apart(views) for views in still_open if len(views)])
        weights = _weights(seen)
        change: F32 = (self._plain @ weights).astype(np.float32)
        self._weights, self._plain = weights.astype(np.float32), np.linalg.inv(weights).astype(np.float32)
        self._new, self._wait = -shown, min(seen.views, _MEMORY // 2)
        return change

    def weigh(self, rows: F32) -> F32:
        """Unit rows (N, D), comparable with one another."""
        return rows if self._weights is None else _unit(rows @ self._weights)

    def undo(self, rows: F32) -> F32:
        """The unit rows (N, D) of which `weigh` makes these."""
        return rows if self._weights is None else _unit(rows @ self._plain)


def _apart(views: F32) -> F32:
    """Views (K, D) of one track without their mean."""
    apart: F32 = views - views.mean(0)
    return apart


def _with(known: Variation, tracks: Sequence[F32]) -> Variation:
    """And these, (K, D) each, without their means."""
    if not tracks:
        return known
    apart = np.concatenate(tracks)
    return Variation(known.views + len(apart) - len(tracks), known.squares + apart.T @ apart)


def _weights(seen: Variation) -> F64:
    """(D, D) symmetric; 1 where nothing varies, less in every direction that varies."""
    squares = seen.squares.astype(np.float64)
    mean = np.trace(squares) / len(squares) / seen.views
    variance, axes = np.linalg.eigh(squares / (seen.views + _UNSEEN) / max(mean, 1e-12))
    weights: F64 = (axes / np.sqrt(1 + np.maximum(variance, 0))) @ axes.T
    return weights


def _unit(rows: F32) -> F32:
    unit: F32 = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
