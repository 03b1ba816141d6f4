"""Scores of tiny tracks, worked out by hand, and the files they are read from."""

import json

import numpy as np
import pytest

from pipeline.config import CameraConfig, Site
from pipeline.errors import ConfigError, StoreError
from pipeline.evaluation import Boxes, last_in_frame, merged, score
from pipeline.results import (
    MergedTracks,
    Summary,
    camera_summary,
    evaluate_run,
    hints,
    overlooked,
    read_boxes,
    short_reason,
    write_merged,
)
from pipeline.sinks import write_json
from pipeline.telemetry import CameraCounters, added
from tests.pipeline.disk import full_disk

BOX = (10.0, 10.0, 20.0, 50.0)
FAR = (300.0, 10.0, 20.0, 50.0)


def boxes(*rows):
    """Rows (frame, identity, box[, consider])."""
    frame, identity = (np.array([row[i] for row in rows], np.int64) for i in (0, 1))
    consider = np.array([row[3] if len(row) > 3 else True for row in rows], np.bool_)
    return Boxes(frame, identity, np.array([row[2] for row in rows], np.float32).reshape(-1, 4), consider)


def walk(identity, frames=4, box=BOX):
    return boxes(*[(frame, identity, box) for frame in range(1, frames + 1)])


TWO_CAMERAS = {"a": walk(1), "b": walk(1)}


def test_the_same_tracks_under_other_numbers_are_perfect():
    got = score(TWO_CAMERAS, {"a": walk(7), "b": walk(7)}, "p")
    assert (got.idf1, got.precision, got.recall, got.id_switches, got.protocol) == (1, 1, 1, 0, "p")
    assert (got.hota, got.assa, got.deta) == pytest.approx((1, 1, 1))


def test_one_person_with_another_number_in_each_camera_scores_half():
    got = score(TWO_CAMERAS, {"a": walk(7), "b": walk(8)}, "p")
    assert got.idf1 == pytest.approx(0.5)  # 4 of 8 boxes under the better number: 2*4 / (8 + 8)
    assert got.deta == pytest.approx(1)
    assert got.assa == pytest.approx(0.5)  # of each box, half the person's boxes have its number
    assert got.id_switches == 1


def test_two_people_swapped_in_one_of_two_cameras_score_half():
    truth = {one: boxes(*[(f, 1, BOX) for f in (1, 2)], *[(f, 2, FAR) for f in (1, 2)]) for one in "ab"}
    swapped = boxes(*[(f, 2, BOX) for f in (1, 2)], *[(f, 1, FAR) for f in (1, 2)])
    got = score(truth, {"a": truth["a"], "b": swapped}, "p")
    assert got.idf1 == pytest.approx(0.5)
    assert got.assa == pytest.approx(1 / 3)  # 2 shared of 4 + 4 - 2


@pytest.mark.parametrize(
    ("found", "idf1", "precision", "recall"),
    [
        ({"a": walk(1)}, 2 * 4 / (8 + 4), 1.0, 0.5),
        ({"a": walk(1), "b": walk(1), "c": walk(1)}, 1.0, 1.0, 1.0),
        ({"a": walk(1), "b": walk(1, box=FAR)}, 0.5, 0.5, 0.5),
        ({"a": walk(1), "b": walk(1, frames=6)}, 2 * 8 / (8 + 10), 0.8, 1.0),
        ({}, 0.0, 0.0, 0.0),
    ],
    ids=["missed", "camera without truth", "wrong place", "false alarms", "nothing"],
)
def test_what_is_missed_or_invented_counts(found, idf1, precision, recall):
    got = score(TWO_CAMERAS, found, "p")
    assert (got.idf1, got.precision, got.recall) == pytest.approx((idf1, precision, recall))


def test_people_not_to_be_considered_are_no_error_found_or_not():
    truth = {"a": boxes((1, 1, BOX), (1, 2, FAR, False), (2, 1, BOX), (2, 2, FAR, False))}
    found = {"a": boxes((1, 5, BOX), (1, 6, FAR), (2, 5, BOX))}
    got = score(truth, found, "p")
    assert (got.idf1, got.precision, got.recall) == (1, 1, 1)


def test_merges_are_carried_out_along_chains():
    assert merged(np.array([1, 2, 3, 4]), {4: 3, 3: 1}).tolist() == [1, 2, 1, 1]
    assert merged(np.zeros(0, np.int64), {4: 3}).tolist() == []


def test_the_last_box_of_an_identity_in_its_frame_is_told_for_any_numbers():
    frame = np.array([5, 5, 4, 5, 2**40, 2**40, 5], np.int64)
    identity = np.array([1, -1, 1, 1, 2**33, 2**33 + 1, 2], np.int64)
    assert last_in_frame(frame, identity).tolist() == [False, True, True, True, True, True, True]
    assert last_in_frame(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []


def run_dir(folder, tracks, events=""):
    (folder / "run" / "tracks").mkdir(parents=True)
    (folder / "truth").mkdir()
    for camera, text in tracks.items():
        (folder / "run" / "tracks" / f"{camera}.txt").write_text(text)
    (folder / "run" / "events.jsonl").write_text(events)
    return folder / "run", folder / "truth"


TRUTH = "1,1,10,10,20,50,1,-1,-1\n2,1,10,10,20,50,1,-1,-1\n"


def test_a_run_is_scored_online_and_after_its_merges(tmp_path):
    tracks = "1,{0},10,10,20,50,0.9,-1,-1,-1\n2,{0},10,10,20,50,0.9,-1,-1,-1\n"
    merge = json.dumps({"at": 1.0, "event": "merge", "identity": 1, "replaces": 2, "similarity": 0.9})
    run, truth = run_dir(tmp_path, {"a": tracks.format(1), "b": tracks.format(2)}, merge + "\n")
    for camera in "ab":
        (truth / f"{camera}.txt").write_text(TRUTH)
    got = evaluate_run(run, truth)
    assert got.idf1 == 0.5
    assert got.after_merges.idf1 == 1.0
    assert "strictly online" in got.protocol
    assert "TrackEval" in got.protocol
    assert "cameras a, b" in got.protocol
    assert "after merges" in got.after_merges.protocol


def test_a_run_that_found_nobody_scores_zero(tmp_path):
    run, truth = run_dir(tmp_path, {"a": ""})
    (truth / "a.txt").write_text(TRUTH)
    got = evaluate_run(run, truth)
    assert (got.idf1, got.recall) == (0.0, 0.0)


def test_truth_of_other_cameras_is_one_clear_error(tmp_path):
    run, truth = run_dir(tmp_path, {"a": ""})
    (truth / "b.txt").write_text(TRUTH)
    with pytest.raises(ConfigError, match=r"no camera of .*tracks \(a\) has truth in .*truth \(b\); files are named"):
        evaluate_run(run, truth)


def test_a_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="no file"):
        evaluate_run(tmp_path / "none", tmp_path / "none")


LINE = "1,1,0,0,1,1,1\n"


@pytest.mark.parametrize(
    "text", ["1,2,3\n", "a,b,c,d,e,f,g\n", LINE + "\n1,1\n", "1,1,0,0,1,1\n" * 7, LINE + "2,1,nan,0,1,1,1\n", "\xff,"]
)
def test_a_file_that_is_not_mot_is_one_clear_error(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(text, "latin-1")
    with pytest.raises(ConfigError, match=r"a\.txt: (line \d is not MOT|cannot read boxes)") as caught:
        read_boxes(path)
    assert "\n" not in str(caught.value)


def test_a_missing_box_file_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read boxes: No such file"):
        read_boxes(tmp_path / "a.txt")


def test_boxes_are_read_with_what_is_not_to_be_considered(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("3,7,1.5,2,3,4,1,-1\n\n3,8,1,2,3,4,0,-1\n")
    got = read_boxes(path)
    assert (got.frame.tolist(), got.identity.tolist()) == ([3, 3], [7, 8])
    assert got.boxes_xywh.tolist() == [[1.5, 2, 3, 4], [1, 2, 3, 4]]
    assert got.consider.tolist() == [True, False]


def test_an_empty_file_holds_no_boxes(tmp_path):
    (tmp_path / "a.txt").touch()
    assert read_boxes(tmp_path / "a.txt").boxes_xywh.shape == (0, 4)


def test_half_a_last_box_of_a_run_is_left_out_and_of_truth_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1,1,2,3,4,5,0.9,-1,-1,-1\n2,1,2,3,4,5,0")
    assert read_boxes(path, of_a_run=True).frame.tolist() == [1]
    path.write_text("1,1,2,3,4,5,0.9,-1,-1,-1\n2,1,2")
    with pytest.raises(ConfigError, match="line 2 is not MOT"):
        read_boxes(path)


def test_a_camera_of_whose_frames_few_were_looked_at_is_named(tmp_path):
    run, truth = run_dir(tmp_path, {"a": "", "b": "", "c": ""})
    for camera, last in {"a": 100, "b": 100}.items():
        (truth / f"{camera}.txt").write_text(f"1,1,0,0,9,9,1\n{last},1,0,0,9,9,1\n")
    assert [*overlooked(run, truth)] == []
    counted = {one: camera_summary(CameraCounters(frames=n), 1.0) for one, n in {"a": 98, "b": 50, "c": 1}.items()}
    write_json(run / "summary.json", Summary("replay", 1, 1.0, 1.0, counted, {}, 1.0))
    assert [*overlooked(run, truth)] == ["b: 50 of 100 frames were looked at; who is in the others counts as missed"]


def merge_line(identity, replaces):
    return (
        json.dumps({"at": 1.0, "event": "merge", "identity": identity, "replaces": replaces, "similarity": 0.9}) + "\n"
    )


def box_line(frame, identity):
    return f"{frame},{identity},1.50,2.0,3.0,4.0,0.900,-1,-1,-1\n"


def test_tracks_are_written_again_with_chains_of_merges_carried_out_and_late_lines_where_they_were(tmp_path):
    a = box_line(5, 4) + box_line(2, 3) + box_line(6, 7)
    run, _ = run_dir(tmp_path, {"a": a, "b": box_line(1, 3), "c": ""}, merge_line(3, 4) + merge_line(1, 3))
    got = write_merged(run, tmp_path / "deep" / "out")
    assert got == [MergedTracks("a", 3, 2, 0), MergedTracks("b", 1, 1, 0), MergedTracks("c", 0, 0, 0)]
    written = {path.name: path.read_text() for path in (tmp_path / "deep" / "out").iterdir()}
    assert written == {
        "a.txt": box_line(5, 1) + box_line(2, 1) + box_line(6, 7),
        "b.txt": box_line(1, 1),
        "c.txt": "",
    }
    assert (run / "tracks" / "a.txt").read_text() == a


def test_of_several_boxes_of_one_identity_in_a_frame_the_one_written_last_is_kept(tmp_path):
    first, second = box_line(5, 4), box_line(5, 1).replace("1.50", "2.50")
    other_frame, other_person = box_line(6, 1), box_line(5, 2)
    run, _ = run_dir(tmp_path, {"a": other_person + first + other_frame + "\n" + second}, merge_line(1, 4))
    assert write_merged(run, tmp_path / "out") == [MergedTracks("a", 3, 0, 1)]
    assert (tmp_path / "out" / "a.txt").read_text() == other_person + other_frame + second


def test_scores_after_merges_are_those_of_the_merged_tracks(tmp_path):
    run, truth = run_dir(tmp_path, {"a": "1,4,200,10,20,40,0.9\n1,3,10,10,20,40,0.9\n"}, merge_line(3, 4))
    (truth / "a.txt").write_text("1,1,10,10,20,40,1,1,1\n")
    got = evaluate_run(run, truth)
    assert (got.precision, got.after_merges.precision) == (0.5, 1.0)
    write_merged(run, run / "tracks_merged")
    (run / "tracks_merged").replace(tmp_path / "tracks")
    assert evaluate_run(tmp_path, truth).precision == 1.0


def test_half_a_last_line_of_a_run_that_still_writes_is_left_out_and_told(tmp_path, caplog):
    run, _ = run_dir(tmp_path, {"a": box_line(1, 2) + "2,2,1.5"}, merge_line(1, 2) + '{"at":')
    write_merged(run, tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_text() == box_line(1, 1)
    assert [one.split(": ", 1)[1].split(",")[0] for one in caplog.messages] == ["line 2 is half"] * 2


def test_a_line_that_cannot_be_read_is_one_clear_error_and_leaves_no_file(tmp_path):
    run, _ = run_dir(tmp_path, {"a": box_line(1, 2) + "2,x,1,1,1,1,1\n"})
    with pytest.raises(ConfigError, match=r"a\.txt: line 2 is not MOT .*mend it"):
        write_merged(run, tmp_path / "out")
    assert not [*(tmp_path / "out").iterdir()]
    (run / "tracks" / "a.txt").write_text("1,1e30,1,1,1,1,1\n")
    with pytest.raises(ConfigError, match=r"a\.txt: line 1 is not MOT"):
        write_merged(run, tmp_path / "out")


def test_a_run_without_tracks_or_events_and_its_own_tracks_as_target_are_clear_errors(tmp_path):
    run, _ = run_dir(tmp_path, {"a": box_line(1, 2)})
    with pytest.raises(ConfigError, match=r"none/tracks: no <camera id>\.txt there; give a run directory"):
        write_merged(tmp_path / "none", tmp_path / "out")
    with pytest.raises(ConfigError, match="the tracks are read from there; give another --out"):
        write_merged(run, run / "tracks" / ".." / "tracks")
    (run / "events.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"events\.jsonl: no such file, so no merge is known"):
        write_merged(run, tmp_path / "out")


def test_merged_tracks_on_a_full_disk_are_one_clear_error_and_the_former_ones_stay(tmp_path):
    run, _ = run_dir(tmp_path, {"a": "".join(box_line(frame, 2) for frame in range(1, 1001))})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("former")
    with full_disk(10_000), pytest.raises(StoreError, match=r"a\.txt: cannot write: .*; free space or give another"):
        write_merged(run, tmp_path / "out")
    assert [(path.name, path.read_text()) for path in (tmp_path / "out").iterdir()] == [("a.txt", "former")]
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot make the folder: .*; give another --out"):
        write_merged(run, tmp_path / "file" / "out")


def test_a_camera_served_by_several_workers_in_turn_is_summed_up():
    first = CameraCounters(frames=10, dropped={"busy": 1}, tracks=2, crops=5, reconnects=1)
    second = CameraCounters(frames=30, dropped={"busy": 2, "old": 3}, tracks=1, crops=2)
    got = camera_summary(added(first, second), 4.0)
    assert (got.frames, got.fps, got.dropped, got.tracks, got.crops, got.reconnects) == (40, 10.0, 6, 3, 7, 1)
    assert got.drop_reasons == {"busy": 3, "old": 3}


def test_a_camera_nobody_served_has_zero_frames():
    assert camera_summary(CameraCounters(), 0.0).frames == 0


@pytest.mark.parametrize(("reason", "kept"), [("end of file", ""), ("", ""), ("a: cannot open", "a: cannot open")])
def test_a_camera_that_broke_off_says_why(reason, kept):
    assert camera_summary(CameraCounters(ended=True, reason=reason), 1.0).reason == kept


@pytest.mark.parametrize(
    ("identities", "near", "far", "says"),
    [
        (1, (2, 9), (1, 3), []),
        (0, (0, 0), (0, 0), []),
        (1, (2, 9), (3, 0), ["far: people were tracked but none described: all lower than quality.min_height_px (40)"]),
        (
            0,
            (2, 9),
            (0, 0),
            ["people were described but none got an identity: none was seen for matcher.confirm_after"],
        ),
        (0, (2, 9), (3, 0), ["far: people were tracked", "people were described"]),
        (0, (1, 0), (3, 0), ["near, far: people were tracked"]),
    ],
)
def test_people_without_an_identity_are_explained(identities, near, far, says):
    site = Site(tuple(CameraConfig(one, f"{one}.mp4") for one in ("near", "far")))
    counted = {
        "near": CameraCounters(tracks=near[0], crops=near[1]),
        "far": CameraCounters(tracks=far[0], crops=far[1]),
    }
    cameras = {camera_id: camera_summary(one, 1.0) for camera_id, one in counted.items()}
    found = hints(Summary("replay", identities, 1.0, 1.0, cameras, {}, 0.0), site)
    assert [line[: len(start)] for line, start in zip(found, says, strict=True)] == says


@pytest.mark.parametrize(("frames", "dropped", "told"), [(99, 1, False), (97, 3, True)])
def test_many_dropped_frames_are_told(frames, dropped, told):
    site = Site((CameraConfig("a", "a.mp4"),))
    counted = CameraCounters(frames=frames, dropped={"newer frame came": dropped})
    found = hints(Summary("live", 1, 1.0, 1.0, {"a": camera_summary(counted, 1.0)}, {}, 0.0), site)
    assert found == ["3 of 100 frames were dropped: this machine is too slow for these cameras"] * told


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("a: cannot open rtsp://***@h/1: no such file; check the url", "cannot open: no such file"),
        ("a: rtsp://***@h/1 holds no video; give a video file or stream", "holds no video"),
        ("a: rtsp://***@h/1: 24 frames could be read; the file is truncated", "24 frames could be read"),
        ("a: no frame for 10 s from rtsp://***@h/1; check it or raise max_age_s", "no frame for 10 s"),
        ("connecting", "connecting"),
        ("", ""),
    ],
)
def test_a_reason_is_short_without_what_the_row_says_anyway(reason, short):
    assert short_reason(reason, CameraConfig("a", "rtsp://me:hunter2@h/1")) == short
