"""Visits, worked out by hand from events."""

import json

import pytest

from pipeline.errors import ConfigError, StoreError
from pipeline.visits import Visit, Way, joined, read_visits, ways, write_visits
from tests.pipeline.disk import full_disk


def assigned(at, track, identity, camera="a", epoch=1, new=True):
    names = {"camera": camera, "epoch": epoch, "track": track, "identity": identity}
    return {"at": at, "event": "assignment", **names, "similarity": None, "new": new, "replaces": None}


def ended(track, identity, since, until, camera="a", epoch=1):
    names = {"camera": camera, "epoch": epoch, "track": track, "identity": identity}
    return {"at": until + 1, "event": "track_ended", **names, "since": since, "until": until}


def camera(event, at, name="a"):
    return {"at": at, "event": f"camera_{event}", "camera": name, "reason": ""}


def confirmed(*identities):
    return [{"at": 1.0, "event": "confirmed", "identity": one} for one in identities]


def merge(identity, replaces):
    return {"at": 1.0, "event": "merge", "identity": identity, "replaces": replaces, "similarity": 0.9}


def visits(folder, *events, away=0.0):
    """(identity, camera, since, until) of each."""
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return [(one.identity_id, one.camera_id, one.since, one.until) for one in read_visits(folder, away)]


def test_a_visit_lasts_as_long_as_the_track(tmp_path):
    assert visits(tmp_path, assigned(1.5, 1, 7), *confirmed(7), ended(1, 7, 1.0, 4.0)) == [(7, "a", 1.0, 4.0)]


def test_who_was_never_confirmed_did_not_come(tmp_path):
    both = [assigned(1.5, 1, 7), assigned(1.5, 2, 8), ended(1, 7, 1.0, 4.0), ended(2, 8, 1.0, 1.2)]
    assert visits(tmp_path, *both, *confirmed(7)) == [(7, "a", 1.0, 4.0)]


def test_merges_are_carried_out_whenever_they_came(tmp_path):
    first, second = (assigned(1.5, 1, 7), ended(1, 7, 1.0, 4.0)), (assigned(9.5, 2, 8), ended(2, 8, 9.0, 12.0))
    told = [*first, *second, *confirmed(8), merge(7, 8), merge(3, 7)]
    assert visits(tmp_path, *told) == [(3, "a", 1.0, 4.0), (3, "a", 9.0, 12.0)]
    assert visits(tmp_path, *told, away=5.0) == [(3, "a", 1.0, 12.0)]


def test_a_track_that_turns_out_to_be_somebody_else_is_a_visit_of_each(tmp_path):
    told = [assigned(1.5, 1, 7), assigned(3.0, 1, 8), *confirmed(7, 8), ended(1, 8, 1.0, 4.0)]
    assert visits(tmp_path, *told) == [(7, "a", 1.0, 3.0), (8, "a", 3.0, 4.0)]


def test_who_is_decided_after_the_track_s_last_view_was_there_all_the_same(tmp_path):
    assert visits(tmp_path, assigned(5.0, 1, 7), *confirmed(7), ended(1, 7, 1.0, 4.0)) == [(7, "a", 1.0, 4.0)]


def test_tracks_of_the_same_number_in_other_cameras_and_epochs_are_others(tmp_path):
    told = [assigned(1.0, 1, 7), assigned(2.0, 1, 8, "b"), assigned(3.0, 1, 9, epoch=2), *confirmed(7, 8, 9)]
    told += [ended(1, 7, 1.0, 1.5), ended(1, 8, 2.0, 2.5, "b"), ended(1, 9, 3.0, 3.5, epoch=2)]
    assert visits(tmp_path, *told) == [(7, "a", 1.0, 1.5), (8, "b", 2.0, 2.5), (9, "a", 3.0, 3.5)]


def test_who_is_decided_anew_after_the_last_view_stretches_no_visit(tmp_path):
    told = [assigned(1.5, 1, 7), assigned(6.0, 1, 8), *confirmed(7, 8), ended(1, 8, 1.0, 5.0)]
    assert visits(tmp_path, *told) == [(7, "a", 1.0, 5.0), (8, "a", 5.0, 5.0)]


def test_a_track_whose_end_was_not_told_lasts_as_long_as_the_events(tmp_path):
    told = [assigned(1.0, 1, 7), assigned(2.0, 1, 8), *confirmed(7, 8), camera("up", 9.0, "b")]
    assert visits(tmp_path, *told) == [(7, "a", 1.0, 2.0), (8, "a", 2.0, 9.0)]


@pytest.mark.parametrize("after", [camera("down", 60.0), camera("up", 60.0), assigned(60.0, 1, 8, epoch=2)])
def test_a_track_whose_end_was_not_told_lasts_no_longer_than_its_camera(tmp_path, after):
    told = [assigned(1.0, 1, 7), *confirmed(7), camera("up", 5.0, "b"), after, camera("down", 70.0), camera("up", 80.0)]
    assert visits(tmp_path, *told) == [(7, "a", 1.0, 5.0)]


def test_a_camera_that_went_does_not_end_a_track_whose_end_is_told(tmp_path):
    told = [assigned(1.0, 1, 7), *confirmed(7), camera("down", 2.0), camera("up", 2.5), ended(1, 7, 0.5, 9.0)]
    assert visits(tmp_path, *told) == [(7, "a", 0.5, 9.0)]


def test_who_was_known_before_the_first_event_was_confirmed_then(tmp_path):
    told = [assigned(1.0, 1, 7, new=False), ended(1, 7, 1.0, 4.0), assigned(6.0, 2, 9), ended(2, 9, 6.0, 8.0)]
    assert visits(tmp_path, *told) == [(7, "a", 1.0, 4.0)]
    assert visits(tmp_path, *told, merge(7, 9)) == [(7, "a", 1.0, 4.0), (7, "a", 6.0, 8.0)]


def test_a_track_whose_assignment_is_in_no_file_any_more_has_the_identity_it_ended_with(tmp_path):
    assert visits(tmp_path, *confirmed(7), ended(1, 7, 1.0, 4.0)) == [(7, "a", 1.0, 4.0)]


def test_a_run_without_people_has_no_visits(tmp_path):
    assert visits(tmp_path, {"at": 0.0, "event": "camera_up", "camera": "a"}) == []


def test_what_is_no_run_directory_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"events\.jsonl: no such file; give a run directory"):
        read_visits(tmp_path, 10.0)


def test_merges_in_a_circle_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="identity 1 became itself"):
        visits(tmp_path, merge(2, 1), merge(1, 2))


@pytest.mark.parametrize(
    ("away", "whole"),
    [
        (0.9, [(0, 2), (3, 9), (4, 5)]),
        (1.0, [(0, 9)]),
    ],
)
def test_visits_with_little_between_them_are_one(away, whole):
    parts = [Visit(1, "a", 4, 5), Visit(1, "a", 0, 2), Visit(1, "a", 3, 9)]
    apart = [Visit(1, "b", 9, 10), Visit(2, "a", 9, 10)]
    expected = [Visit(1, "a", *span) for span in whole if span != (4, 5)]
    assert joined([*apart, *parts], away) == [*expected, *apart]


def test_ways_lead_from_camera_to_camera_the_most_used_first():
    found = [
        Visit(1, "a", 0, 5), Visit(2, "b", 1, 6), Visit(1, "b", 7, 9), Visit(2, "a", 8, 9), Visit(3, "a", 10, 12),
        Visit(1, "b", 30, 31), Visit(3, "b", 11, 20), Visit(1, "c", 33, 34),
    ]  # fmt: skip
    assert ways(found) == [Way("a", "b", (2, -1)), Way("b", "a", (2,)), Way("b", "c", (2,))]
    assert ways([]) == []


def test_people_come_from_where_they_were_seen_last(tmp_path):
    found = [Visit(1, "a", 0, 100), Visit(1, "b", 10, 20), Visit(1, "a", 105, 106), Visit(1, "c", 110, 120)]
    assert ways(found) == [Way("a", "b", (-90,)), Way("a", "c", (4,))]


def test_no_other_file_is_replaced_by_visits(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event":"camera_up"}\n')
    with pytest.raises(
        ConfigError, match=r"events\.jsonl: is no list of visits, and would be replaced by one; give an"
    ):
        write_visits([], path)
    assert path.read_text() == '{"event":"camera_up"}\n'
    (tmp_path / "empty.csv").touch()
    for _ in range(2):
        write_visits([], tmp_path / "empty.csv")


def test_visits_are_written_as_csv_all_or_nothing(tmp_path):
    path = tmp_path / "visits.csv"
    write_visits([Visit(3, "door", 1.25, 4.0), Visit(12, "hall", 1764500000.1, 1764500060.3)], path)
    dated = "12,hall,1764500000.100,1764500060.300,60.200,2025-11-30T10:53:20.100Z,2025-11-30T10:54:20.300Z"
    rows = f"3,door,1.250,4.000,2.750,,\n{dated}\n"
    assert path.read_text() == "identity,camera,since,until,seconds,since_utc,until_utc\n" + rows
    with full_disk(64), pytest.raises(StoreError, match=r"visits\.csv: cannot write: "):
        write_visits([Visit(1, "door", 0, 1)] * 100, path)
    assert path.read_text().endswith(rows)
