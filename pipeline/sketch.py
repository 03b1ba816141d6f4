"""Which few of millions of unit vectors may be nearest: int8 products of their strongest axes. Pure."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from engines.products import Product, integer_product
from pipeline.datatypes import F32

_LENGTH = 128  # axes kept
_ORIGIN = 64  # code of zero in rows
_ROWS, _QUERIES = 63, 127  # codes of one: those of rows stay below 128, see `integer_product`
_NONE = np.iinfo(np.int32).min  # product of room for rows to come
_BLOCK = 8192  # rows whose products with 16 queries stay in a core's cache
_GROUPS = 2048  # of the rows of a block; only a group's best product is kept
_SPAN = 8  # blocks given to one call of `each`; the best of the same group in all of them is kept, too

Rows = NDArray[np.intp]
Codes = NDArray[np.uint8]
T = TypeVar("T")


class Each(Protocol):
    """Calls a function with every item and returns its answers in order: `map`, or, for more cores, a pool's map."""

    def __call__(self, function: Callable[[int], T], items: Iterable[int], /) -> Iterable[T]:
        """See the class."""
        ...


class Sketch:
    """Rows in 7 bits on the axes where some vectors like theirs differ most.

    Measured (`scripts/benchmark.py --part gallery`): a tenth of the time of exact products, and the same answers while
    the rows differ on the same axes as those vectors: begin a new one now and then. Integer products, so the same rows
    give the same shortlist in any number of threads.

    Args:
        vectors: (M, D) unit vectors that choose the axes; some thousands are enough. They are not kept.
    """

    def __init__(self, vectors: F32) -> None:
        self._axes = _strongest_axes(vectors)
        self._compare = integer_product()
        self._codes = np.zeros((_BLOCK, self._axes.shape[1]), np.uint8)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def write(self, row: int, vectors: F32) -> None:
        """Sets the rows from `row` on to unit vectors (N, D); `row` is at most the number of rows so far."""
        self._used = max(self._used, row + len(vectors))
        if self._used > len(self._codes):  # in place: what is large is moved by the page, not copied
            self._codes.resize((-(-self._used // _BLOCK) * _BLOCK, self._codes.shape[1]), refcheck=False)
        self._codes[row : row + len(vectors)] = _ORIGIN + self._coordinates(vectors, _ROWS)

    def cut(self, rows: int) -> None:
        """Forgets all but the first `rows`."""
        self._used = min(self._used, rows)

    def scan(self, queries: F32, each: Each = map) -> "Scan":
        """Compares queries (Q, D) with all rows."""
        codes = np.ascontiguousarray(self._coordinates(queries, _QUERIES).T)
        return Scan(self._codes, self._used, codes, self._compare, each)

    def _coordinates(self, vectors: F32, one: int) -> NDArray[np.int8]:
        coordinates = vectors @ self._axes
        codes: NDArray[np.int8] = np.rint(one * np.clip(coordinates, -1, 1)).astype(np.int8)
        return codes


class Scan:
    """Products of Q queries with all rows of a sketch; only the best of each group of rows are kept.

    A group is 4 rows of one block, 2048 apart. Products are shifted by the same number for all rows of a query.
    Valid until the sketch changes.
    """

    def __init__(self, codes: Codes, used: int, queries: NDArray[np.int8], compare: Product, each: Each) -> None:
        self._codes, self._used, self._queries, self._compare = codes, used, queries, compare
        count, blocks = queries.shape[1], -(-used // _BLOCK)
        spans = -(-blocks // _SPAN)
        self._best = np.empty((spans, _SPAN, _GROUPS, count), np.int32)
        self._best[-1:] = _NONE  # the last span may have fewer blocks
        self._top = np.empty((count, spans, _GROUPS), np.int32)

        def scan(span: int) -> None:
            for block in range(span * _SPAN, min((span + 1) * _SPAN, blocks)):
                start = block * _BLOCK
                products = compare(codes[start : start + _BLOCK], queries)
                products[used - start :] = _NONE
                products.reshape(_BLOCK // _GROUPS, _GROUPS, count).max(axis=0, out=self._best[span, block % _SPAN])
            self._top[:, span] = self._best[span].max(axis=0).T

        for _ in each(scan, range(spans)):
            pass

    def rows(self, queries: Sequence[int], count: int) -> list[Rows]:
        """For each of some queries the rows, about `count` or all, that may be nearest to it."""
        if not queries or count >= self._used:
            return [np.arange(self._used) for _ in queries]
        chosen = np.array(queries, np.intp)
        top = self._top[chosen].reshape(len(chosen), len(self._best) * _GROUPS)
        full = max(1, self._used // (_SPAN * _BLOCK))  # the groups of the last span may be without rows
        count = min(count, full * _GROUPS)
        least = np.partition(top, -count, axis=1)[:, -count]
        asker, group = np.divmod(np.flatnonzero(top >= least[:, None]), top.shape[1])
        span, group = np.divmod(group, _GROUPS)
        best = self._best_in_blocks(span, group, chosen[asker])
        which, place = np.divmod(np.flatnonzero(best >= least[asker, None]), _SPAN)
        firsts = (span[which] * _SPAN + place) * _BLOCK + group[which]
        rows = (firsts[:, None] + np.arange(0, _BLOCK, _GROUPS)).ravel()
        codes = self._codes.take(rows, axis=0)
        ends = np.searchsorted(asker[which], np.arange(len(queries) + 1)) * (_BLOCK // _GROUPS)
        shortlists = []
        for query, enough, (start, end) in zip(queries, least, pairwise(ends), strict=True):
            products = self._compare(codes[start:end], self._queries[:, query : query + 1])[:, 0]
            near = rows[start:end][products >= enough]
            shortlists.append(near[near < self._used])
        return shortlists

    def _best_in_blocks(self, span: Rows, group: Rows, query: Rows) -> NDArray[np.int32]:
        """(G, 8) `_best[span, :, group, query]`, in two thirds of the time."""
        of_block = _GROUPS * self._best.shape[-1]
        first = span * _SPAN * of_block + group * self._best.shape[-1] + query
        return self._best.ravel().take(first[:, None] + np.arange(0, _SPAN * of_block, of_block))


def _strongest_axes(vectors: F32) -> F32:
    """(D, at most 128) orthonormal axes that keep most of the vectors' products (Eckart and Young 1936)."""
    last = vectors.shape[1] - 1
    _, axes = eigh(vectors.T @ vectors, subset_by_index=(max(0, last + 1 - _LENGTH), last))
    strongest: F32 = np.ascontiguousarray(axes)
    return strongest
