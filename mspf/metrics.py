"""Retrieval scores of re-identification: CMC, mAP and mINP."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

BLOCK = 512  # queries compared at once: a dense matrix of MSMT17's 93,820 images would take 35 GB


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """Embeddings (N, D), unit rows, with pids (N,) and camids (N,).

    Raises:
        ValueError: lengths differ, or an embedding is not finite.
    """

    embeddings: F32
    pids: I64
    camids: I64

    def __post_init__(self) -> None:
        shapes = [array.shape for array in (self.embeddings, self.pids, self.camids)]
        if len(shapes[0]) != 2 or any(shape != shapes[0][:1] for shape in shapes[1:]):
            raise ValueError(f"embeddings, pids and camids have shapes {shapes}; expected (N, D), (N,) and (N,)")
        if len(broken := np.flatnonzero(~np.isfinite(self.embeddings).all(1))):
            raise ValueError(f"embedding {broken[0]} is not finite; the weights are damaged or the input is not 0..255")

    def __len__(self) -> int:
        return len(self.pids)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Shares in 0..1 over the queries that have a match.

    Attributes:
        cmc: (R,) share of queries with a match among the first 1..R.
        mean_ap: mean of (sum of precision at hits / hits); mean_inp: mean of hits / rank of the last hit
            (Ye et al., TPAMI 2021, arXiv 2001.04193).
        queries: how many were scored; those without any match left are skipped.
    """

    cmc: F64
    mean_ap: float
    mean_inp: float
    queries: int


class Pairs(NamedTuple):
    """Some queries against the whole gallery: same person or not, and whether the protocol compares them; (B, G)."""

    same: Mask
    kept: Mask


class _Ranking(NamedTuple):
    first_hit: int
    average_precision: float
    inverse_negative_penalty: float


def score(
    query: Described,
    gallery: Described,
    ignore_cameras: bool = False,
    ranks: int = 10,
    distances: Iterable[F32] | None = None,
) -> Scores:
    """How well the gallery is ranked for each query, equal distances in its order; all zero when none has a match.

    Args:
        ignore_cameras: see `judge`.
        distances: blocks of rows (B, G), query after query, as from `reranked_distances`; by default by similarity.
    """
    blocks = (-block for block in similarities(query, gallery)) if distances is None else distances
    rankings: list[_Ranking] = []
    start = 0
    for block in blocks:
        pairs = judge(query, gallery, slice(start, start + len(block)), ignore_cameras)
        places = (_places(*row) for row in zip(block, *pairs, strict=True))
        rankings.extend(_rank(found) for found in places if len(found))
        start += len(block)
    return _mean(rankings, ranks)


def similarities(query: Described, gallery: Described) -> Iterator[F32]:
    """Inner products in blocks of rows (B, G), query after query."""
    for start in range(0, len(query), BLOCK):
        yield query.embeddings[start : start + BLOCK] @ gallery.embeddings.T


def rows_of(blocks: Iterable[F32], rows: Iterable[int]) -> dict[int, F32]:
    """Of a matrix that comes in blocks of rows, these rows."""
    found: dict[int, F32] = {}
    wanted, start = list(rows), 0
    for block in blocks:
        found |= {row: block[row - start].copy() for row in wanted if start <= row < start + len(block)}
        start += len(block)
    return found


def judge(query: Described, gallery: Described, rows: slice, ignore_cameras: bool = False) -> Pairs:
    """What is right and what counts for these queries; an image is never compared with itself (query is gallery).

    Args:
        ignore_cameras: the Market metric drops, per query, gallery items of the same person and camera; one-camera
            sets would lose every match, so there nothing is dropped.
    """
    same = query.pids[rows, None] == gallery.pids
    kept = np.ones_like(same) if ignore_cameras else ~(same & (query.camids[rows, None] == gallery.camids))
    if query is gallery:
        numbers = np.arange(len(query))[rows]
        kept[np.arange(len(numbers)), numbers] = False
    return Pairs(same, kept)


def _places(distances: F32, same: Mask, kept: Mask) -> NDArray[np.intp]:
    """Places, from 0, of one query's matches; only what is as near as the farthest of them has to be sorted."""
    matches = same & kept
    if not matches.any():
        return np.zeros(0, np.intp)
    near = np.flatnonzero(kept & (distances <= distances[matches].max()))
    return np.flatnonzero(matches[near[np.argsort(distances[near], kind="stable")]])


def _rank(found: NDArray[np.intp]) -> _Ranking:
    """Scores of one query whose matches are at these places, from 0."""
    count = np.arange(1, len(found) + 1)
    return _Ranking(int(found[0]), float((count / (found + 1)).mean()), len(found) / float(found[-1] + 1))


def _mean(rankings: list[_Ranking], ranks: int) -> Scores:
    if not rankings:
        return Scores(np.zeros(ranks), 0.0, 0.0, 0)
    first, precision, penalty = (np.array(column) for column in zip(*rankings, strict=True))
    cmc = (first[:, None] < np.arange(1, ranks + 1)).mean(0)
    return Scores(cmc, float(precision.mean()), float(penalty.mean()), len(rankings))
