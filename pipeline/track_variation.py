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
from pipeline.vectors import unit_rows

F64 = NDArray[np.float64]
_UNSEEN = 500  # changes without any direction that count as seen before: few say little of so many numbers
_FIRST = 128  # changes before anything is weighed down; then with every doubling
_MEMORY = 1 << 15  # changes that count: beyond it the older count half as much, so that a site may move
_TOLD = 256  # changes after which what was learnt is told for keeping: 1 MB of 512 numbers each time
_TOGETHER = 64  # tracks that are learnt at once: one by one takes 3 ms each


@dataclass(frozen=True, slots=True, eq=False)
class Variation:
    """What was learnt.

    Attributes:
        changes: from view to view of one track: one less than there are views of it, of all tracks.
        squares: (D, D) sum over the views, each without the mean of its track.
    """

    changes: int
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
        self._learnt = self._known.changes  # ever
        self._renewed_at, self._wait = 0, _FIRST
        self._told = self._learnt

    def note(self, embeddings: F32) -> None:
        """Learns from the unit views (K, D) of a track that has ended."""
        if not _shows_change(embeddings):
            return
        self._apart.append(_apart(embeddings))
        self._learnt += len(embeddings) - 1
        if len(self._apart) == _TOGETHER:
            self._known = self._now()
            self._apart.clear()

    def take_new(self, least: int = _TOLD) -> Variation | None:
        """What is to be kept, where at least so many changes were learnt since the last call that gave it."""
        if self._learnt - self._told < least:
            return None
        self._told = self._learnt
        return self._now()

    def renew(self, still_open: Sequence[F32] = ()) -> F32 | None:
        """Weighs anew where as many changes are new as were known the last time.

        Args:
            still_open: views (K, D) of each track that has not ended; they count, but are not learnt.

        Returns:
            (D, D): times this, rows that were weighed before are as if weighed now. None where nothing has changed.
        """
        shown = [_apart(views) for views in still_open if _shows_change(views)]
        seen = self._learnt + sum(len(views) - 1 for views in shown)
        if seen - self._renewed_at < self._wait:
            return None
        now = _with(self._now(), shown)
        weights = _weights(now)
        change: F32 = (self._plain @ weights).astype(np.float32)
        self._weights, self._plain = weights.astype(np.float32), np.linalg.inv(weights).astype(np.float32)
        self._renewed_at, self._wait = seen, min(now.changes, _MEMORY // 2)
        return change

    def _now(self) -> Variation:
        known = self._known
        if known.changes > _MEMORY:
            known = Variation(known.changes // 2, known.squares / np.float32(2))
        return _with(known, self._apart)

    def weigh(self, rows: F32) -> F32:
        """Unit rows (N, D), comparable with one another."""
        return rows if self._weights is None else unit_rows(rows @ self._weights)

    def undo(self, rows: F32) -> F32:
        """The unit rows (N, D) of which `weigh` makes these."""
        return rows if self._weights is None else unit_rows(rows @ self._plain)


def _shows_change(views: F32) -> bool:
    return len(views) > 1 and bool(np.isfinite(views).all())


def _apart(views: F32) -> F32:
    """Views (K, D) of one track without their mean."""
    apart: F32 = views - views.mean(0)
    return apart


def _with(known: Variation, tracks: Sequence[F32]) -> Variation:
    """And these, (K, D) each, without their means."""
    if not tracks:
        return known
    apart = np.concatenate(tracks)
    return Variation(known.changes + len(apart) - len(tracks), known.squares + apart.T @ apart)


def _weights(seen: Variation) -> F64:
    """(D, D) symmetric; 1 where nothing varies, less in every direction that varies."""
    squares = seen.squares.astype(np.float64)
    mean = np.trace(squares) / len(squares) / seen.changes
    variance, axes = np.linalg.eigh(squares / (seen.changes + _UNSEEN) / max(mean, 1e-12))
    weights: F64 = (axes / np.sqrt(1 + np.maximum(variance, 0))) @ axes.T
    return weights
