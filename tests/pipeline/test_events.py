"""What a run decided, read again; what is no event is one clear error."""

import pytest

from pipeline.datatypes import Assignment, CameraState, Confirmation, EndedTrack, Expiry, Merge, TrackKey
from pipeline.errors import ConfigError
from pipeline.events import (
    Assigned,
    CameraDown,
    CameraUp,
    Confirmed,
    Merged,
    Other,
    TrackEnded,
    read_events,
    read_merges,
)
from pipeline.sinks import RunWriter


def test_events_that_only_later_versions_know_are_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event":"left","identity":"x"}\n{"event":"confirmed","identity":2}\n')
    assert [*read_events(path)] == [Other(), Confirmed(identity=2)]


def test_all_that_a_run_writes_can_be_read_again(tmp_path):
    track = TrackKey("a", 3, 5)
    with RunWriter(tmp_path, ["a"], fresh=True) as writer:
        writer.camera(CameraState("a", 0.0, up=True))
        writer.decide([Assignment(track, 7, float("nan"), True, None, 0.4), Confirmation(7, 0.4)])
        writer.decide([Merge(2, 7, 0.91, 2.5), Expiry(2, 3.0)])
        writer.end([EndedTrack(track, 2, 0.1, 2.9)], 4.0)
        writer.camera(CameraState("a", 4.5, up=False, reason="end of file"))
    names = {"camera": "a", "epoch": 3, "track": 5}
    assigned = Assigned(at=0.4, **names, identity=7, new=True)
    ended = TrackEnded(at=4.0, **names, identity=2, since=0.1, until=2.9)
    assert [*read_events(tmp_path / "events.jsonl")] == [
        CameraUp(camera="a"),
        assigned,
        Confirmed(at=0.4, identity=7),
        Merged(at=2.5, identity=2, replaces=7),
        Other(at=3.0),
        ended,
        CameraDown(at=4.5, camera="a"),
    ]
    assert assigned.key == ended.key == track


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        ('{"at":1.0}', "missing required field `event`"),
        ('{"event":5}', "got `int`"),
        ('{"event":"confirmed","identity":0}', "`int` >= 1 - at `\\$.identity`"),
        ('{"event":"track_ended","camera":"a","epoch":0,"track":1,"identity":1,"since":1}', "field `until`"),
    ],
)
def test_a_line_that_is_no_event_is_named(tmp_path, line, says):
    path = tmp_path / "events.jsonl"
    path.write_text('{"at":0.5,"event":"camera_up","camera":"a"}\n' + line + "\n")
    with pytest.raises(ConfigError, match=rf"events\.jsonl: line 2 is no event: .*{says}.*; delete the line"):
        [*read_events(path)]


@pytest.mark.parametrize("identity", ['"x"', "1.5", str(2**70), "null"])
def test_a_merge_into_what_is_no_identity_is_one_clear_error(tmp_path, identity):
    line = f'{{"at":1.0,"event":"merge","identity":{identity},"replaces":2,"similarity":0.9}}\n'
    (tmp_path / "events.jsonl").write_text(line)
    with pytest.raises(ConfigError, match=r"events\.jsonl: line 1 is no event: .*identity`; delete the line"):
        read_merges(tmp_path / "events.jsonl")


def test_merges_come_from_the_events_and_a_broken_line_is_one_clear_error(tmp_path):
    path = tmp_path / "events.jsonl"
    assert read_merges(path) == {}
    merge = '{"at":1.0,"event":"merge","identity":1,"replaces":2,"similarity":0.9}\n'
    path.write_text('{"at":0.5,"event":"camera_up","camera":"a"}\n' + merge)
    assert read_merges(path) == {2: 1}
    path.write_text(merge + '{"at":\n')
    with pytest.raises(ConfigError, match=r"events\.jsonl: line 2 is no event"):
        read_merges(path)


def test_half_a_letter_at_the_end_of_the_events_is_left_out(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes('{"event":"merge","replaces":2,"identity":1}\n{"reason":"Bü'.encode()[:-1])
    assert read_merges(path) == {2: 1}


def test_merges_that_lead_in_a_circle_are_one_clear_error(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f'{{"event":"merge","replaces":{a},"identity":{b}}}\n' for a, b in ((1, 2), (2, 1))))
    with pytest.raises(ConfigError, match=r"events\.jsonl: identity 1 became itself"):
        read_merges(path)
