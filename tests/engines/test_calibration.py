"""The grid of 256 numbers that is chosen for a tensor."""

import numpy as np
import pytest

from engines.calibration import fitted


def test_a_rare_large_value_is_cut_off_for_finer_steps_elsewhere() -> None:
    values = np.append(np.linspace(-1, 1, 200_000), 8)
    assert fitted(values, symmetric=True).scale < 4.5 / 127
    assert fitted(values[:-1], symmetric=True).scale == pytest.approx(1 / 127)


def test_zero_stays_zero_and_positive_values_get_twice_the_steps_without_symmetry() -> None:
    values = np.linspace(0, 2, 1000)
    even, uneven = (fitted(values, symmetric) for symmetric in (True, False))
    assert (even.ends, uneven.ends) == ((-127, 127), (0, 255))
    assert uneven.scale == pytest.approx(even.scale / 2, rel=0.01)
    for grid in (even, uneven):
        assert grid.rounded(np.zeros(1)) == 0


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("values", [np.zeros(4), np.full(4, -3.0), np.full(4, 1e-3)])
def test_values_that_are_all_the_same_are_met_exactly(values: np.ndarray, symmetric: bool) -> None:
    np.testing.assert_allclose(fitted(values, symmetric).rounded(values), values, rtol=1e-5)
