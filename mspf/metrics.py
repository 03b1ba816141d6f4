"""Retrieval scores of re-identification: CMC, mAP and mINP."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

BLOCK = 512  # queries compared at once: a dense matrix of MSMT17's 93,820 images would take 35 GB


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """Embeddings (N, D), unit rows, with pids (N,) and camids (N,)."""

    embeddings: F32
    pids: I64
    camids: I64


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


class _Ranking(NamedTuple):
    first_hit: int
    average_precision: float
    inverse_negative_penalty: float


def score(query: Described, gallery: Described, ignore_cameras: bool = False, ranks: int = 10) -> Scores:
    """How well similarity ranks the gallery for each query; all zero when no query has a match.

    Args:
        ignore_cameras: the Market metric drops, per query, gallery items of the same person and camera; one-camera
            sets would lose every match, so there nothing is dropped and query and gallery must be disjoint.
    """
    rankings: list[_Ranking] = []
    for start in range(0, len(query.pids), BLOCK):
        block = slice(start, start + BLOCK)
        similarity = query.embeddings[block] @ gallery.embeddings.T
        order = np.argsort(-similarity, axis=1, kind="stable")
        hits = gallery.pids[order] == query.pids[block, None]
        dropped = hits & (gallery.camids[order] == query.camids[block, None]) & (not ignore_cameras)
        for row_hits, row_dropped in zip(hits, dropped, strict=True):
            found = np.flatnonzero(row_hits[~row_dropped])
            if len(found):
                rankings.append(_rank(found))
    return _mean(rankings, ranks)


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
