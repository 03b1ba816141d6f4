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

D = 64
WALK_S = 30.0
MINUTE = 60.0
FROM_HALL, FROM_EXIT = np.eye(D, dtype=np.float32)[:2]


def matcher(weight, state=None):
    config = MatcherConfig(transition_weight=weight, remove_camera_bias=False, min_embeddings=1, crowd_penalty=0.0)
    return Matcher(config, D, state)


def passes(known, camera_id, at, looks, track_id):
    """Who somebody is who was in view of a camera at one moment."""
    outcome = known.step(update(camera_id, at, tracklet(track_id, looks, at=at, since=at, count=3, closed=True)))
    (decision,) = [one for one in outcome.decisions if isinstance(one, Assignment)]
    return decision.identity_id


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
    arrivals = [known.finish()]
    assert newcomer(known, like(hall=0.45, exit_=0.1)) == 0
    arrivals.append(known.finish())
    before, after = (sum(way.arrivals.sum() for way in one.transitions if way.came_to == "shop") for one in arrivals)
    assert before == after > 30
