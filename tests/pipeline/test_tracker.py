"""Tracks of one camera: ids of its own, ends told once, time in seconds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import TrackerConfig
from pipeline.datatypes import Detections, TrackState
from pipeline.tracker import CameraTracker

CONFIG = TrackerConfig(lost_after_s=1.0, confirm_frames=2)


def people(*xs, score=0.9):
    """A box 20 wide and 50 high at each x."""
    boxes = np.array([(x, 0, x + 20, 50) for x in xs], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(xs), score, np.float32))


def ids(tracked):
    return sorted(track.track_id for track in tracked.visible)


def run(tracker, steps):
    """Outcomes of (time, xs) steps."""
    return [tracker.step(people(*xs), at) for at, xs in steps]


def test_two_people_who_walk_keep_their_ids():
    seen = run(CameraTracker(CONFIG), [(i / 10, (10 + 2 * i, 300 - 2 * i)) for i in range(20)])
    assert {tuple(ids(one)) for one in seen[1:]} == {(1, 2)}


def test_an_empty_frame_has_no_tracks():
    tracker = CameraTracker(CONFIG)
    assert tracker.step(people(), 0.0).visible == ()
    assert tracker.step(people(), 0.1).closed == ()
    assert tracker.close() == ()


def test_a_track_is_tentative_until_seen_confirm_frames_times():
    seen = run(CameraTracker(CONFIG), [(i / 10, (10,)) for i in range(4)])
    states = [track.state for one in seen for track in one.visible]
    assert states == [TrackState.TENTATIVE, TrackState.CONFIRMED, TrackState.CONFIRMED]


def test_a_track_carries_its_box_score_and_times():
    tracker = CameraTracker(CONFIG)
    run(tracker, [(5.0, (10,)), (5.1, (10,))])
    (track,) = tracker.step(people(12, score=0.8), 5.2).visible
    assert track.box_xyxy.tolist() == [12, 0, 32, 50]
    assert track.box_xyxy.dtype == np.float32
    assert (track.score, track.first_seen, track.last_seen) == (pytest.approx(0.8), 5.1, 5.2)


def test_two_cameras_number_their_tracks_apart():
    a, b = CameraTracker(CONFIG), CameraTracker(CONFIG)
    for i in range(4):
        seen_a = a.step(people(10, 100, 200), i / 10)
        seen_b = b.step(people(300), i / 10)
    assert ids(seen_a) == [1, 2, 3]
    assert ids(seen_b) == [1]


@pytest.mark.parametrize("fps", [2, 5, 10, 30, 60])
def test_a_track_ends_lost_after_s_seconds_after_its_last_box_at_any_frame_rate(fps):
    tracker = CameraTracker(CONFIG)
    run(tracker, [(i / fps, (10,)) for i in range(2 * fps)])
    last = (2 * fps - 1) / fps
    ends = [last + i / fps for i in range(1, 3 * fps) if tracker.step(people(), last + i / fps).closed]
    assert len(ends) == 1
    assert last + 1.0 - 1e-6 <= ends[0] <= last + 1.0 + 1 / fps + 1e-6


def test_who_comes_back_in_time_keeps_the_id_and_who_comes_later_does_not():
    tracker = CameraTracker(CONFIG)
    run(tracker, [(0.0, (10,)), (0.1, (10,)), (0.2, ()), (0.3, ())])
    assert ids(tracker.step(people(10), 0.9)) == [1]
    run(tracker, [(1.5, ()), (2.0, ())])
    assert [ids(one) for one in run(tracker, [(2.1, (10,)), (2.2, (10,))])][-1] == [2]


def test_closing_ends_every_open_track_once():
    tracker = CameraTracker(CONFIG)
    run(tracker, [(0.0, (10, 200)), (0.1, (10, 200))])
    assert sorted(track.track_id for track in tracker.close()) == [1, 2]
    assert tracker.close() == ()


steps = st.lists(
    st.tuples(st.floats(0.004, 1.3), st.lists(st.sampled_from([0, 15, 40, 60, 200]), max_size=3, unique=True)),
    min_size=3,
    max_size=40,
)


@given(steps, st.floats(0.03, 1.2))
def test_an_id_is_closed_once_and_never_seen_again(moves, lost_after_s):
    tracker, now, ended = CameraTracker(TrackerConfig(lost_after_s=lost_after_s)), 0.0, []
    for wait, xs in moves:
        now += wait
        seen = tracker.step(people(*xs), now)
        assert len(ids(seen)) == len(set(ids(seen)))
        assert not set(ids(seen)) & set(ended)
        ended += [track.track_id for track in seen.closed]
    ended += [track.track_id for track in tracker.close()]
    assert len(ended) == len(set(ended))


def test_a_split_track_goes_on_under_a_new_number_and_closes_once():
    tracker = CameraTracker(CONFIG)
    old = run(tracker, [(at, [10]) for at in (0.0, 0.1, 0.2)])[-1].visible[0]
    new = tracker.split(old)
    assert (new.track_id, new.first_seen, new.state) == (old.track_id + 1, 0.2, TrackState.CONFIRMED)
    later, gone = run(tracker, [(0.3, [10]), (5.0, [])])
    assert ids(later) == [new.track_id]
    assert [track.track_id for track in gone.closed] == [new.track_id]
