"""Who is who: what joins, what is new, what waits, what merges, what never may."""

import math

import msgspec
import numpy as np
import pytest

from pipeline.config import MatcherConfig
from pipeline.datatypes import Assignment, Confirmation, Expiry, Identity, Merge, TrackKey
from pipeline.gallery import mean_embedding
from pipeline.matcher import Matcher
from pipeline.matcher_state import Knowledge, MatcherState
from tests.fakes import tracklet, unit, update

CONFIG = MatcherConfig(
    min_similarity=0.6,
    new_below=0.5,
    merge_similarity=0.8,
    merge_within_s=30.0,
    min_embeddings=3,
    decide_after_s=1.5,
    confirm_after_s=1.0,
    prototypes=4,
    forget_after_s=100.0,
)
X, Y, Z = np.eye(3, dtype=np.float32)
DOUBTFUL = unit(0.55, math.sqrt(1 - 0.55**2), 0)  # between new_below and min_similarity to X


def matcher(config=CONFIG, state=None):
    return Matcher(config, 3, state)


def who(outcome):
    return {track.track_id: track.identity_id for track in outcome.tracks}


def of(kind, outcome):
    return [one for one in outcome.decisions if isinstance(one, kind)]


def test_the_first_person_is_somebody_new():
    outcome = matcher().step(update("a", 1.0, tracklet(1, X, at=1.0)))
    (first,) = of(Assignment, outcome)
    assert (first.track, first.identity_id, first.is_new, first.replaces) == (TrackKey("a", 1, 1), 1, True, None)
    assert math.isnan(first.similarity)
    assert who(outcome) == {1: 1}
    assert outcome.changed == (1,)


def test_a_frame_without_people_decides_nothing():
    outcome = matcher().step(update("a", 1.0))
    assert (outcome.decisions, outcome.tracks, outcome.changed) == ((), (), ())


def test_the_same_person_in_another_camera_has_the_same_identity():
    known = matcher()
    known.step(update("a", 1.0, tracklet(1, X, at=1.0)))
    outcome = known.step(update("b", 1.0, tracklet(1, unit(1, 0.3, 0), at=1.0)))
    (joined,) = of(Assignment, outcome)
    assert (joined.identity_id, joined.is_new) == (1, False)
    assert joined.similarity == pytest.approx(1 / math.hypot(1, 0.3), abs=1e-5)


def test_somebody_unlike_everybody_is_new_at_once():
    known = matcher()
    known.step(update("a", 1.0, tracklet(1, X, at=1.0)))
    assert who(known.step(update("b", 1.0, tracklet(1, Y, at=1.0)))) == {1: 2}


def test_a_decided_track_is_not_decided_again():
    known = matcher()
    known.step(update("a", 1.0, tracklet(1, X, at=1.0)))
    outcome = known.step(update("a", 1.1, tracklet(1, X, at=1.1)))
    assert (of(Assignment, outcome), who(outcome)) == ([], {1: 1})


def test_nobody_is_decided_before_there_is_evidence():
    known = matcher()
    for count in (0, 1, 2):
        assert who(known.step(update("a", count / 10, tracklet(1, X, at=count / 10, count=count)))) == {1: None}
    assert who(known.step(update("a", 0.3, tracklet(1, X, at=0.3, count=3)))) == {1: 1}


def test_a_track_in_doubt_waits_and_then_becomes_somebody_new():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    seen = [who(known.step(update("b", at, tracklet(1, DOUBTFUL, at=at)))) for at in (1.0, 2.0, 2.4, 2.5)]
    assert seen == [{1: None}, {1: None}, {1: None}, {1: 2}]


def test_a_track_in_doubt_joins_when_it_turns_out_alike():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("b", 1.0, tracklet(1, DOUBTFUL, at=1.0)))
    assert who(known.step(update("b", 1.1, tracklet(1, X, at=1.1, count=4)))) == {1: 1}


@pytest.mark.parametrize(
    ("embedding", "count", "expected"),
    [(X, 1, [1]), (DOUBTFUL, 1, []), (Y, 2, []), (DOUBTFUL, 3, [2]), (X, 0, [])],
)
def test_a_closing_track_is_settled_with_what_there_is(embedding, count, expected):
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    outcome = known.step(update("b", 2.0, tracklet(1, embedding, at=1.0, count=count, closed=True)))
    assert [one.identity_id for one in of(Assignment, outcome)] == expected
    assert outcome.tracks == ()


def test_two_people_in_one_picture_are_two_identities_however_alike():
    outcome = matcher().step(update("a", 1.0, tracklet(1, X, at=1.0), tracklet(2, X, at=1.0)))
    assert who(outcome) == {1: 1, 2: 2}


def test_two_alike_in_one_picture_never_merge():
    known = matcher()
    for at in np.arange(0.0, 5.0, 0.5):
        outcome = known.step(update("a", at, tracklet(1, X, at=at), tracklet(2, X, at=at)))
        assert of(Merge, outcome) == []
    known.step(update("a", 6.0, tracklet(1, X, at=4.5, closed=True), tracklet(2, X, at=4.5, closed=True)))
    assert of(Merge, known.step(update("b", 6.0, tracklet(1, X, at=6.0)))) == []


def test_a_track_never_joins_whom_it_was_seen_with_though_that_one_is_out_of_sight_now():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0), tracklet(2, X, at=0.0, count=0)))
    assert who(known.step(update("a", 0.5, tracklet(2, X, at=0.5)))) == {2: 2}


def test_a_track_never_joins_whom_it_was_seen_with_though_that_one_was_decided_later():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0, count=0), tracklet(2, X, at=0.0, count=0)))
    assert who(known.step(update("a", 0.5, tracklet(1, X, at=0.5)))) == {1: 1}
    assert who(known.step(update("a", 1.0, tracklet(2, X, at=1.0)))) == {2: 2}


def test_tracks_that_end_together_undecided_are_two_people():
    known = matcher()
    both = [tracklet(one, X, at=0.0, count=2) for one in (1, 2)]
    known.step(update("b", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("a", 0.0, *both))
    outcome = known.step(update("a", 0.0, *[tracklet(one, X, at=0.0, closed=True) for one in (1, 2)]))
    assert sorted(one.identity_id for one in of(Assignment, outcome)) == [1, 2]


def test_the_pieces_of_a_broken_track_are_one_person():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    assert who(known.step(update("a", 0.5, tracklet(2, X, at=0.5, since=0.3)))) == {2: 1}


def test_of_two_visible_tracks_with_one_identity_the_less_similar_is_decided_anew():
    known = matcher()
    known.step(update("b", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("a", 0.0, tracklet(1, unit(1, 0.2, 0), at=0.0)))
    known.step(update("a", 0.5, tracklet(2, X, at=0.5)))
    outcome = known.step(update("a", 1.0, tracklet(1, unit(1, 0.2, 0), at=1.0), tracklet(2, X, at=1.0)))
    (again,) = of(Assignment, outcome)
    assert (again.track.track_id, again.replaces, again.is_new) == (1, 1, True)
    assert who(outcome) == {1: 2, 2: 1}


def test_who_looks_like_the_less_similar_of_two_twins_is_taken_for_that_one():
    known, loser = matcher(), unit(1, 0.7, 0)
    known.step(update("b", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("a", 0.0, tracklet(1, loser, at=0.0)))
    known.step(update("a", 0.5, tracklet(2, X, at=0.5)))
    assert who(known.step(update("a", 1.0, tracklet(1, loser, at=1.0), tracklet(2, X, at=1.0)))) == {1: 2, 2: 1}
    assert who(known.step(update("c", 9.0, tracklet(1, loser, at=9.0)))) == {1: 2}


def test_the_first_piece_of_a_broken_track_may_end_after_the_second_one_was_decided():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0, count=2)))
    assert who(known.step(update("a", 0.5, tracklet(2, X, at=0.5)))) == {2: 1}
    ends = tracklet(1, X, at=0.0, count=2, closed=True)
    outcome = known.step(update("a", 1.0, ends, tracklet(2, X, at=1.0)))
    assert [(one.track.track_id, one.identity_id) for one in of(Assignment, outcome)] == [(1, 1)]


def two_who_turn_out_one(config=CONFIG, at=1.0):
    """Identity 1 is X in camera a, 2 is at first Y in camera b, then X."""
    known = matcher(config)
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("b", 0.0, tracklet(1, Y, at=0.0)))
    return known, known.step(update("b", at, tracklet(1, X, at=at, count=4)))


def test_two_identities_found_alike_merge_into_the_older_one():
    known, outcome = two_who_turn_out_one()
    (merge,) = of(Merge, outcome)
    assert (merge.identity_id, merge.replaces) == (1, 2)
    assert who(outcome) == {1: 1}
    assert known.gallery.ids == [1]
    assert known.gallery.get(1).cameras == {"a", "b"}


def test_an_identity_older_than_merge_within_s_is_not_merged():
    _, outcome = two_who_turn_out_one(at=CONFIG.merge_within_s + 1)
    assert of(Merge, outcome) == []


@pytest.mark.parametrize(("count", "merges"), [(4, True), (5, False)])
def test_an_identity_that_is_not_young_is_asked_where_its_views_have_doubled(count, merges):
    known = matcher(msgspec.structs.replace(CONFIG, merge_within_s=1000.0))
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("b", 0.0, tracklet(1, Y, at=0.0)))
    outcome = known.step(update("b", 99.0, tracklet(1, X, at=99.0, count=count)))
    assert bool(of(Merge, outcome)) is merges


def test_a_newer_identity_merges_into_an_older_one_that_turns_out_to_look_like_it():
    known = matcher()
    known.step(update("b", 0.0, tracklet(1, Y, at=0.0)))
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    outcome = known.step(update("b", 1.0, tracklet(1, X, at=1.0, count=4)))
    assert [(merge.identity_id, merge.replaces) for merge in of(Merge, outcome)] == [(1, 2)]


@pytest.mark.parametrize(("turns_into", "merges"), [(Y, False), (unit(0.85, math.sqrt(1 - 0.85**2), 0), True)])
def test_a_track_that_no_longer_looks_like_its_own_identity_merges_it_with_nobody(turns_into, merges):
    known = matcher(msgspec.structs.replace(CONFIG, merge_within_s=1000.0))
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("a", 0.1, tracklet(1, X, at=0.1, closed=True)))
    known.step(update("c", 0.2, tracklet(1, turns_into if not merges else Y, at=0.2)))
    known.step(update("b", 40.0, tracklet(1, X, at=40.0, since=40.0)))
    known.step(update("c", 40.0, tracklet(1, turns_into, at=40.0, count=5)))
    outcome = known.step(update("b", 40.5, tracklet(1, turns_into, at=40.5, since=40.0, count=4)))
    assert (len(known.gallery) == 1) is merges
    assert outcome.tracks[0].identity_id == 1


def test_a_merged_number_is_not_given_again():
    known, _ = two_who_turn_out_one()
    assert who(known.step(update("c", 1.0, tracklet(1, Z, at=1.0)))) == {1: 3}


def test_a_track_goes_on_where_one_was_lost_that_turned_out_somebody_else_since():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("a", 0.1, tracklet(1, X, at=0.1, closed=True)))
    known.step(update("b", 0.1, tracklet(1, Y, at=0.1)))
    known.step(update("c", 0.1, tracklet(1, Y, at=0.1)))
    lost = tracklet(1, Y, at=0.2, closed=True)
    known.step(update("b", 0.2, lost))
    (merge,) = of(Merge, known.step(update("c", 0.3, tracklet(1, X, at=0.3, count=4))))
    assert (merge.identity_id, merge.replaces) == (1, 2)
    hardly_alike = tracklet(2, (0.5, 0, math.sqrt(0.75)), at=0.4, since=0.4, closed=True)
    outcome = known.step(update("b", 0.4, msgspec.structs.replace(hardly_alike, box_xyxy=lost.box_xyxy)))
    assert [(one.identity_id, one.is_new) for one in of(Assignment, outcome)] == [(1, False)]


def test_who_was_seen_with_one_half_of_a_merge_never_merges_with_the_whole():
    known = matcher()
    known.step(update("b", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("a", 0.0, tracklet(1, Y, at=0.0), tracklet(2, Z, at=0.0)))
    known.step(update("a", 0.5, tracklet(1, X, at=0.5, count=4)))
    assert sorted(known.gallery.ids) == [1, 3]
    outcome = known.step(update("a", 1.0, tracklet(2, X, at=1.0, count=4)))
    assert (of(Merge, outcome), who(outcome)) == ([], {2: 3})


def test_a_track_seen_with_one_half_of_a_merge_never_joins_the_whole():
    known = matcher()
    known.step(update("b", 0.0, tracklet(1, X, at=0.0)))
    for at in (0.0, 2.0, 4.0):
        known.step(update("a", at, tracklet(1, Y, at=at), tracklet(2, X, at=at, count=0)))
    known.step(update("a", 4.1, tracklet(1, Y, at=4.0, closed=True), tracklet(2, X, at=4.1, count=0)))
    known.step(update("c", 5.0, tracklet(1, Y, at=5.0)))
    (merge,) = of(Merge, known.step(update("c", 5.1, tracklet(1, X, at=5.1, count=4))))
    assert (merge.identity_id, merge.replaces) == (1, 2)
    assert who(known.step(update("a", 9.0, tracklet(2, X, at=9.0)))) == {2: 3}


def test_a_restarted_matcher_knows_a_track_whose_identity_merged_before_it_was_seen_again():
    identities = tuple(
        (Identity(one, row[None], 0.0, 0.0, frozenset("a"), True), (None,)) for one, row in ((1, X), (2, Y))
    )
    known = matcher(state=MatcherState(identities, {TrackKey(camera, 1, 1): 2 for camera in "bc"}, next_identity_id=3))
    assert of(Merge, known.step(update("b", 1.0, tracklet(1, X, at=1.0, count=4))))
    assert who(known.step(update("c", 1.1, tracklet(1, X, at=1.1, count=0)))) == {1: 1}


@pytest.mark.parametrize(("second_camera", "at", "confirmed"), [("a", 0.9, []), ("a", 1.0, [1]), ("b", 0.1, [1])])
def test_an_identity_is_confirmed_by_time_or_by_a_second_camera(second_camera, at, confirmed):
    known = matcher()
    first = known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    outcome = known.step(update(second_camera, at, tracklet(1, X, at=at)))
    assert of(Confirmation, first) == []
    assert [one.identity_id for one in of(Confirmation, outcome)] == confirmed


def test_an_update_of_an_ended_epoch_leads_to_nothing():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0), epoch=5))
    outcome = known.step(update("a", 1.0, tracklet(2, Y, at=1.0), epoch=4))
    assert (outcome.decisions, outcome.tracks, len(known.gallery)) == ((), (), 1)


def test_a_new_epoch_closes_the_old_tracks_and_knows_the_person_again():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0), epoch=5))
    outcome = known.step(update("a", 0.0, tracklet(1, Y, at=0.0), tracklet(2, X, at=0.0), epoch=6))
    assert who(outcome) == {1: 2, 2: 1}


def test_an_update_that_comes_twice_changes_nothing():
    known = matcher()
    one = update("a", 0.0, tracklet(1, X, at=0.0), tracklet(2, Y, at=0.0))
    first, second = known.step(one), known.step(one)
    assert second.decisions == ()
    assert who(first) == who(second)


def test_a_lost_update_is_repaired_by_the_next():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0, count=1)))
    assert who(known.step(update("a", 1.0, tracklet(1, X, at=1.0, count=7)))) == {1: 1}


def test_who_was_not_seen_for_long_is_forgotten_and_the_number_with_them():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("a", 1.0, tracklet(1, X, at=0.0, closed=True)))
    assert of(Expiry, known.step(update("a", 100.0))) == []
    assert [one.identity_id for one in of(Expiry, known.step(update("a", 101.1)))] == [1]
    assert who(known.step(update("a", 102.0, tracklet(2, X, at=102.0)))) == {2: 2}


def test_who_was_seen_with_somebody_who_is_forgotten_is_parted_from_them_no_more():
    known = matcher()
    for at in (0.0, 3.0, 6.0):
        known.step(update("a", at, tracklet(1, X, at=at), tracklet(2, Y, at=at)))
    known.step(update("a", 6.1, tracklet(1, X, at=6.1), tracklet(2, Y, at=6.0, closed=True)))
    assert [one.identity_id for one in of(Expiry, known.step(update("a", 107.0, tracklet(1, X, at=107.0))))] == [2]
    assert known.step(update("a", 107.1, tracklet(1, X, at=107.1))).parted == ()


def test_who_is_in_sight_is_never_forgotten():
    known = matcher()
    for at in range(0, 300, 10):
        outcome = known.step(update("a", float(at), tracklet(1, X, at=float(at))))
        assert of(Expiry, outcome) == []


def test_beyond_max_identities_the_longest_unseen_are_forgotten():
    known = matcher(MatcherConfig(max_identities=2, min_embeddings=1))
    gone = []
    for at, embedding in enumerate([X, Y, Z]):
        now = 2.0 * at
        known.step(update("a", now, tracklet(at + 1, embedding, at=now)))
        outcome = known.step(update("a", now + 1.5, tracklet(at + 1, embedding, at=now, closed=True)))
        gone += [one.identity_id for one in of(Expiry, outcome)]
    gone += [one.identity_id for one in of(Expiry, known.step(update("a", 20.0)))]
    assert gone == [1]
    assert sorted(known.gallery.ids) == [2, 3]


def test_of_very_many_to_forget_some_wait_for_the_next_second():
    people = (Identity(who, X[None], -float(who), 0.0, frozenset(), True) for who in range(1, 301))
    known = matcher(state=MatcherState(tuple((one, (None,)) for one in people), next_identity_id=301))
    times = (50.0, 500.0, 500.5, 501.0)
    gone = [[one.identity_id for one in of(Expiry, known.step(update("a", at)))] for at in times]
    assert [len(some) for some in gone] == [0, 256, 0, 44]
    assert gone[1] + gone[3] == [*range(1, 301)]


def test_who_was_last_seen_too_long_before_a_run_began_is_nobody_in_it():
    people = [Identity(who, np.eye(3, dtype=np.float32)[[who % 3]], 0.0, 0.0, frozenset(), True) for who in range(400)]
    recent = Identity(400, Z[None], 0.0, 110.0, frozenset(), True)
    earlier = {TrackKey("b", 1, who): who for who in (1, 2)}  # in view when it ended
    known = matcher(state=MatcherState(tuple((one, (None,)) for one in [*people, recent]), earlier, 401))
    newcomers = (tracklet(1, X, at=200.0), tracklet(2, Y, at=200.0), tracklet(3, Z, at=200.0))
    outcome = known.step(update("a", 200.0, *newcomers, epoch=2))
    assert {one.identity_id for one in of(Expiry, outcome)} == {*range(400)}
    assert who(outcome) == {1: 401, 2: 402, 3: 400}


def test_a_restarted_matcher_goes_on_with_the_same_identities():
    before = matcher()
    before.step(update("a", 0.0, tracklet(1, X, at=0.0), tracklet(2, Y, at=0.0)))
    gallery = before.gallery
    identities = tuple((gallery.get(one), gallery.keys(one)) for one in gallery.ids)
    tracks = {TrackKey("a", 1, 1): 1, TrackKey("a", 1, 2): 2, TrackKey("a", 1, 9): 7}
    after = matcher(state=MatcherState(identities, tracks, next_identity_id=9))
    outcome = after.step(update("a", 1.0, tracklet(1, X, at=1.0, count=4), tracklet(2, Y, at=1.0)))
    assert (of(Assignment, outcome), who(outcome)) == ([], {1: 1, 2: 2})
    assert who(after.step(update("b", 1.0, tracklet(1, X, at=1.0), tracklet(2, Z, at=1.0)))) == {1: 1, 2: 9}


def tilted(people, camera):
    """(N, D) unit descriptors as a camera shows them that adds the same to everybody."""
    rows = people + 0.9 * np.eye(people.shape[1])[camera]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def seen_one_by_one(known, camera, rows, start):
    """The identities of people whom a camera sees one after the other."""
    names = []
    for number, row in enumerate(rows):
        at = start + 10.0 * number
        outcome = known.step(update(camera, at, tracklet(number + 1, row, at=at)))
        names += [*who(outcome).values()]
        known.step(update(camera, at + 5, tracklet(number + 1, row, at=at, closed=True)))
    return names


@pytest.mark.parametrize("remove_camera_bias", [True, False])
def test_strangers_of_a_camera_that_makes_all_look_alike_are_told_apart(remove_camera_bias):
    people = np.random.default_rng(0).standard_normal((120, 256)) / 16
    config = MatcherConfig(remove_camera_bias=remove_camera_bias, forget_after_s=1e6)
    known = Matcher(config, 256)
    names = seen_one_by_one(known, "a", tilted(people, 0), start=0.0)
    newest = names[80:]  # the camera has learnt by then
    assert (len(set(newest)) == len(newest)) is remove_camera_bias


def test_what_cameras_add_outlives_a_restart():
    people = np.random.default_rng(0).standard_normal((120, 256)) / 16
    config = MatcherConfig(forget_after_s=1e6, merge_within_s=1.0, crowd_penalty=0.0)
    known, learnt = Matcher(config, 256), {}
    for number, row in enumerate(tilted(people, 0)):
        outcome = known.step(update("a", float(number), tracklet(number + 1, row, at=float(number), closed=True)))
        learnt |= {one.camera_id: one for one in outcome.learnt.means}
    assert [*learnt] == ["a"]
    gallery = known.gallery
    identities = tuple((gallery.get(one), gallery.keys(one)) for one in gallery.ids.tolist())
    state = MatcherState(identities, next_identity_id=max(gallery.ids) + 1, learnt=Knowledge((*learnt.values(),)))
    again = tilted(people[100:101], 0)
    for after in (known, Matcher(config, 256, state)):
        (joined,) = of(Assignment, after.step(update("a", 500.0, tracklet(500, again[0], at=500.0))))
        assert joined.similarity == pytest.approx(1.0, abs=0.02)


LOUD = 16  # axes along which everybody changes from view to view


def varied_views(people, seed):
    """(N, 4, D) unit views of people (N, D) who all change along the first axes."""
    rng = np.random.default_rng(seed)
    views = np.repeat(people[:, None], 4, axis=1)
    views[:, :, :LOUD] += 0.3 * rng.standard_normal((len(people), 4, LOUD))
    return (views / np.linalg.norm(views, axis=2, keepdims=True)).astype(np.float32)


def viewed(number, views, at, closed=False):
    """A track of these views (K, D)."""
    quality = np.ones(len(views), np.float32)
    return msgspec.structs.replace(
        tracklet(number, views[0], at=at, closed=closed), seq=len(views), embeddings=views, quality=quality
    )


def seen_and_gone(known, camera, people, start, seed):
    """Outcomes of tracks, one after the other, each of one moment and of four views."""
    for number, views in enumerate(varied_views(people, seed)):
        at = start + 10.0 * number
        yield known.step(update(camera, at, viewed(number + 1, views, at, closed=True)))


def found_again(known, start, seed=3):
    """Similarities by which another camera's strangers join whom a first one saw just before them."""
    strangers = np.random.default_rng(9).standard_normal((40, 256)) / 16
    [*seen_and_gone(known, "b", strangers, start, seed)]
    outcomes = seen_and_gone(known, "c", strangers, start + 1000.0, seed + 1)
    return [joined.similarity for outcome in outcomes for joined in of(Assignment, outcome) if not joined.is_new]


@pytest.mark.parametrize("weigh_variation", [True, False])
def test_what_varies_within_tracks_counts_less(weigh_variation):
    config = MatcherConfig(weigh_variation=weigh_variation, remove_camera_bias=False, forget_after_s=1e6)
    known = Matcher(config, 256)
    people = np.random.default_rng(0).standard_normal((800, 256)) / 16
    varied = [outcome.learnt.variation for outcome in seen_and_gone(known, "a", people, 0.0, 1)]
    assert any(one is not None for one in varied) is weigh_variation
    plain = found_again(Matcher(MatcherConfig(remove_camera_bias=False, forget_after_s=1e6), 256), 1e5)
    later = found_again(known, 1e5)
    assert bool(np.mean(later) > np.mean(plain) + 0.03) is weigh_variation


@pytest.fixture(scope="module")
def varied_site():
    """A matcher that has seen 300 people pass, each once, their views, and the state that it leaves."""
    people = np.random.default_rng(0).standard_normal((300, 256)) / 16
    config = MatcherConfig(weigh_variation=True, remove_camera_bias=False, forget_after_s=1e6)
    known = Matcher(config, 256)
    [*seen_and_gone(known, "a", people, 0.0, 1)]
    ids = known.gallery.ids.tolist()
    identities = tuple((known.identity(one), known.gallery.keys(one)) for one in ids)
    state = MatcherState(identities, next_identity_id=max(ids) + 1, learnt=known.finish())
    return known, varied_views(people, 1), state


def test_what_is_kept_of_people_is_as_if_nothing_had_been_weighed(varied_site):
    known, views, state = varied_site
    assert len(state.identities) == 300
    for (identity, _), of_one in zip(state.identities, views, strict=True):
        plain = mean_embedding(of_one, np.ones(4, np.float32))
        np.testing.assert_allclose(identity.prototypes, plain[None], atol=1e-5)
    weighed = known.gallery.get(1).prototypes
    assert np.abs(weighed - state.identities[0][0].prototypes).max() > 0.01


def restarted(state, **changes):
    config = MatcherConfig(remove_camera_bias=False, forget_after_s=1e6, **changes)
    return Matcher(config, 256, state)


def test_who_was_weighed_is_weighed_after_a_restart(varied_site):
    known, views, state = varied_site
    before, after = known, restarted(state, weigh_variation=True)
    before._weigh_anew()
    rows = views[:20, 0]
    np.testing.assert_allclose(
        after.gallery.similarity(after._looks.of("nowhere", rows)),
        before.gallery.similarity(before._looks.of("nowhere", rows)),
        atol=0.03,  # the one before has renewed its weights at fewer changes
    )
    np.testing.assert_allclose(after.identity(7).prototypes, state.identities[6][0].prototypes, atol=1e-5)


def test_without_weighing_what_was_learnt_before_changes_nothing(varied_site):
    *_, state = varied_site
    plain = restarted(state, weigh_variation=False)
    np.testing.assert_array_equal(plain.gallery.get(7).prototypes, state.identities[6][0].prototypes)
    [*seen_and_gone(plain, "a", np.random.default_rng(1).standard_normal((3, 256)) / 16, 1e5, 2)]
    assert plain.finish().variation is None


def test_tracks_that_are_still_open_are_learnt_from():
    people = np.random.default_rng(0).standard_normal((60, 256)) / 16
    known = Matcher(MatcherConfig(weigh_variation=True, remove_camera_bias=False), 256)
    views = varied_views(people, 1)
    known.step(update("a", 10.0, *[viewed(number, one, 10.0) for number, one in enumerate(views, 1)]))
    known.step(update("a", 12.0, *[viewed(number, one, 12.0) for number, one in enumerate(views, 1)]))
    assert np.abs(known._looks.of("a", views[0]) - views[0]).max() > 0.01
    assert known.finish().variation is None


@pytest.mark.parametrize("end", ["a new epoch", "silence"])
def test_tracks_whose_end_nobody_told_are_learnt_from(end):
    known = Matcher(MatcherConfig(weigh_variation=True, remove_camera_bias=False), 256)
    views = varied_views(np.random.default_rng(0).standard_normal((5, 256)) / 16, 1)
    known.step(update("a", 10.0, *[viewed(number, one, 10.0) for number, one in enumerate(views, 1)]))
    known.step(update("a", 11.0, epoch=2) if end == "a new epoch" else update("b", 100.0))
    assert known.finish().variation.changes == 15


def people_learnt(known, *updates):
    """How many people each camera counts after these."""
    learnt = {}
    for one in updates:
        learnt |= {mean.camera_id: mean.people for mean in known.step(one).learnt.means}
    return learnt


def test_a_camera_learns_from_each_identity_once():
    seen = [update("a", at, tracklet(number, X, at=at, closed=True)) for number, at in enumerate([0.0, 5.0, 9.0], 1)]
    assert people_learnt(matcher(), *seen) == {"a": 1}


def test_a_camera_learns_from_those_whom_another_knew_before():
    both = [update(camera, at, tracklet(1, X, at=at)) for camera, at in (("a", 0.0), ("b", 5.0))]
    assert people_learnt(matcher(), *both) == {"a": 1, "b": 1}


@pytest.mark.parametrize("remove_camera_bias", [True, False])
def test_strangers_alike_only_by_their_camera_do_not_merge(remove_camera_bias):
    config = MatcherConfig(
        min_similarity=0.9,
        merge_similarity=0.5,
        merge_within_s=1e6,
        remove_camera_bias=remove_camera_bias,
        crowd_penalty=0.0,
        forget_after_s=1e6,
    )
    people = np.random.default_rng(0).standard_normal((60, 256)) / 16
    known, merges = Matcher(config, 256), []
    for number, row in enumerate(tilted(people, 0)):
        at = 10.0 * number
        outcome = known.step(update("a", at, tracklet(number + 1, row, at=at, since=at, closed=True)))
        merges += [number for _ in of(Merge, outcome)]
    assert any(number > 40 for number in merges) is not remove_camera_bias


def two_seen_together():
    """A matcher that knows two unlike people whom one camera saw together for long, and what it told."""
    known, parted = matcher(), []
    for at in (0.0, 3.0, 6.0):
        outcome = known.step(update("a", at, tracklet(1, X, at=at), tracklet(2, Y, at=at)))
        parted += outcome.parted
    known.step(update("a", 6.1, tracklet(1, X, at=6.0, closed=True), tracklet(2, Y, at=6.0, closed=True)))
    return known, parted


@pytest.mark.parametrize("told", [True, False])
def test_a_restarted_matcher_never_merges_who_was_seen_together_before(told):
    before, parted = two_seen_together()
    assert [sorted(pair) for pair in parted] == [[1, 2]]
    identities = tuple((before.gallery.get(one), before.gallery.keys(one)) for one in (1, 2))
    state = MatcherState(identities, next_identity_id=3, parted=tuple(parted) if told else ())
    after = matcher(state=state)
    outcomes = [  # the second one's looks turn into the first one's
        after.step(update("b", 7.0 + at, tracklet(5, embedding, at=7.0 + at, count=3 + at)))
        for at, embedding in enumerate([Y, Y, X])
    ]
    assert bool(of(Merge, outcomes[-1])) is not told


def test_a_restarted_matcher_remembers_earlier_tracks_until_their_camera_has_told_which_are_open():
    before, _ = two_seen_together()
    identities = tuple((before.gallery.get(one), before.gallery.keys(one)) for one in (1, 2))
    tracks = {TrackKey(camera, 1, one): 1 for camera in "ab" for one in (1, 2, 3)}
    after = matcher(state=MatcherState(identities, tracks, next_identity_id=3))
    for at in (10.0, 30.0, 80.0):
        after.step(update("a", at, tracklet(1, X, at=at)))
    assert who(after.step(update("a", 81.0, tracklet(2, Y, at=81.0)))) == {2: 2}, "decided by looks alone"
    assert who(after.step(update("b", 81.0, tracklet(3, Z, at=81.0)))) == {3: 1}, "known by its track"


@pytest.mark.parametrize(("place", "joins"), [(1, True), (50, False)])
def test_a_track_goes_on_where_one_was_lost_also_in_a_crowd(place, joins):
    rows = np.eye(200, dtype=np.float32)
    identities = [Identity(one, row[None], 0.0, 0.0, frozenset("b"), True) for one, row in enumerate(rows, 1)]
    config = msgspec.structs.replace(CONFIG, crowd_penalty=0.2, remove_camera_bias=False)
    known = Matcher(config, 200, MatcherState(tuple((one, (None,)) for one in identities), next_identity_id=201))
    hardly_alike = np.full(200, math.sqrt((1 - 0.55**2) / 199))
    hardly_alike[0] = 0.55
    lost = tracklet(1, rows[0], at=1.0)
    assert who(known.step(update("a", 1.0, lost))) == {1: 1}
    later = tracklet(place, hardly_alike, at=1.2, since=1.2, closed=True)
    outcome = known.step(update("a", 1.2, msgspec.structs.replace(later, track_id=2)))
    assert ([one.identity_id for one in of(Assignment, outcome)] == [1]) is joins


def test_a_track_that_ended_soon_after_it_met_another_may_have_followed_the_other_one():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    known.step(update("a", 0.2, tracklet(1, X, at=0.2), tracklet(2, X, at=0.2, count=0)))
    known.step(update("a", 0.4, tracklet(1, X, at=0.3, closed=True), tracklet(2, X, at=0.4, count=0)))
    assert who(known.step(update("a", 0.6, tracklet(2, X, at=0.6)))) == {2: 1}


def test_who_is_still_in_view_is_not_forgotten_by_a_restart():
    config = msgspec.structs.replace(CONFIG, forget_after_s=10.0)
    known = Identity(1, np.stack([X]), 0.0, 50.0, frozenset({"a"}), True, "a")
    key = TrackKey("a", 1, 1)
    after = matcher(config, MatcherState(((known, (key,)),), {key: 1}, 2))
    assert not of(Expiry, after.step(update("b", 70.0, tracklet(1, Y, at=70.0)))), "a has not been heard of yet"
    assert who(after.step(update("a", 71.0, tracklet(1, X, at=71.0)))) == {1: 1}
    later = matcher(config, MatcherState(((known, (key,)),), {key: 1}, 2))
    later.step(update("b", 70.0))
    assert of(Expiry, later.step(update("b", 140.0))), "a is not heard of any more"


def test_a_long_stay_without_a_new_view_is_kept_once_a_minute_and_at_its_end():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    kept = [at for at in range(1, 150) if known.step(update("a", at, tracklet(1, X, at=at))).changed]
    assert kept == [1, 60, 120]  # confirmed, and twice since it came
    assert known.step(update("a", 150.0, tracklet(1, X, at=149.0, closed=True))).changed == (1,)


def test_two_who_were_seen_at_one_moment_only_are_not_parted_while_one_of_them_is_out_of_sight():
    known = matcher()
    known.step(update("a", 0.0, tracklet(1, X, at=0.0), tracklet(2, Y, at=0.0)))
    parted = [known.step(update("a", at, tracklet(1, X, at=0.0), tracklet(2, Y, at=at))).parted for at in range(1, 9)]
    assert not any(parted)
    both = [known.step(update("a", at, tracklet(1, X, at=at), tracklet(2, Y, at=at))).parted for at in range(9, 14)]
    assert ((1, 2) in sum(both, ())) or ((2, 1) in sum(both, ()))


def test_a_clock_that_is_set_back_does_not_stop_forgetting():
    config = msgspec.structs.replace(CONFIG, max_identities=1)
    known = matcher(config)
    known.step(update("a", 1e6, tracklet(1, X, at=1e6, closed=True)))
    assert of(Expiry, known.step(update("b", 5.0, tracklet(1, Y, at=5.0)))), "one too many"


def test_a_track_goes_on_where_a_worker_that_began_anew_lost_it():
    known = matcher(msgspec.structs.replace(CONFIG, continuity_bonus=0.15, transition_weight=0.0))
    known.step(update("a", 0.0, tracklet(1, X, at=0.0)))
    for at in (0.3, 1.9):
        outcome = known.step(update("a", at, tracklet(1, DOUBTFUL, at=at, since=0.3), epoch=2))
    assert who(outcome) == {1: 1}
