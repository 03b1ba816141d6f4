"""Latencies in bins, and sums over processes that follow one another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.telemetry import CameraCounters, Latencies, MatcherReport, Reports, WorkerReport, added


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


def worker(pid, frames, camera="a", number=0):
    return WorkerReport(number, pid, 100.0, {camera: CameraCounters(frames=frames, visible=frames)})


def test_a_restarted_worker_goes_on_from_the_sums_of_those_before():
    reports = Reports()
    for report in (worker(1, 5), worker(1, 8), worker(2, 3), worker(9, 50, "b", 1), worker(3, 1), worker(3, 2)):
        reports.hear(report)
    assert [reports.total(one).frames for one in "abc"] == [8 + 3 + 2, 50, 0]
    assert {one: now.frames for one, now in reports.cameras.items()} == {"a": 2, "b": 50}
    assert reports.rss_mb == 200.0


def test_latencies_of_all_matchers_count_and_the_identities_of_the_last():
    reports, measured = Reports(), Latencies()
    measured.add(0.1)
    assert (reports.identities, reports.latencies().counts.sum()) == (0, 0)
    for pid, identities in ((1, 3), (1, 4), (2, 4), (3, 6)):
        reports.hear(MatcherReport(pid, 50.0, identities, identities, measured.counts.tolist(), 0, 0))
    assert (reports.identities, reports.latencies().counts.sum(), reports.rss_mb) == (6, 3, 50.0)


def test_what_two_workers_dropped_is_summed_by_reason():
    one, other = CameraCounters(dropped={"a": 1, "b": 2}, up=True), CameraCounters(dropped={"b": 3, "c": 4})
    total = added(one, other)
    assert (total.dropped, total.up) == ({"a": 1, "b": 5, "c": 4}, False)
