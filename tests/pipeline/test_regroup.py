import json

import numpy as np
import pytest

from pipeline.config import MatcherConfig
from pipeline.datatypes import EndedTrack, TrackKey
from pipeline.errors import ConfigError, StoreError
from pipeline.kept_tracks import KeptTracks
from pipeline.people import write_everybody
from pipeline.regroup import regroup
from pipeline.visits import read_visits
from tests.pipeline.disk import full_disk

CONFIG = MatcherConfig(remove_camera_bias=False)
RED, BLUE = (1.0, 0.0), (0.0, 1.0)


def a_run(folder, *tracks, merges=()):
    """Tracks of (camera, track, identity, since, until, looks, frames)."""
    for camera in sorted({one[0] for one in tracks}):
        with KeptTracks(folder, camera, fresh=True) as kept:
            for name, track, identity, since, until, looks, frames in tracks:
                if name == camera:
                    for frame in frames:
                        kept.see(0, frame, [track], [f"{track}.0,0.0,30.0,60.0,0.900"])
                    key = TrackKey(camera, 0, track)
                    kept.end(EndedTrack(key, identity, since, until, np.array(looks, np.float32)))
    merged = [{"at": 1.0, "event": "merge", "identity": one, "replaces": other} for one, other in merges]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in merged))


def rows(folder, camera):
    """(frame, identity, x) of each line."""
    lines = (folder / "tracks" / f"{camera}.txt").read_text().splitlines()
    return [(int(frame), int(identity), float(x)) for frame, identity, x, *_ in (line.split(",") for line in lines)]


@pytest.fixture
def mistaken(tmp_path):
    """A run that took two people for one at first, and one for two."""
    a_run(
        tmp_path,
        ("a", 1, 1, 0.0, 10.0, RED, range(1, 4)),
        ("a", 2, 1, 20.0, 24.0, BLUE, range(20, 22)),
        ("b", 1, 2, 40.0, 44.0, RED, [40]),
        ("b", 2, 3, 60.0, 66.0, BLUE, [60, 61]),
    )
    return tmp_path


def test_tracks_are_those_of_the_people_whom_they_look_like(mistaken):
    found = regroup(mistaken, mistaken / "out", CONFIG)
    assert (found.tracks, found.people, found.before, found.changed) == (4, 2, 3, 2)
    assert rows(mistaken / "out", "a") == [(1, 1, 1.0), (2, 1, 1.0), (3, 1, 1.0), (20, 3, 2.0), (21, 3, 2.0)]
    assert rows(mistaken / "out", "b") == [(40, 1, 1.0), (60, 3, 2.0), (61, 3, 2.0)]


def test_it_is_a_run_directory_for_the_other_commands(mistaken):
    regroup(mistaken, mistaken / "out", CONFIG)
    visits = [(one.identity_id, one.camera_id, one.since, one.until) for one in read_visits(mistaken / "out", 10.0)]
    assert visits == [(1, "a", 0.0, 10.0), (3, "a", 20.0, 24.0), (1, "b", 40.0, 44.0), (3, "b", 60.0, 66.0)]


def test_merges_of_the_run_are_carried_out_before_numbers_are_compared(tmp_path):
    tracks = ("a", 1, 1, 0.0, 10.0, RED, [1]), ("b", 1, 2, 40.0, 44.0, RED, [40])
    a_run(tmp_path, *tracks, merges=[(1, 2)])
    assert regroup(tmp_path, tmp_path / "out", CONFIG).changed == 0


def test_somebody_whose_number_another_one_keeps_gets_one_that_nobody_had(tmp_path):
    a_run(tmp_path, ("a", 1, 5, 0.0, 10.0, RED, [1]), ("a", 2, 5, 20.0, 24.0, BLUE, [20]))
    regroup(tmp_path, tmp_path / "out", CONFIG)
    assert rows(tmp_path / "out", "a") == [(1, 5, 1.0), (20, 6, 2.0)]


def test_of_two_boxes_of_somebody_in_a_frame_that_of_the_longer_track_stays(tmp_path):
    a_run(tmp_path, ("a", 1, 1, 0.0, 4.0, RED, [1, 2]), ("a", 2, 1, 2.0, 20.0, RED, [2, 3]))
    regroup(tmp_path, tmp_path / "out", CONFIG)
    assert rows(tmp_path / "out", "a") == [(1, 1, 1.0), (2, 1, 2.0), (3, 1, 2.0)]


def test_who_was_seen_for_a_moment_by_one_camera_does_not_count(tmp_path):
    a_run(tmp_path, ("a", 1, 1, 0.0, 10.0, RED, [1]), ("a", 2, 2, 20.0, 20.4, BLUE, [20]))
    assert regroup(tmp_path, tmp_path / "out", CONFIG).people == 1
    assert {one.identity_id for one in read_visits(tmp_path / "out", 10.0)} == {1}


def test_pictures_are_those_of_the_run(mistaken):
    (mistaken / "pictures" / "a").mkdir(parents=True)
    (mistaken / "pictures" / "a" / "0-1.jpg").touch()
    for _ in range(2):
        regroup(mistaken, mistaken / "out", CONFIG)
    assert (mistaken / "out" / "pictures" / "a" / "0-1.jpg").is_file()


def test_a_second_time_replaces_the_first(mistaken):
    regroup(mistaken, mistaken / "out", CONFIG)
    (mistaken / "out" / "tracks" / "gone.txt").touch()
    regroup(mistaken, mistaken / "out", CONFIG)
    assert not (mistaken / "out" / "tracks" / "gone.txt").exists()


def test_nothing_else_is_replaced(mistaken):
    other = mistaken / "other"
    other.mkdir()
    (other / "events.jsonl").write_text("somebody else's")
    for out in (mistaken, other, mistaken / "events.jsonl"):
        before = (mistaken / "events.jsonl").read_text()
        with pytest.raises(ConfigError, match="give another --out"):
            regroup(mistaken, out, CONFIG)
        assert (mistaken / "events.jsonl").read_text() == before
    assert (other / "events.jsonl").read_text() == "somebody else's"


def test_a_full_disk_is_one_clear_error(mistaken):
    regroup(mistaken, mistaken / "out", CONFIG)
    with full_disk(0), pytest.raises(StoreError, match="cannot write"):
        regroup(mistaken, mistaken / "out", CONFIG)


def test_boxes_that_were_moved_away_are_told(mistaken):
    (mistaken / "tracklets" / "b.csv").unlink()
    with pytest.raises(ConfigError, match=r"b\.csv: cannot read boxes"):
        regroup(mistaken, mistaken / "out", CONFIG)


def test_a_second_time_that_fails_leaves_the_first(mistaken):
    regroup(mistaken, mistaken / "out", CONFIG)
    files = [*(mistaken / "out").glob("*.json*"), *(mistaken / "out" / "tracks").glob("*.txt")]
    before = {path: path.read_bytes() for path in files}
    assert len(before) == 4
    with (mistaken / "tracklets" / "b.csv").open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(ConfigError, match="line 4 is no box"):
        regroup(mistaken, mistaken / "out", CONFIG)
    assert {path: path.read_bytes() for path in files} == before


def test_another_run_into_the_same_folder_has_its_own_pictures(mistaken, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    a_run(other, ("a", 1, 1, 0.0, 10.0, RED, [1]))
    for run, name in ((mistaken, "0-1.jpg"), (other, "0-2.jpg")):
        (run / "pictures" / "a").mkdir(parents=True)
        (run / "pictures" / "a" / name).touch()
        regroup(run, tmp_path / "out", CONFIG)
        assert [path.name for path in (tmp_path / "out" / "pictures" / "a").iterdir()] == [name]


def test_pages_and_scores_of_the_former_people_do_not_stay(mistaken):
    regroup(mistaken, mistaken / "out", CONFIG)
    (mistaken / "pictures" / "a").mkdir(parents=True)
    (mistaken / "pictures" / "a" / "0-1.jpg").touch()
    regroup(mistaken, mistaken / "out", CONFIG)
    write_everybody(mistaken / "out", mistaken / "out" / "people.html", 10.0)
    (mistaken / "out" / "evaluation.json").touch()
    (mistaken / "out" / "found.html").write_text("somebody else's")
    regroup(mistaken, mistaken / "out", CONFIG)
    left = {path.name for path in (mistaken / "out").iterdir()}
    assert left == {"events.jsonl", "tracks", "pictures", "regrouped.json", "found.html"}


def test_a_camera_that_saw_nobody_has_an_empty_file_as_in_a_run(mistaken):
    with KeptTracks(mistaken, "c", fresh=True):
        pass
    regroup(mistaken, mistaken / "out", CONFIG)
    assert rows(mistaken / "out", "c") == []


def test_a_number_that_was_merged_away_is_not_given_again(tmp_path):
    tracks = ("a", 1, 5, 0.0, 10.0, RED, [1]), ("a", 2, 5, 20.0, 24.0, BLUE, [20])
    a_run(tmp_path, *tracks, merges=[(5, 6), (5, 8)])
    with (tmp_path / "events.jsonl").open("a") as file:
        named = {"camera": "a", "epoch": 0, "track": 9, "identity": 8, "new": True}
        file.write(json.dumps({"at": 0.5, "event": "assignment", **named}) + "\n")
    regroup(tmp_path, tmp_path / "out", CONFIG)
    assert rows(tmp_path / "out", "a") == [(1, 5, 1.0), (20, 9, 2.0)]


def test_without_events_no_merge_is_known(mistaken):
    (mistaken / "events.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"events\.jsonl: no such file"):
        regroup(mistaken, mistaken / "out", CONFIG)
    with pytest.raises(ConfigError, match="no such folder"):
        regroup(mistaken / "nowhere", mistaken / "out", CONFIG)
