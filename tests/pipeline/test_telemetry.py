"""Latencies in bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.telemetry import Latencies


def test_nothing_measured_is_zero():
    assert Latencies().summary() == {"p50": 0.0, "p95": 0.0, "p99": 0.0}


@given(st.lists(st.floats(0.002, 90.0), min_size=1, max_size=300), st.sampled_from([50, 95, 99]))
def test_percentiles_are_right_to_five_per_cent(seconds, percent):
    measured = Latencies()
    for one in seconds:
        measured.add(one)
    exact = np.percentile(seconds, percent, method="inverted_cdf") * 1000
    assert exact * 0.999 <= measured.percentile_ms(percent) <= exact * 1.06


@pytest.mark.parametrize(("seconds", "ms"), [(-1.0, 1.0), (0.0, 1.0), (1e9, 1e5)])
def test_what_lies_outside_the_bins_is_counted_at_their_ends(seconds, ms):
    measured = Latencies()
    measured.add(seconds)
    assert measured.percentile_ms(50) == ms


def test_counts_that_travelled_are_the_same_measurements():
    measured = Latencies()
    measured.add(0.1)
    assert Latencies(measured.counts.tolist()).summary() == measured.summary()
