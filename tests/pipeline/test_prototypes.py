"""Rows and their sketch stay the same vectors, whatever is written, removed and turned."""

import numpy as np
import pytest

from pipeline.prototypes import Prototypes
from pipeline.sketch import Sketch
from pipeline.vectors import unit_rows


def vectors(count, seed=0, dimension=16):
    return unit_rows(np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32))


def filled(count, sketched_from=40):
    made = Prototypes(16, sketched_from)
    for number, vector in enumerate(vectors(count)):
        made.append(number, vector)
    return made


def nearest_by_sketch(made, queries):
    """The row that each query is equal to, if the sketch holds it."""
    shortlists = made.sketch.scan(queries).rows(range(len(queries)), 4)
    return [int(rows[np.argmax(made.rows[rows] @ query)]) for rows, query in zip(shortlists, queries, strict=True)]


def test_the_first_row_is_nobodys():
    made = filled(3)
    assert len(made) == 4
    assert not made.rows[0].any()
    assert made.owner.tolist() == [0, 0, 1, 2]
    assert np.array_equal(made.rows[1:], vectors(3))


def test_few_rows_have_no_sketch():
    assert filled(20).sketch is None
    assert isinstance(filled(200).sketch, Sketch)


@pytest.mark.parametrize("row", [1, 57, 200])
def test_the_last_row_takes_the_place_of_one_removed_in_the_sketch_too(row):
    made = filled(200)
    last, owner = made.rows[-1].copy(), int(made.owner[-1])
    made.remove(row)
    assert len(made) == len(made.sketch) == 200
    if row < 200:
        assert np.array_equal(made.rows[row], last)
        assert made.owner[row] == owner
        assert nearest_by_sketch(made, last[None]) == [row]


def test_a_row_written_again_is_found_while_the_next_sketch_is_built():
    made = filled(100)
    for seed in range(1, 8):  # enough that sketches follow one another
        for row, vector in enumerate(vectors(100, seed), start=1):
            made.write(row, vector)
    rows = made.rows[1:].copy()
    assert nearest_by_sketch(made, rows) == [*range(1, 101)]


@pytest.mark.parametrize(("count", "sketched_from"), [(100, 40), (403, 400)])
def test_turned_rows_are_those_of_a_sketch_that_is_complete_or_half_built(count, sketched_from):
    made = filled(count, sketched_from)
    assert (made.sketch is None) == (count == 403)
    change = np.random.default_rng(5).normal(size=(16, 16)).astype(np.float32)
    expected = unit_rows(made.rows @ change)
    made.turn(change)
    assert np.allclose(made.rows, expected, atol=1e-6)
    for _ in range(20):  # more than a half-built one needs
        made.write(1, made.rows[1].copy())
    assert nearest_by_sketch(made, made.rows[1:].copy()) == [*range(1, count + 1)]
