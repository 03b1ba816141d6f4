"""Which few of millions of unit vectors may be nearest: int8 products of their strongest axes. Pure."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import numkong
import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32

_LENGTH = 128  # axes kept
_BLOCK = 8192  # rows whose products with 16 queries stay in a core's cache
_GROUPS = 1024  # of the rows of a block; only a group's best product is kept
_SPAN = 32  # blocks given to one call of `each`

Rows = NDArray[np.intp]
T = TypeVar("T")


class Each(Protocol):
    """Calls a function with every item and returns its answers in order: `map`, or, for more cores, a pool's map."""

    def __call__(self, function: Callable[[int], T], items: Iterable[int], /) -> Iterable[T]:
        """See the class."""
        ...


class Sketch:
    """Rows in int8 on the axes where the vectors of its start differ most; an index stays a row's until it is moved.

    Measured (`scripts/benchmark.py --part gallery`): an eighth of the time of exact products, and the same answers
    while later vectors differ on the same axes: begin a new one now and then. Integer
    products, so the same rows give the same shortlist in any number of threads.

    Args:
        vectors: (M, D) that it starts with; they also choose the axes, so some thousands.
    """

    def __init__(self, vectors: F32) -> None:
        self._axes = _strongest_axes(vectors)
        self._codes = np.zeros((0, self._axes.shape[1]), np.int8)
        self._used, self.begun_with = 0, len(vectors)
        for start in range(0, len(vectors), _BLOCK):
            self.write(start, vectors[start : start + _BLOCK])

    def write(self, row: int, vectors: F32) -> None:
        """Sets the rows from `row` on to unit vectors (N, D); `row` is at most the number of rows so far."""
        self._used = max(self._used, row + len(vectors))
        if self._used > len(self._codes):
            blocks = -(-max(self._used, 2 * len(self._codes)) // _BLOCK)
            grown = np.zeros((blocks * _BLOCK, self._codes.shape[1]), np.int8)
            grown[: len(self._codes)] = self._codes
            self._codes = grown
        self._codes[row : row + len(vectors)] = self._encode(vectors)

    def move(self, row: int, to: int) -> None:
        """Row `to` becomes what the last row, `row`, was, which is no longer used."""
        self._codes[to] = self._codes[row]
        self._codes[row] = 0
        self._used = row

    def shortlist(self, queries: F32, count: int, each: Each = map) -> list[Rows]:
        """For each query (Q, D) the rows, about `count` or all, that may be nearest, ascending."""
        packed = numkong.dots_pack(self._encode(queries))
        blocks = -(-self._used // _BLOCK)
        best = np.empty((blocks * _GROUPS, len(queries)), np.int32)

        def scan(first: int) -> None:
            products = numkong.zeros((_BLOCK, len(queries)), dtype="int32")
            for block in range(first, min(first + _SPAN, blocks)):
                numkong.dots_packed(self._codes[block * _BLOCK : (block + 1) * _BLOCK], packed, out=products)
                best[block * _GROUPS : (block + 1) * _GROUPS] = _group_maxima(np.asarray(products))

        for _ in each(scan, range(0, blocks, _SPAN)):
            pass
        return list(each(lambda query: self._rows_of(best[:, query], count, packed, query), range(len(queries))))

    def _rows_of(self, best: NDArray[np.int32], count: int, packed: numkong.PackedMatrix, query: int) -> Rows:
        """The rows of the `count` best groups that are no worse than the worst of these groups' best ones."""
        if count >= self._used:
            return np.arange(self._used)
        count = min(count, len(best))
        least = np.partition(best, len(best) - count)[len(best) - count]
        block, group = np.divmod(np.flatnonzero(best >= least), _GROUPS)
        rows = (block * _BLOCK + group)[:, None] + np.arange(0, _BLOCK, _GROUPS)
        rows = rows[rows < self._used]
        products = np.asarray(numkong.dots_packed(self._codes[rows], packed))[:, query]
        return np.sort(rows[products >= least])

    def _encode(self, vectors: F32) -> NDArray[np.int8]:
        codes: NDArray[np.int8] = np.rint(127 * np.clip(vectors @ self._axes, -1, 1)).astype(np.int8)
        return codes


def _strongest_axes(vectors: F32) -> F32:
    """(D, at most 128) orthonormal axes that keep most of the vectors' products (Eckart and Young 1936)."""
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    strongest: F32 = np.ascontiguousarray(axes[:, ::-1][:, :_LENGTH])
    return strongest


def _group_maxima(products: NDArray[np.int32]) -> NDArray[np.int32]:
    """Maxima of each row and those a multiple of 1024 rows on: (8192, Q) -> (1024, Q). Overwrites the products."""
    rows = len(products)
    while rows > _GROUPS:
        rows //= 2
        np.maximum(products[:rows], products[rows : 2 * rows], out=products[:rows])
    return products[:rows]
