"""Pairs are as cheap together as any can be."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.assignment import assign


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (np.zeros((0, 3)), {}),
        (np.zeros((3, 0)), {}),
        ([[0.1]], {0: 0}),
        ([[0.5]], {}),
        ([[0.1, 0.2], [0.1, 0.3]], {0: 1, 1: 0}),
        ([[0.05, 0.39], [0.38, 0.9]], {0: 0}),  # a sure match is not given up to place two poor ones
    ],
)
def test_the_cheapest_pairs_are_assigned_and_none_above_the_limit(cost, expected):
    assert assign(np.array(cost, np.float32), 0.4) == expected


def cheapest(cost, limit):
    """Least total over all partial pairings, where leaving a pair out costs `limit`."""
    rows, columns = cost.shape
    if rows > columns:
        return cheapest(cost.T, limit)
    ways = itertools.permutations(range(columns), rows)
    return min(sum(min(cost[r, c], limit) for r, c in enumerate(way)) for way in ways)


@given(st.integers(1, 4), st.integers(1, 4), st.randoms(use_true_random=False))
def test_assignment_is_as_cheap_as_trying_every_pairing(rows, columns, random):
    cost = np.array([[random.random() for _ in range(columns)] for _ in range(rows)], np.float32)
    pairs = assign(cost, 0.5)
    paid = sum(cost[r, c] for r, c in pairs.items()) + 0.5 * (min(rows, columns) - len(pairs))
    assert paid == pytest.approx(cheapest(cost, 0.5), abs=1e-5)
    assert len(set(pairs.values())) == len(pairs)
