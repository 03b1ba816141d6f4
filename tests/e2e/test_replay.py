"""The shipped networks on shipped clips, from files to identities, as `make demo` runs them."""

import json
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config import CameraConfig
from pipeline.events import read_merges
from pipeline.results import evaluate_run, read_boxes
from pipeline.sources import read_video
from pipeline.visits import read_visits
from tests.e2e.sites import DEMO, demo_clips, remux, write_site


def replay(site: Path, out: Path, *more: str) -> dict:
    result = CliRunner().invoke(app, ["run", "--cams", str(site), "--out", str(out), *more])
    assert result.exit_code == 0, result.output
    return json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def short_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    clips = [remux(clip, folder / f"cam{number}.mp4", 10.0) for number, clip in enumerate(demo_clips(), 1)]
    return write_site(folder, [clip.name for clip in clips], f"truth: {DEMO.parent / 'demo' / 'truth'}\n")


@pytest.fixture(scope="module")
def first(short_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("first")
    replay(short_site, out, "--video", "--pictures", "--tracklets")
    return out


def test_a_replay_drops_no_frame_and_finds_people_in_every_camera(first: Path) -> None:
    summary = json.loads((first / "summary.json").read_text())
    assert summary["identities"] >= 3
    assert {one["frames"] for one in summary["cameras"].values()} == {100}
    assert {one["dropped"] for one in summary["cameras"].values()} == {0}
    assert summary["latency_ms"].keys() == {"p50", "p95", "p99"}
    assert summary["rss_mb"] > 0


def test_the_visits_are_those_of_the_people_counted_and_all_their_boxes_lie_in_them(first: Path) -> None:
    became = read_merges(first / "events.jsonl")
    visits = read_visits(first, away_s=0.0)
    assert len({one.identity_id for one in visits}) == json.loads((first / "summary.json").read_text())["identities"]
    assert all(0 <= one.since <= one.until <= 9.9 for one in visits)
    boxes = 0
    for path in (first / "tracks").glob("*.txt"):
        for line in path.read_text().splitlines():
            frame, identity, *_ = line.split(",")
            who, at = became.get(int(identity), int(identity)), (int(frame) - 1) / 10
            own = [one for one in visits if (one.identity_id, one.camera_id) == (who, path.stem)]
            boxes += any(one.since - 1e-3 <= at <= one.until + 1e-3 for one in own)
            assert not own or any(one.since - 1e-3 <= at <= one.until + 1e-3 for one in own), line
    assert boxes > 500


def test_the_person_of_a_photograph_is_found(first: Path, short_site: Path, tmp_path: Path) -> None:
    """A whole frame of a camera: its largest person has the box that the run gave them there."""
    frame = next(islice(read_video(CameraConfig("cam1", str(demo_clips()[0]))), 50, None)).picture.bgr()
    cv2.imwrite(str(tmp_path / "photo.png"), frame)
    boxes = read_boxes(first / "tracks" / "cam1.txt", of_a_run=True)
    here = boxes.frame == 51
    largest = boxes.identity[here][boxes.boxes_xywh[here, 2:].prod(axis=1).argmax()]
    became = read_merges(first / "events.jsonl")
    result = CliRunner().invoke(app, ["find", str(first), str(tmp_path / "photo.png"), "--cams", str(short_site)])
    assert result.exit_code == 0, result.output
    found = re.findall(r'<section id="(\d+)">', (first / "found.html").read_text())
    assert int(found[0]) == became.get(int(largest), int(largest))
    assert re.search(rf"\n +{found[0]} +0\.[6-9]\d ", result.output)


def test_the_page_of_people_shows_everybody(first: Path) -> None:
    result = CliRunner().invoke(app, ["people", str(first)])
    assert result.exit_code == 0, result.output
    rows = (first / "people.html").read_text().split("<section ")[1:]
    assert len(rows) == json.loads((first / "summary.json").read_text())["identities"]
    pictures = [re.findall(r'src="(.+?)"', row) for row in rows]
    assert all(pictures)
    assert all((first / picture).is_file() for row in pictures for picture in row)


def test_gathered_anew_the_people_are_no_worse_and_the_other_commands_read_them(first: Path, short_site: Path) -> None:
    out, truth = first / "regrouped", DEMO.parent / "demo" / "truth"
    result = CliRunner().invoke(app, ["regroup", str(first), "--cams", str(short_site)])
    assert result.exit_code == 0, result.output
    assert evaluate_run(out, truth).idf1 >= evaluate_run(first, truth).after_merges.idf1 - 0.02
    people = {one.identity_id for one in read_visits(out, away_s=0.0)}
    assert f"people {len(people)}, " in result.output
    result = CliRunner().invoke(app, ["people", str(out)])
    assert result.exit_code == 0, result.output
    pictures = re.findall(r'src="(.+?)"', (out / "people.html").read_text())
    assert pictures and all((out / picture).is_file() for picture in pictures)


def test_somebody_is_recognised_by_a_second_camera(first: Path) -> None:
    events = [json.loads(line) for line in (first / "events.jsonl").read_text().splitlines()]
    seen_by: dict[int, set[str]] = {}
    for event in events:
        if event["event"] == "assignment":
            seen_by.setdefault(event["identity"], set()).add(event["camera"])
    assert any(len(cameras) > 1 for cameras in seen_by.values())


def test_a_check_tells_of_every_camera_what_it_sees_and_fails_where_one_does_not_answer(tmp_path: Path) -> None:
    site = tmp_path / "cams.yaml"
    everywhere = "[[[0, 0], [1, 0], [1, 1], [0, 1]]]"
    first, second = demo_clips()[:2]
    cameras = f"cameras: [{{id: hall, url: {first}}}, {{id: door, url: {second}, ignore: {everywhere}}}"
    site.write_text(f"{cameras}]")
    result = CliRunner().invoke(app, ["check", "--cams", str(site)])
    assert result.exit_code == 0, result.output
    detector, reid, hall, door = result.output.splitlines()
    assert detector.startswith("detector ")
    assert reid.startswith("re-ID ")
    places = r"( \[[01]\.\d\d, [01]\.\d\d\])+"
    assert re.fullmatch(rf"hall: ok, 640x360, \d+ people in the first frame, standing at{places}", hall)
    assert re.fullmatch(rf"door: ok, 640x360, \d+ people in the first frame, to be ignored at{places}", door)
    site.write_text(f"{cameras}, {{id: gone, url: gone.mp4}}]")
    result = CliRunner().invoke(app, ["check", "--cams", str(site)])
    assert str(result.exception) == "1 of 3 cameras do not answer"
    assert "gone: cannot open" in result.output


def test_the_film_shows_every_moment(first: Path) -> None:
    import av

    with av.open(str(first / "mosaic.mp4")) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in film.decode(video=0)) == 100


def test_the_same_clips_give_the_same_log_byte_for_byte(first: Path, short_site: Path, tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "mspf-pipeline", "run", "--cams", short_site, "--out", tmp_path]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})  # another order of sets of strings
    assert (tmp_path / "events.jsonl").read_bytes() == (first / "events.jsonl").read_bytes()
    for tracks in sorted((first / "tracks").iterdir()):
        assert (tmp_path / "tracks" / tracks.name).read_bytes() == tracks.read_bytes()
