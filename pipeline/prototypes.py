"""Unit vectors in one array, sketched where they are many: writing one takes no longer when there are more. Pure."""

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32
from pipeline.sketch import Sketch
from pipeline.vectors import unit_rows

Slots = NDArray[np.int32]
SKETCHED_FROM = 8192  # prototypes; measured: from there on a sketch and exact products of its shortlist are quicker
_ROOM = 4096  # rows by which arrays grow: 8 MB of 512 numbers
_SAMPLE = 2048  # prototypes that choose a sketch's axes
_STRETCH = 32  # prototypes that a new sketch takes in with every one written


class Prototypes:
    """Rows without gaps, each with its owner. Row 0 is zero and nobody's.

    Arrays grow in place, and a new sketch a little with every row written, while the one before it still serves.
    Choosing its axes takes longest, 20 ms of a core when D is 512.

    Args:
        dimension: D.
        sketched_from: rows from which there is a sketch.

    Attributes:
        sketch: of all rows; None while they are few, or the first one is not complete.
    """

    def __init__(self, dimension: int, sketched_from: int = SKETCHED_FROM) -> None:
        self._rows: F32 = np.zeros((_ROOM, dimension), np.float32)
        self._owner: Slots = np.zeros(_ROOM, np.int32)
        self._used = 1
        self._sketched_from = sketched_from
        self.sketch: Sketch | None = None
        self._next: Sketch | None = None
        self._begun_with, self._written = 0, 0  # rows when the newest sketch was begun, and written since then

    def __len__(self) -> int:
        return self._used

    @property
    def rows(self) -> F32:
        """(R, D), a view that holds until the next change."""
        return self._rows[: self._used]

    @property
    def owner(self) -> Slots:
        """(R,) whose each row is, a view like `rows`; may be written to."""
        return self._owner[: self._used]

    def append(self, owner: int, prototype: F32) -> int:
        """The row that the prototype (D,) now has."""
        row = self._used
        if row == len(self._rows):
            lengthen(self._rows, self._owner)
        self._used += 1
        self._owner[row] = owner
        self.write(row, prototype)
        return row

    def write(self, row: int, prototype: F32) -> None:
        """Replaces a row by (D,)."""
        self._rows[row] = prototype
        self._written += 1
        self._sketch_row(row)
        self._renew_sketch()

    def remove(self, row: int) -> None:
        """Deletes a row, which the last one takes."""
        last = self._used = self._used - 1
        if row != last:
            self._rows[row], self._owner[row] = self._rows[last], self._owner[last]
            self._sketch_row(row)
        for sketch in (self.sketch, self._next):
            if sketch is not None:
                sketch.cut(last)
        self._renew_sketch()

    def turn(self, change: F32) -> None:
        """Multiplies every row by (D, D), to unit length again, and sketches them anew.

        The one change that takes longer when there are more: 1.4 s of a core at 160,000 rows of 512 numbers.
        """
        blocks = [slice(start, min(start + _ROOM, self._used)) for start in range(0, self._used, _ROOM)]
        for block in blocks:
            self._rows[block] = unit_rows(self._rows[block] @ change)
        if self.sketch is not None:
            self.sketch = self._begun_sketch()
            for block in blocks:
                self.sketch.write(block.start, self._rows[block])
        self._next = None

    def _begun_sketch(self) -> Sketch:
        """Without rows, on the axes of those there are now."""
        self._begun_with, self._written = self._used, 0
        return Sketch(self._rows[1 : self._used : -(-self._used // _SAMPLE)])

    def _sketch_row(self, row: int) -> None:
        for sketch in (self.sketch, self._next):
            if sketch is not None and row <= len(sketch):
                sketch.write(row, self._rows[row : row + 1])

    def _renew_sketch(self) -> None:
        """Brings the next sketch forward; it is begun, on the axes of the rows of then, when as many rows were written
        as there were when the one before it was begun."""
        if 2 * self._used <= self._sketched_from or (self.sketch is None and self._used <= self._sketched_from):
            self.sketch = self._next = None
        elif self._next is not None:
            done = len(self._next)
            self._next.write(done, self._rows[done : min(done + _STRETCH, self._used)])
            if len(self._next) == self._used:
                self.sketch, self._next = self._next, None
        elif self.sketch is None or self._written > self._begun_with:
            self._next = self._begun_sketch()


def lengthen(*arrays: NDArray[np.generic]) -> None:
    """Room for more, of zeros, in place: what is large is moved by the page, not copied (measured: 7 ms at 1 GB)."""
    for array in arrays:
        array.resize((len(array) + _ROOM, *array.shape[1:]), refcheck=False)
