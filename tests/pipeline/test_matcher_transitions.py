"""Who is due in a camera, by where and when they were last seen, need be less alike."""

import math

import numpy as np
import pytest

from pipeline.config import MatcherConfig
from pipeline.datatypes import Assignment
from pipeline.matcher import Matcher
from pipeline.matcher_state import MatcherState
from pipeline.vectors import unit_rows
from tests.fakes import tracklet, update

D = 256
WALK_S = 30.0
STAY_S = 15.0
MINUTE = 60.0
FROM_HALL, FROM_EXIT = np.eye(D, dtype=np.float32)[:2]


def matcher(weight, state=None, **settings):
    usual = {"remove_camera_bias": False, "min_embeddings": 1, "crowd_penalty": 0.0}
    return Matcher(MatcherConfig(transition_weight=weight, **usual, **settings), D, state)


def passes(known, camera_id, at, looks, track_id):
    """Who somebody is who came into view of a camera at `at` and stayed for a while; they are told of later still."""
    gone = at + STAY_S
    seen = tracklet(track_id, looks, at=gone, since=at, count=3, closed=True)
    outcome = known.step(update(camera_id, gone + 1.0, seen))
    (decision,) = [one for one in outcome.decisions if isinstance(one, Assignment)]
    return decision.identity_id


def arrivals(known, camera_id="shop"):
    """How many newcomers to a camera were given away, by where they came from."""
    found = {way.came_from: float(way.arrivals.sum()) for way in known.finish().transitions if way.came_to == camera_id}
    return {camera: number for camera, number in found.items() if number}


def walked(known, people=40):
    """So many people walk from the hall to the shop, a minute after the other; what the next one's number is."""
    rows = np.random.default_rng(0).standard_normal((people, D)).astype(np.float32)
    rows[:, :3] = 0
    for number, looks in enumerate(unit_rows(rows)):
        assert passes(known, "hall", number * MINUTE, looks, number + 1) == number + 1
        assert passes(known, "shop", number * MINUTE + WALK_S, looks, number + 1) == number + 1
    return people + 1


def like(hall, exit_):
    """Looks of such similarity to two people."""
    looks = np.zeros(D, np.float32)
    looks[:3] = hall, exit_, math.sqrt(1 - hall**2 - exit_**2)
    return looks


def newcomer(known, looks, number=41):
    """Who somebody in the shop is: 0 the one seen in the hall before, 1 the one seen at the exit, 2 somebody new."""
    at = number * MINUTE
    in_hall = passes(known, "hall", at, FROM_HALL, number)
    passes(known, "exit", at, FROM_EXIT, number)
    return passes(known, "shop", at + WALK_S, looks, number) - in_hall


@pytest.mark.parametrize("weight", [0.0, 0.15])
def test_of_two_who_look_alike_the_one_who_is_due_came(weight):
    known = matcher(weight)
    walked(known)
    assert newcomer(known, like(hall=0.66, exit_=0.69)) == (0 if weight else 1)


@pytest.mark.parametrize("weight", [0.0, 0.15])
def test_who_is_due_is_known_where_looks_leave_a_doubt(weight):
    known = matcher(weight)
    walked(known)
    assert newcomer(known, like(hall=0.45, exit_=0.1)) == (0 if weight else 2)


def test_before_anybody_walked_looks_alone_count():
    assert newcomer(matcher(0.15), like(hall=0.66, exit_=0.69), 1) == 1


def test_nobody_is_due_who_looks_like_somebody_else():
    known = matcher(0.15)
    walked(known)
    assert newcomer(known, like(hall=0.1, exit_=0.1)) == 2


def test_after_a_restart_who_was_due_is_due():
    before = matcher(0.15)
    number = walked(before)
    at = number * MINUTE
    in_hall = passes(before, "hall", at, FROM_HALL, number)
    passes(before, "exit", at, FROM_EXIT, number)
    gallery = before.gallery
    identities = tuple((gallery.get(who), gallery.keys(who)) for who in gallery.ids.tolist())
    after = matcher(0.15, MatcherState(identities, {}, number + 2, learnt=before.finish()))
    assert passes(after, "shop", at + WALK_S, like(hall=0.45, exit_=0.1), number) == in_hall


def test_who_was_known_only_because_they_were_due_teaches_nothing():
    known = matcher(0.15)
    walked(known)
    before = arrivals(known)
    assert newcomer(known, like(hall=0.45, exit_=0.1)) == 0
    assert arrivals(known) == before == {"hall": 40.0}


def test_looks_alone_teach_though_times_decide():
    known = matcher(0.15)
    walked(known)
    assert newcomer(known, like(hall=0.66, exit_=0.69)) == 0
    assert arrivals(known) == {"hall": 40.0, "exit": 1.0}


def test_people_who_begin_to_come_otherwise_are_known_again():
    known = matcher(0.15, forget_after_s=1e9)
    walked(known, 300)
    rows = np.random.default_rng(0).standard_normal((300, D)).astype(np.float32)
    rows[:, :3] = 0
    rows = unit_rows(rows)
    rows[:, 0] = 1.1  # cosine 0.67 of before
    later = [310 * MINUTE + number * MINUTE for number in range(300)]
    again = [passes(known, "shop", at, row, round(at)) for at, row in zip(later, unit_rows(rows), strict=True)]
    assert np.mean(np.array(again[:50]) == np.arange(1, 51)) < 0.5
    assert np.mean(np.array(again[200:]) == np.arange(201, 301)) > 0.8


def test_without_weight_nothing_is_learnt():
    known = matcher(0.0)
    walked(known)
    assert known.finish().transitions == ()


def test_what_was_learnt_is_told_now_and_then():
    known, told = matcher(0.15), []
    for number in range(20):
        looks = np.eye(D, dtype=np.float32)[number]
        seen = tracklet(number + 1, looks, at=float(number), since=float(number), count=3, closed=True)
        told.append(bool(known.step(update("hall", float(number), seen)).learnt.transitions))
    assert [number for number, one in enumerate(told) if one] == [15]


def test_where_a_track_goes_on_time_counts_no_more_than_place():
    known = matcher(0.15)
    spot = walked(known)
    at = spot * MINUTE
    for number in range(40):  # tracks break at once, all the time
        looks = np.eye(D, dtype=np.float32)[3 + number % 20]
        passes(known, "hall", at + 100.0 * number, looks, 100 + 2 * number)
        passes(known, "hall", at + 100.0 * number + STAY_S + 0.5, looks, 100 + 2 * number)
    one = passes(known, "hall", at + 9000.0, FROM_HALL, 500)
    assert passes(known, "hall", at + 9000.0 + STAY_S + 0.5, like(hall=0.35, exit_=0.1), 500) != one
    assert passes(known, "hall", at + 9030.0 + STAY_S + 0.5, like(hall=0.35, exit_=0.1), 501) != one
