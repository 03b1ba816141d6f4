"""Where a lost track may go on."""

import numpy as np
import pytest

from pipeline.continuity import Lost, continuities, continuity


def person(x: float, height: float = 100.0) -> np.ndarray:
    return np.array([x, 200 - height, x + 40, 200], np.float32)


@pytest.mark.parametrize(
    ("new", "at", "fits"),
    [
        (person(10), 0.2, True),
        (person(60), 1.0, True),
        (person(300), 1.0, False),
        (person(10), 0.0, False),
        (person(10), -0.5, False),
        (person(10), 3.0, False),
    ],
)
def test_a_track_goes_on_near_by_and_soon_after(new, at, fits):
    assert (continuity(person(10), 0.0, new, at) > 0) is fits


def test_sooner_nearer_and_of_the_same_height_fits_better():
    best = continuity(person(10), 0.0, person(10), 0.1)
    assert 0.9 < best <= 1.0
    assert continuity(person(10), 0.0, person(10), 1.5) < best
    assert continuity(person(10), 0.0, person(25), 0.1) < best
    assert continuity(person(10), 0.0, person(10, 50), 0.1) < best


def test_of_an_identity_lost_twice_the_better_place_counts_and_nothing_of_one_not_lost():
    lost = [Lost(7, person(10), 0.0), Lost(7, person(90), 0.0), Lost(9, person(50), 0.0)]
    got = continuities(lost, np.array([9, 8, 7]), person(10), 0.5)
    assert got[1:].tolist() == [0, np.float32(continuity(person(10), 0.0, person(10), 0.5))]
    assert 0 < got[0] < got[2]
