"""How much more alike two must be among many."""

import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.config import MatcherConfig
from pipeline.crowd import merges_from, taken_off
from pipeline.datatypes import Identity
from pipeline.matcher import Matcher
from pipeline.matcher_state import MatcherState
from tests.fakes import tracklet, unit, update


def test_few_people_cost_nothing_and_each_tenfold_the_same():
    assert [taken_off(known, 0.1) for known in (0, 1, 20)] == [0, 0, 0]
    assert [taken_off(known, 0.1) for known in (200, 2000, 10**6)] == pytest.approx([0.1, 0.2, 0.2])
    assert taken_off(200, 0.0) == 0


def test_who_is_nearly_equal_merges_in_any_crowd():
    assert [merges_from(0.8, known, 0.1) for known in (20, 200, 10**6)] == pytest.approx([0.8, 0.9, 0.95])
    assert merges_from(0.99, 10**6, 0.1) == 0.99


def known_people(count: int, penalty: float = 0.1, **settings: float) -> Matcher:
    """All but the first far from everything that is shown here."""
    axes = np.eye(count + 1, dtype=np.float32)
    identities = tuple(
        (Identity(row + 1, axes[row : row + 1], 0.0, 0.0, frozenset({"a"}), confirmed=True), (None,))
        for row in range(count)
    )
    config = MatcherConfig(min_embeddings=1, crowd_penalty=penalty, **settings)
    return Matcher(config, count + 1, MatcherState(identities, next_identity_id=count + 1))


def alike(matcher: Matcher, similarity: float) -> np.ndarray:
    """A descriptor that is so similar to the first of them, and to nobody else."""
    row = np.zeros(len(matcher.gallery) + 1, np.float32)
    row[0], row[-1] = similarity, np.sqrt(1 - similarity**2)
    return unit(*row)


@pytest.mark.parametrize(("count", "penalty", "joins"), [(20, 0.1, True), (200, 0.1, False), (200, 0.0, True)])
def test_the_same_likeness_joins_among_few_and_not_among_many(count, penalty, joins):
    matcher = known_people(count, penalty)
    seen = tracklet(1, alike(matcher, 0.6), at=9.0, closed=True)
    (decision,) = matcher.step(update("b", 9.0, seen)).decisions[:1]
    assert (decision.identity_id == 1) is joins


def test_a_track_that_goes_on_where_one_was_lost_is_not_compared_with_a_crowd():
    matcher = known_people(2000)
    first = alike(matcher, 1.0)
    matcher.step(update("b", 9.0, tracklet(1, first, at=9.0)))
    matcher.step(update("b", 9.1, tracklet(1, first, at=9.1, closed=True)))
    there = tracklet(1, first, at=9.1).box_xyxy
    going_on = tracklet(2, alike(matcher, 0.6), at=9.2, since=9.2, closed=True)
    (decision,) = matcher.step(update("b", 9.2, replace(going_on, box_xyxy=there))).decisions[:1]
    assert decision.identity_id == 1


@pytest.mark.parametrize(("count", "merges"), [(20, True), (200, False)])
def test_identities_merge_among_few_by_a_likeness_that_says_less_among_many(count, merges):
    matcher = known_people(count, min_similarity=0.9, merge_similarity=0.8)
    outcome = matcher.step(update("b", 9.0, tracklet(1, alike(matcher, 0.85), at=9.0, closed=True)))
    assert (len(matcher.gallery) == count) is merges
    assert outcome.decisions
