"""A whole replay with tiny real networks: the same twice, complete, and no camera suffers for another."""

import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import ExitStack

import av
import msgspec
import numpy as np
import pytest

from pipeline.config import CameraConfig, DetectorConfig, MatcherConfig, ReidConfig, Site
from pipeline.errors import EngineFailure, StoreError
from pipeline.events import Assigned, TrackEnded, read_events
from pipeline.kept_tracks import read_kept_boxes, read_tracks
from pipeline.matcher import Matcher
from pipeline.people import write_everybody
from pipeline.replay import Replay
from pipeline.store import Store
from pipeline.visits import read_visits
from tests.fakes import ask_to_stop, picture
from tests.pipeline.clips import scramble, truncate, write_clip
from tests.pipeline.disk import full_disk
from tests.pipeline.networks import PLACES, write_detector, write_reid

RED, BLUE = (20, 60, 250), (250, 60, 20)


def standing(*colours):
    """A picture with a striped person of a colour at each place; None leaves a place empty."""
    image = picture()
    for (x1, y1, x2, y2), colour in zip(PLACES, colours, strict=True):
        if colour:
            image[y1:y2, x1:x2] = colour
            image[y1:y2, x1:x2:4] = np.array(colour, np.uint8) // 2
    return image


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A site of two cameras: red walks from a to b, blue stands in b."""
    folder = tmp_path_factory.mktemp("site")
    a = write_clip(folder / "a.mp4", [standing(RED if i < 20 else None, None) for i in range(40)])
    b = write_clip(folder / "b.mp4", [standing(BLUE, RED if i >= 15 else None) for i in range(30)])
    return Site(
        cameras=(CameraConfig("a", str(a)), CameraConfig("b", str(b))),
        detector=DetectorConfig(model=str(write_detector(folder / "detector.onnx")), backend="onnxruntime"),
        reid=ReidConfig(model=str(write_reid(folder / "reid.onnx")), backend="onnxruntime"),
        matcher=MatcherConfig(),
    )


def files(out):
    """What a run leaves that must not depend on the machine's speed."""
    paths = [out / "events.jsonl", *sorted((out / "tracks").glob("*.txt"))]
    return {path.name: path.read_bytes() for path in paths}


def people(out, camera):
    """Identity to the frames it was seen in, counted from 1."""
    seen = {}
    for line in (out / "tracks" / f"{camera}.txt").read_text().splitlines():
        frame, identity = (int(value) for value in line.split(",")[:2])
        seen.setdefault(identity, []).append(frame)
    return {identity: sorted(frames) for identity, frames in seen.items()}


def test_a_replay_follows_a_person_from_one_camera_to_the_other(parts, tmp_path):
    summary = Replay(parts, tmp_path).run()
    a, b = people(tmp_path, "a"), people(tmp_path, "b")
    (red,) = a
    (blue,) = b.keys() - a.keys()
    assert a[red] == list(range(2, 21))  # a track needs two boxes before it is one
    assert b[red] == list(range(17, 31))
    assert b[blue] == list(range(2, 31))
    assert (summary.mode, summary.identities) == ("replay", 2)
    assert {one: (c.frames, c.dropped, c.tracks) for one, c in summary.cameras.items()} == {
        "a": (40, 0, 1),
        "b": (30, 0, 2),
    }
    assert 0 <= summary.latency_ms["p50"] <= summary.latency_ms["p99"]
    assert summary.rss_mb > 0


def replay_elsewhere(site, out):
    """Replays in a process of its own, in which sets of strings have another order."""
    script = """
        import pathlib, sys
        import msgspec
        from pipeline.config import Site
        from pipeline.replay import Replay
        Replay(msgspec.json.decode(sys.argv[1], type=Site), pathlib.Path(sys.argv[2])).run()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), msgspec.json.encode(site), out]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})


def test_the_same_files_give_the_same_log_byte_for_byte(parts, tmp_path):
    for _ in range(2):
        Replay(parts, tmp_path / "first").run()  # the second time over what the first left
    replay_elsewhere(parts, tmp_path / "second")
    first = files(tmp_path / "first")
    assert first == files(tmp_path / "second")
    assert sorted(first) == ["a.txt", "b.txt", "events.jsonl"]
    assert all(first.values())


def test_a_replay_of_fewer_cameras_leaves_no_boxes_of_the_others(parts, tmp_path):
    Replay(parts, tmp_path).run()
    Replay(msgspec.structs.replace(parts, cameras=parts.cameras[:1]), tmp_path).run()
    assert [path.name for path in (tmp_path / "tracks").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("content", [None, b"not a database, but long enough to have a header" * 4])
def test_the_identities_of_a_live_run_are_not_replaced(parts, tmp_path, content):
    path = tmp_path / "identities.db"
    if content:
        path.write_bytes(content)
    else:
        with Store(path, 3):
            pass
    before = path.read_bytes()
    with pytest.raises(StoreError, match="holds the identities of a live run, which a replay would replace"):
        Replay(parts, tmp_path).run()
    assert path.read_bytes() == before


def test_a_replay_that_is_stopped_leaves_what_it_found_and_says_so(parts, tmp_path):
    def stop(*_):
        for _ in range(3):  # who asks again must not keep the results from being written
            ask_to_stop()

    summary = Replay(parts, tmp_path, on_progress=stop).run()
    assert summary.interrupted
    assert 0 < summary.cameras["a"].frames < 40
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("moment", ["pipeline.store.Store.record", "pipeline.matcher.Matcher.step"])
def test_a_stop_in_the_middle_of_a_step_lets_it_end(parts, tmp_path, monkeypatch, caplog, moment):
    module, kind, verb = moment.rsplit(".", 2)
    owner = getattr(importlib.import_module(module), kind)
    whole = getattr(owner, verb)

    def interrupted(self, *given):
        ask_to_stop()
        return whole(self, *given)

    monkeypatch.setattr(owner, verb, interrupted)
    summary = Replay(parts, tmp_path).run()
    assert summary.interrupted
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == ["stopping"]


def test_the_tracks_of_a_replay_that_is_stopped_end_with_it(parts, tmp_path, monkeypatch):
    whole, steps = Matcher.step, []

    def step(self, given):
        steps.append(given)
        if len(steps) == 40:
            ask_to_stop()
        return whole(self, given)

    monkeypatch.setattr(Matcher, "step", step)
    assert Replay(parts, tmp_path).run().interrupted
    events = [*read_events(tmp_path / "events.jsonl")]
    decided = {one.key for one in events if isinstance(one, Assigned)}
    assert decided
    assert {one.key for one in events if isinstance(one, TrackEnded)} == decided
    assert len([*read_visits(tmp_path, 0.0)]) >= len(decided)


def test_cameras_come_and_go_in_the_events(parts, tmp_path):
    Replay(parts, tmp_path).run()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    cameras = [(one["event"], one["camera"], one["at"]) for one in events if one["event"].startswith("camera")]
    assert cameras == [
        ("camera_up", "a", 0.0), ("camera_up", "b", 0.0), ("camera_down", "b", 2.9), ("camera_down", "a", 3.9),
    ]  # fmt: skip


def damaged(kind, folder):
    path = folder / "broken.mp4"
    if kind == "cut":
        truncate(write_clip(path, [standing(RED, BLUE)] * 20), 0.5)
    elif kind == "text":
        path.write_text("no video")
    return path


@pytest.mark.parametrize("kind", ["cut", "text", "missing"])
def test_a_broken_file_leaves_the_other_cameras_complete(parts, tmp_path, kind):
    broken = CameraConfig("c", str(damaged(kind, tmp_path)))
    site = msgspec.structs.replace(parts, cameras=(*parts.cameras, broken))
    summary = Replay(site, tmp_path / "out").run()
    assert {one: c.frames for one, c in summary.cameras.items()} == {"a": 40, "b": 30, "c": 0}
    Replay(parts, tmp_path / "whole").run()
    both, alone = files(tmp_path / "out"), files(tmp_path / "whole")
    assert (both["a.txt"], both["b.txt"], both["c.txt"]) == (alone["a.txt"], alone["b.txt"], b"")
    lines = both["events.jsonl"].splitlines()
    told = [json.loads(line)["reason"] for line in lines if b'"camera":"c"' in line]
    assert len(told) == 1
    assert told[0].startswith("c: cannot open ")
    assert [line for line in lines if b'"camera":"c"' not in line] == alone["events.jsonl"].splitlines()


def test_the_frames_before_and_after_a_damaged_place_are_followed_and_the_damage_is_told(parts, tmp_path):
    path = scramble(write_clip(tmp_path / "c.ts", [standing(RED, BLUE)] * 40), 0.4, 0.6)
    site = msgspec.structs.replace(parts, cameras=(*parts.cameras, CameraConfig("c", str(path))))
    summary = Replay(site, tmp_path / "out").run()
    assert (summary.cameras["a"].frames, summary.cameras["b"].frames) == (40, 30)
    assert 0 < summary.cameras["c"].frames < 40
    assert sum(map(len, people(tmp_path / "out", "c").values())) > 0
    assert b'"camera_down","camera":"c","reason":"c: ' in files(tmp_path / "out")["events.jsonl"]


def test_a_file_that_starts_later_is_replayed_later(parts, tmp_path):
    late = msgspec.structs.replace(parts.cameras[0], started_at=100.0)
    Replay(msgspec.structs.replace(parts, cameras=(late, parts.cameras[1])), tmp_path).run()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    decided = [one["camera"] for one in events if one["event"] == "assignment"]
    assert decided == ["b", "b", "a"]
    assert len(people(tmp_path, "b").keys() | people(tmp_path, "a").keys()) == 2


def test_a_camera_that_ends_long_before_the_others_decides_its_tracks_once(parts, tmp_path):
    late = msgspec.structs.replace(parts.cameras[1], id="z", started_at=100.0)
    Replay(msgspec.structs.replace(parts, cameras=(parts.cameras[1], late)), tmp_path).run()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    tracks = [(one["camera"], one["track"]) for one in events if one["event"] == "assignment"]
    assert len(tracks) == len(set(tracks)) == 4


def test_who_comes_just_before_a_file_ends_is_known_by_the_few_views_there_are(parts, tmp_path):
    clip = write_clip(tmp_path / "short.mp4", [standing(None, RED if i >= 17 else None) for i in range(20)])
    short = CameraConfig("short", str(clip), started_at=2.0)
    Replay(msgspec.structs.replace(parts, cameras=(parts.cameras[0], short)), tmp_path / "out").run()
    (red,) = people(tmp_path / "out", "a")
    assert people(tmp_path / "out", "short") == {red: [19, 20]}


def test_the_mosaic_has_a_picture_for_every_moment(parts, tmp_path):
    Replay(parts, tmp_path, video=True).run()
    with av.open(str(tmp_path / "mosaic.mp4")) as film:
        times = [frame.time for frame in film.decode(video=0)]
        assert film.streams.video[0].codec_context.name == "h264"
    assert np.diff(times) == pytest.approx([0.1] * 39, abs=2e-3)


def test_a_camera_that_ended_or_never_opened_is_dark_in_the_film(parts, tmp_path):
    site = msgspec.structs.replace(parts, cameras=(*parts.cameras, CameraConfig("c", str(tmp_path / "none.mp4"))))
    Replay(site, tmp_path, video=True).run()
    with av.open(str(tmp_path / "mosaic.mp4")) as film:
        pictures = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    striped = [picture[:360, 640:].max(axis=0).mean() for picture in pictures]  # of b, whose people stand to the end
    assert striped[29] > 1.5 * max(striped[30:])
    assert all(picture[360:390, :60].max() > 100 and picture[400:500, :640].max() < 10 for picture in pictures)


def test_a_camera_without_a_picture_for_longer_than_its_max_age_is_dark_until_the_next(parts, tmp_path):
    slow = write_clip(tmp_path / "slow.mp4", [standing(BLUE, RED)] * 4, fps=1)
    cameras = (parts.cameras[0], CameraConfig("b", str(slow), max_age_s=0.5))
    Replay(msgspec.structs.replace(parts, cameras=cameras), tmp_path, video=True).run()
    with av.open(str(tmp_path / "mosaic.mp4")) as film:
        pictures = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    bright = [picture[:, 640:].max(axis=0).mean() > 40 for picture in pictures]
    assert [bright[index] for index in (10, 14, 17, 19, 20, 24, 27, 29, 30)] == [True, True, False, False] * 2 + [True]


def test_hours_without_a_picture_are_seconds_in_the_film(parts, tmp_path):
    late = msgspec.structs.replace(parts.cameras[0], started_at=36_000.0)
    Replay(msgspec.structs.replace(parts, cameras=(late, parts.cameras[1])), tmp_path, video=True).run()
    with av.open(str(tmp_path / "mosaic.mp4")) as film:
        times = [frame.time for frame in film.decode(video=0)]
    assert np.diff(times) == pytest.approx([0.1] * 29 + [3.0] + [0.1] * 39, abs=2e-3)


def test_a_film_that_cannot_be_written_on_leaves_the_run_complete(parts, tmp_path):
    with ExitStack() as disk:
        replay = Replay(parts, tmp_path, video=True, on_progress=lambda *_: disk.enter_context(full_disk(1)))
        summary = replay.run()
    assert summary.cameras["a"].frames == 40


def test_progress_is_told(parts, tmp_path):
    told = []
    Replay(parts, tmp_path, on_progress=lambda cameras, identities: told.append((sorted(cameras), identities))).run()
    assert told[0][0] == ["a", "b"]


def test_a_model_of_the_wrong_kind_is_one_clear_error(parts, tmp_path):
    site = msgspec.structs.replace(parts, reid=msgspec.structs.replace(parts.reid, model=parts.detector.model))
    with pytest.raises(EngineFailure, match="not a re-ID network"):
        Replay(site, tmp_path).run()


def test_a_run_directory_that_cannot_be_written_is_one_clear_error(parts, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tracks").touch()
    with pytest.raises(StoreError, match="cannot write"):
        Replay(parts, tmp_path / "out").run()


def test_pictures_are_those_of_the_latest_replay(parts, tmp_path):
    Replay(parts, tmp_path, pictures=True).run()
    kept = {path.relative_to(tmp_path / "pictures").as_posix() for path in tmp_path.glob("pictures/*/*")}
    assert kept == {"a/0-1.jpg", "b/0-1.jpg", "b/0-2.jpg"}
    page = tmp_path / "people.html"
    write_everybody(tmp_path, page, 10.0)
    (tmp_path / "found.html").write_bytes(page.read_bytes())
    assert all(page.read_text().count(f'"pictures/{name}"') == 1 for name in kept)
    (tmp_path / "pictures" / "a" / "0-1.jpg.part").touch()
    Replay(parts, tmp_path).run()
    assert not [*tmp_path.glob("pictures/*/*"), *tmp_path.glob("*.html")]


def test_a_replay_deletes_no_pictures_but_those_of_replays_and_no_other_page(parts, tmp_path):
    kept = [tmp_path / "pictures" / "a" / name for name in ("holiday.jpg", "1790000000000-1.jpg", "10-1.jpg")]
    kept += [tmp_path / "people.html", tmp_path / "found.html"]
    kept[0].parent.mkdir(parents=True)
    for path in kept:
        path.write_text("somebody else's")
    Replay(parts, tmp_path, pictures=True).run()
    assert [path.read_text() for path in kept] == ["somebody else's"] * 5


def test_tracks_are_kept_where_they_are_wanted_and_are_those_of_the_latest_replay(parts, tmp_path):
    Replay(parts, tmp_path, tracklets=True).run()
    kept = read_tracks(tmp_path)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    ended = [event for event in events if event["event"] == "track_ended"]
    told = {(one.key.camera_id, one.key.track_id, one.identity_id, one.since, one.until) for one in kept}
    assert told == {(one["camera"], one["track"], one["identity"], one["since"], one["until"]) for one in ended}
    boxes = {(one.frame, one.box) for one in read_kept_boxes(tmp_path, "a")}
    written = (tmp_path / "tracks" / "a.txt").read_text().splitlines()
    assert {(int(line.split(",")[0]), ",".join(line.split(",")[2:7])) for line in written} <= boxes
    Replay(parts, tmp_path).run()
    assert not [*(tmp_path / "tracklets").iterdir()]
