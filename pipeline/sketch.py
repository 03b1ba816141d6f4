"""Which few of millions of unit vectors may be nearest: int8 products of their strongest axes. Pure."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import numkong
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from pipeline.datatypes import F32

_LENGTH = 128  # axes kept
_BLOCK = 8192  # rows whose products with 16 queries stay in a core's cache
_GROUPS = 1024  # of the rows of a block; only a group's best product is kept
_SPAN = 8  # blocks given to one call of `each`; the best of the same group in all of them is kept, too

Rows = NDArray[np.intp]
Products = NDArray[np.int32]
T = TypeVar("T")


class Each(Protocol):
    """Calls a function with every item and returns its answers in order: `map`, or, for more cores, a pool's map."""

    def __call__(self, function: Callable[[int], T], items: Iterable[int], /) -> Iterable[T]:
        """See the class."""
        ...


class Sketch:
    """Rows in int8 on the axes where some vectors like theirs differ most.

    Measured (`scripts/benchmark.py --part gallery`): a tenth of the time of exact products, and the same answers while
    the rows differ on the same axes as those vectors: begin a new one now and then. Integer products, so the same rows
    give the same shortlist in any number of threads.

    Args:
        vectors: (M, D) unit vectors that choose the axes; some thousands are enough. They are not kept.
    """

    def __init__(self, vectors: F32) -> None:
        axes = _strongest_axes(vectors)
        self._axes = numkong.dots_pack(axes)
        self._codes = np.zeros((_BLOCK, len(axes)), np.int8)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def write(self, row: int, vectors: F32) -> None:
        """Sets the rows from `row` on to unit vectors (N, D); `row` is at most the number of rows so far."""
        self._used = max(self._used, row + len(vectors))
        if self._used > len(self._codes):  # in place: what is large is moved by the page, not copied
            self._codes.resize((-(-self._used // _BLOCK) * _BLOCK, self._codes.shape[1]), refcheck=False)
        self._codes[row : row + len(vectors)] = self._encode(vectors)

    def cut(self, rows: int) -> None:
        """Forgets all but the first `rows`."""
        self._codes[rows : self._used] = 0
        self._used = min(self._used, rows)

    def scan(self, queries: F32, each: Each = map) -> "Scan":
        """Compares queries (Q, D) with all rows."""
        return Scan(self._codes, self._used, self._encode(queries), each)

    def _encode(self, vectors: F32) -> NDArray[np.int8]:
        coordinates = np.asarray(numkong.dots_packed(vectors, self._axes))  # BLAS would start threads for a few rows
        codes: NDArray[np.int8] = np.rint(127 * np.clip(coordinates, -1, 1)).astype(np.int8)
        return codes


class Scan:
    """Products of Q queries with all rows of a sketch; only the best of each group of rows are kept.

    A group is 8 rows of one block, 1024 apart. Valid until the sketch changes.
    """

    def __init__(self, codes: NDArray[np.int8], used: int, queries: NDArray[np.int8], each: Each) -> None:
        self._codes, self._used, self._queries = codes, used, queries
        packed = numkong.dots_pack(queries)
        blocks = -(-used // _BLOCK)
        spans = -(-blocks // _SPAN)
        self._best = np.empty((spans, _SPAN, _GROUPS, len(queries)), np.int32)
        self._best[-1:] = np.iinfo(np.int32).min  # the last span may have fewer blocks
        self._top = np.empty((len(queries), spans, _GROUPS), np.int32)

        def compare(span: int) -> None:
            products = numkong.zeros((_BLOCK, len(queries)), dtype="int32")
            for block in range(span * _SPAN, min((span + 1) * _SPAN, blocks)):
                numkong.dots_packed(codes[block * _BLOCK : (block + 1) * _BLOCK], packed, out=products)
                self._best[span, block % _SPAN] = _group_maxima(np.asarray(products))
            self._top[:, span] = self._best[span].max(axis=0).T

        for _ in each(compare, range(spans)):
            pass

    def rows(self, query: int, count: int) -> Rows:
        """The rows, about `count` or all, that may be nearest to one of the queries, ascending."""
        if count >= self._used:
            return np.arange(self._used)
        top = self._top[query]
        count = min(count, top.size)
        least = np.partition(top, top.size - count, axis=None)[top.size - count]
        span, group = np.nonzero(top >= least)
        which, place = np.nonzero(self._best[span, :, group, query] >= least)
        firsts = (span[which] * _SPAN + place) * _BLOCK + group[which]
        rows: Rows = (firsts[:, None] + np.arange(0, _BLOCK, _GROUPS)).ravel()
        rows = rows[rows < self._used]
        products = np.asarray(
            numkong.dots_packed(self._codes.take(rows, axis=0), numkong.dots_pack(self._queries[query][None]))
        )
        return np.sort(rows[products[:, 0] >= least])


def _strongest_axes(vectors: F32) -> F32:
    """(at most 128, D) orthonormal axes that keep most of the vectors' products (Eckart and Young 1936)."""
    last = vectors.shape[1] - 1
    _, axes = eigh(vectors.T @ vectors, subset_by_index=(max(0, last + 1 - _LENGTH), last))
    strongest: F32 = np.ascontiguousarray(axes.T)
    return strongest


def _group_maxima(products: Products) -> Products:
    """Maxima of each row and those a multiple of 1024 rows on: (8192, Q) -> (1024, Q). Overwrites the products."""
    rows = len(products)
    while rows > _GROUPS:
        rows //= 2
        np.maximum(products[:rows], products[rows : 2 * rows], out=products[:rows])
    return products[:rows]
