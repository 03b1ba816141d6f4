"""What is learnt of two cameras' views, and how it is used."""

import numpy as np
import pytest

from pipeline.config import MatcherConfig
from pipeline.covisibility import Covisibility
from pipeline.matcher import Matcher
from tests.fakes import tracklet, unit, update

IDS = np.array([7, 8])


def learnt(shared, apart):
    views = Covisibility()
    for identity in [7] * shared + [9] * apart:
        views.note("a", {"b": {7}}, identity)
    return views


def test_cameras_of_which_nothing_is_known_are_not_doubted():
    assert Covisibility().doubt("a", {"b": {7}}, IDS).tolist() == [0, 0]


def test_only_who_is_seen_elsewhere_is_doubted():
    assert learnt(0, 8).doubt("a", {"b": {7}}, IDS) == pytest.approx([0.8, 0])
    assert learnt(0, 8).doubt("a", {"b": set()}, IDS).tolist() == [0, 0]


def test_doubt_grows_with_people_apart_and_shrinks_with_people_shared():
    doubts = [learnt(*counts).doubt("a", {"b": {7}}, IDS)[0] for counts in ((4, 4), (2, 4), (0, 4), (0, 40))]
    assert doubts == sorted(doubts)
    assert len(set(doubts)) == 4


def test_a_camera_that_is_turned_after_years_is_not_doubted_for_years():
    views = learnt(0, 100_000)
    for _ in range(2000):
        views.note("a", {"b": {7}}, 7)
    assert views.doubt("a", {"b": {7}}, IDS).tolist() == [0, 0]


def test_what_one_camera_learns_of_another_holds_both_ways():
    views = learnt(0, 3)
    assert views.doubt("b", {"a": {7}}, IDS).tolist() == views.doubt("a", {"b": {7}}, IDS).tolist()


def test_an_empty_camera_teaches_nothing():
    views = Covisibility()
    views.note("a", {"b": set()}, 7)
    assert views.doubt("a", {"b": {7}}, IDS).tolist() == [0, 0]


def test_with_nobody_known_nobody_is_doubted():
    assert learnt(0, 3).doubt("a", {"b": {7}}, IDS[:0]).shape == (0,)


@pytest.mark.parametrize(("overlap", "same"), [(True, True), (False, False)])
def test_a_double_in_another_camera_is_the_same_person_only_where_the_views_overlap(overlap, same):
    """Five people whom both cameras see, or five and five others; then one more in each, alike but not equal."""
    known = Matcher(MatcherConfig(min_embeddings=1, elsewhere_penalty=0.3), 12)
    axes = np.eye(12, dtype=np.float32)
    crowd = [tracklet(row, axes[row], at=1.0) for row in range(5)]
    others = crowd if overlap else [tracklet(row, axes[row + 5], at=1.0) for row in range(5)]
    double = tracklet(9, unit(*(axes[10] * 0.85 + axes[11] * 0.53)), at=2.0)
    known.step(update("a", 1.0, *crowd))
    known.step(update("b", 1.0, *others))
    (first,) = known.step(update("a", 2.0, tracklet(9, axes[10], at=2.0))).tracks
    (second,) = known.step(update("b", 2.0, double)).tracks
    assert (first.identity_id == second.identity_id) is same
