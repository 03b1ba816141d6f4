"""The run directory: complete and in order, through full disks and restarts."""

import json

import msgspec
import numpy as np
import pytest

from pipeline.datatypes import (
    Assignment,
    CameraIdentities,
    CameraState,
    Confirmation,
    EndedTrack,
    Expiry,
    Merge,
    TrackIdentity,
    TrackKey,
)
from pipeline.errors import StoreError
from pipeline.kept_tracks import read_kept_boxes
from pipeline.sinks import RunWriter, frames_written, locked, write_json
from tests.pipeline.disk import full_disk


def key(track_id, epoch=1):
    return TrackKey("a", epoch, track_id)


def assigned(track_id, identity_id, replaces=None, at=0.0):
    return Assignment(key(track_id), identity_id, 0.75, False, replaces, at)


def seen(index, epoch=1, **identities):
    box = np.array([1, 2, 4, 8], np.float32)
    tracks = tuple(TrackIdentity(int(name[1:]), who, box, 0.5) for name, who in identities.items())
    return CameraIdentities("a", epoch, index, index / 10, 0.0, 0.0, tracks)


def written(folder):
    """(frame, identity) of each line of camera a."""
    lines = (folder / "tracks" / "a.txt").read_text().splitlines()
    return [tuple(int(value) for value in line.split(",")[:2]) for line in lines]


def test_a_box_is_a_mot_line_counted_from_frame_one(tmp_path):
    with RunWriter(tmp_path, ["a"], fresh=True) as writer:
        writer.decide([assigned(1, 7)])
        writer.see(seen(0, t1=7))
    assert (tmp_path / "tracks" / "a.txt").read_text() == "1,7,1.0,2.0,3.0,6.0,0.500,-1,-1,-1\n"


def test_frame_numbers_go_on_where_a_worker_that_began_anew_counts_from_less(tmp_path):
    with RunWriter(tmp_path, ["a"], fresh=True) as writer:
        for index, epoch in ((0, 1), (1, 1), (1, 2), (2, 2), (2, 1), (3, 2), (50, 3)):
            writer.see(seen(index, epoch, t1=7))
    assert written(tmp_path) == [(1, 7), (2, 7), (3, 7), (4, 7), (5, 7), (51, 7)]


def test_frame_numbers_go_on_after_what_a_matcher_that_is_gone_wrote(tmp_path):
    for index, epoch in ((7, 1), (3, 2), (4, 2), (20, 2)):
        with RunWriter(tmp_path, ["a"], fresh=False) as writer:
            writer.see(seen(index, epoch, t1=7))
    assert written(tmp_path) == [(8, 7), (9, 7), (10, 7), (21, 7)]


def test_of_very_many_tracks_whose_end_was_never_told_the_oldest_are_given_up(tmp_path):
    with RunWriter(tmp_path, ["a"], fresh=True) as writer:
        for index in range(1001):
            writer.see(seen(index, **{f"t{index}": None}))
        writer.decide([assigned(0, 7), assigned(1, 8)])
    assert written(tmp_path) == [(2, 8)]


def test_boxes_wait_for_the_first_identity_of_their_track(tmp_path):
    with RunWriter(tmp_path, ["a"], fresh=True) as writer:
        writer.see(seen(0, t1=None, t2=None))
        writer.see(seen(1, t1=None))
        assert written(tmp_path) == []
        writer.decide([assigned(1, 7)])
        writer.see(seen(2, t1=7))
    assert written(tmp_path) == [(1, 7), (2, 7), (3, 7)]


def test_later_boxes_carry_the_identity_of_their_frame(tmp_path):
    with RunWriter(tmp_path, ["a"], fresh=True) as writer:
        writer.decide([assigned(1, 7)])
        writer.see(seen(0, t1=7))
        writer.decide([assigned(1, 8, replaces=7)])
        writer.see(seen(1, t1=8))
        writer.decide([Merge(3, 8, 0.9, 0.0)])
        writer.see(seen(2, t1=3))
    assert written(tmp_path) == [(1, 7), (2, 8), (3, 3)]


def test_boxes_of_a_track_that_is_settled_as_it_ends_are_written(tmp_path):
    with RunWriter(tmp_path, ["a"], fresh=True) as writer:
        writer.see(seen(0, t1=None))
        writer.decide([assigned(1, 7)])
        writer.close_track(key(1))
    assert written(tmp_path) == [(1, 7)]


def test_boxes_of_a_track_that_never_gets_an_identity_are_not_written(tmp_path):
    with RunWriter(tmp_path, ["a"], fresh=True) as writer:
        writer.see(seen(0, t1=None))
        writer.close_track(key(1))
        writer.decide([assigned(1, 7)])
        writer.see(seen(1, t1=7))
    assert written(tmp_path) == [(2, 7)]


def test_every_event_is_a_line_of_json_in_order(tmp_path):
    with RunWriter(tmp_path, ["a"], fresh=True) as writer:
        writer.camera(CameraState("a", 1.0, up=True))
        writer.decide([Assignment(key(1), 7, float("nan"), True, None, 1.23456), Confirmation(7, 2.0)])
        writer.decide([Merge(3, 7, 0.91239, 2.5), Expiry(3, 3.0)])
        writer.end([EndedTrack(key(1), 3, 0.51239, 2.1)], 3.125)
        writer.camera(CameraState("a", 4.0, up=False, reason="end of file"))
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event.pop("event") for event in events] == [
        "camera_up", "assignment", "confirmed", "merge", "expired", "track_ended", "camera_down",
    ]  # fmt: skip
    first = {"camera": "a", "epoch": 1, "track": 1, "identity": 7, "similarity": None, "new": True, "replaces": None}
    assert events == [
        {"at": 1.0, "camera": "a"},
        {"at": 1.235, **first},
        {"at": 2.0, "identity": 7},
        {"at": 2.5, "identity": 3, "replaces": 7, "similarity": 0.9124},
        {"at": 3.0, "identity": 3},
        {"at": 3.125, "camera": "a", "epoch": 1, "track": 1, "identity": 3, "since": 0.512, "until": 2.1},
        {"at": 4.0, "camera": "a", "reason": "end of file"},
    ]


class Facts(msgspec.Struct):
    text: str


def test_a_json_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, Facts("old"))
    with full_disk(10), pytest.raises(StoreError, match=r"summary\.json: cannot write: File too large; free space"):
        write_json(path, Facts("new" * 100))
    assert json.loads(path.read_text()) == {"text": "old"}
    write_json(path, Facts("new"))
    assert json.loads(path.read_text()) == {"text": "new"}


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 0), ("7,1,0,0,5,9\n", 7), ("9,1,0\n8,2,0\n", 9), ("9,1,0\n12,2", 9), ("123,4\n" * 11_000 + "99,4\n", 123)],
)
def test_the_frames_written_so_far_are_those_of_whole_lines_in_any_order(tmp_path, text, number):
    (tmp_path / "tracks").mkdir()
    (tmp_path / "tracks" / "a.txt").write_text(text)
    assert frames_written(tmp_path, "a") == number


def test_no_frame_was_written_of_a_camera_that_is_new(tmp_path):
    assert frames_written(tmp_path, "a") == 0


def test_a_file_of_boxes_that_holds_none_is_one_clear_error(tmp_path):
    (tmp_path / "tracks").mkdir()
    (tmp_path / "tracks" / "a.txt").write_text("hello\n")
    with pytest.raises(StoreError, match=r"a.txt: cannot go on after the boxes there: .*; give another --out"):
        frames_written(tmp_path, "a")


def test_a_run_directory_is_held_by_one_run_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(StoreError, match="another run is writing there; wait"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_run_directory_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(StoreError, match="cannot write: Is a directory"), locked(tmp_path):
        pass


def test_frames_go_on_also_where_nobody_got_a_number(tmp_path):
    for _ in range(2):
        with RunWriter(tmp_path, ["a"], fresh=False, tracklets=True) as writer:
            for index in range(3):
                writer.see(seen(index, t1=None))
    assert [one.frame for one in read_kept_boxes(tmp_path, "a")] == [1, 2, 3, 4, 5, 6]
