"""Products of integer matrices are those of numpy."""

import numpy as np
import pytest

from engines.products import integer_product

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(0, 5, 3), (1, 1, 1), (70, 128, 16), (3, 200, 1)])
def test_integer_products_are_exact_up_to_the_largest_codes(shape):
    rows, length, queries = shape
    left = RNG.integers(0, 128, (rows, length)).astype(np.uint8)
    right = RNG.choice(np.array([-127, 127], np.int8), (length, queries))
    answer = integer_product()(left, right)
    assert answer.dtype == np.int32
    assert answer.tolist() == (left.astype(int) @ right.astype(int)).tolist()


def test_the_largest_codes_overflow_nothing():
    left, right = np.full((9, 128), 127, np.uint8), np.full((128, 2), 127, np.int8)
    assert (integer_product()(left, right) == 128 * 127 * 127).all()
