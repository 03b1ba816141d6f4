"""Whom cameras follow: what begins, what goes on after a restart, what ends, and what follows a merge."""

import pytest

from pipeline.datatypes import EndedTrack, TrackKey
from pipeline.open_tracks import OpenTracks
from tests.fakes import tracklet, update

X = (1, 0, 0)


def following(*updates, decided=None, known=()):
    tracks = OpenTracks(decided or {})
    for one in updates:
        tracks.begin(one)
        tracks.take_in(one, known)
    return tracks


def test_a_track_of_before_a_restart_is_who_it_was_unless_they_were_forgotten():
    decided = {TrackKey("a", 1, 1): 7, TrackKey("a", 1, 2): 8}
    tracks = following(update("a", 1.0, *(tracklet(n, X, at=1.0) for n in (1, 2, 3))), decided=decided, known=(7,))
    assert [track.identity_id for track in tracks] == [7, None, None]


def test_a_later_epoch_ends_the_tracks_of_the_one_before_and_a_former_one_is_late():
    tracks = following(update("a", 1.0, tracklet(1, X, at=1.0), epoch=1))
    (ended,) = tracks.begin(update("a", 2.0, epoch=2))
    assert ended.tracklet.track_id == 1
    assert [*tracks] == []
    assert tracks.is_late(update("a", 3.0, epoch=1))
    assert not tracks.is_late(update("b", 3.0, epoch=1))


def test_a_closed_track_is_remembered_for_a_moment_where_it_was_lost():
    tracks = following(
        update("a", 1.0, tracklet(1, X, at=1.0, closed=True)), decided={TrackKey("a", 1, 1): 7}, known=(7,)
    )
    tracks.close("a", 1.0)
    assert [one.identity_id for one in tracks.lost("a")] == [7]
    tracks.close("a", 3.9)
    assert [one.identity_id for one in tracks.lost("a")] == [7]
    tracks.close("a", 4.1)
    assert tracks.lost("a") == []


@pytest.mark.parametrize(("now", "seen"), [(1.9, {7}), (2.1, set())])
def test_elsewhere_is_whom_other_cameras_saw_just_now(now, seen):
    tracks = following(
        update("a", 1.0, tracklet(1, X, at=1.0)), update("b", 1.0), decided={TrackKey("a", 1, 1): 7}, known=(7,)
    )
    assert tracks.elsewhere("b", now) == {"a": seen}
    assert tracks.elsewhere("a", now) == {"b": set()}


def test_a_track_whose_end_was_never_told_is_abandoned_after_a_minute():
    tracks = following(update("a", 0.0, tracklet(1, X, at=0.0)), update("b", 0.0, tracklet(1, X, at=30.0)))
    assert tracks.abandon(59.0) == []
    (gone,) = tracks.abandon(61.0)
    assert gone.tracklet.last_seen == 0.0
    assert len([*tracks]) == 1


def test_a_merge_is_carried_out_in_all_that_is_remembered():
    decided = {TrackKey("a", 1, 1): 2, TrackKey("a", 1, 2): 2, TrackKey("b", 1, 1): 2}
    tracks = following(
        update("a", 0.0, tracklet(1, X, at=0.0), tracklet(2, X, at=0.0, closed=True)), decided=decided, known=(1, 2)
    )
    tracks.close("a", 0.0)
    (track,) = tracks
    track.former_id, track.strangers = 2, {2, 5}
    tracks.rename(2, 1)
    assert (track.identity_id, track.former_id, track.strangers) == (1, 1, {1, 5})
    assert {one.identity_id for one in tracks.lost("a")} == {1}
    later = update("b", 1.0, tracklet(1, X, at=1.0))
    tracks.begin(later)
    assert [one.identity_id for one in tracks.take_in(later, (1,)).values()] == [1]


def test_tracks_with_an_identity_that_ended_are_told_once_however_they_ended():
    decided = {TrackKey("a", 1, 1): 7, TrackKey("a", 1, 2): 8, TrackKey("b", 1, 1): 7, TrackKey("c", 1, 1): 9}
    tracks = following(
        update("a", 1.0, *(tracklet(n, X, at=1.0, since=0.5, closed=n != 2) for n in (1, 2, 3))),  # 3 is nobody yet
        update("b", 1.0, tracklet(1, X, at=0.9)),
        update("c", 1.0, tracklet(1, X, at=0.8)),
        decided=decided,
        known=(7, 8, 9),
    )
    tracks.close("a", 1.0)
    assert tracks.take_ended() == (EndedTrack(TrackKey("a", 1, 1), 7, 0.5, 1.0),)
    tracks.rename(8, 4)
    tracks.begin(update("a", 2.0, epoch=2))
    assert tracks.take_ended() == (EndedTrack(TrackKey("a", 1, 2), 4, 0.5, 1.0),)
    (undecided,) = (track for track in tracks if track.identity_id == 9)
    undecided.identity_id, undecided.former_id = None, 9
    tracks.abandon(60.85)
    assert tracks.take_ended() == (EndedTrack(TrackKey("c", 1, 1), 9, 0.0, 0.8),)
    assert tracks.take_ended() == ()
