"""Rows of unit length."""

import numpy as np

from pipeline.vectors import unit_rows


def test_rows_are_divided_by_their_length_and_zeros_stay():
    unit = unit_rows(np.array([[3, 4], [0, 0], [-2, 0]], np.float32))
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0], [-1, 0]], atol=1e-6)
    assert unit.dtype == np.float32
