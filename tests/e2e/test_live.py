"""Real processes and sockets: clips played at their own speed, a process killed, a camera that goes and comes back."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from pipeline.kept_tracks import read_tracks
from pipeline.visits import read_visits
from tests.e2e.sites import demo_clips, free_port, has_rtsp_server, remux, rtsp_server, write_site

# On a machine so busy that a camera's frames are seconds apart a track is hardly ever seen twice: one view must do.
AT_FIRST_SIGHT = """
tracker: {confirm_frames: 1}
matcher: {min_embeddings: 1, decide_after_s: 0.01, confirm_after_s: 0.1}
"""


@contextmanager
def running(site: Path, out: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A live run; ended by Ctrl-C, and by force if that does not help."""
    command = [Path(sys.executable).parent / "mspf-pipeline", "run", "--cams", site, "--out", out, "--live", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            yield run
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGINT)
            try:
                run.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                run.kill()
                raise


def until(condition: Callable[[], bool], run: subprocess.Popen[str], timeout_s: float = 240) -> None:
    """Waits for a condition while the run lives."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.1)


def events(out: Path) -> list[dict]:
    path = out / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def named(out: Path, event: str) -> list[dict]:
    return [one for one in events(out) if one["event"] == event]


def tracks_in_store(out: Path) -> dict[tuple[str, int, int], int]:
    with closing(sqlite3.connect(f"file:{out / 'identities.db'}?mode=ro", uri=True)) as store:
        rows = store.execute("SELECT camera_id, epoch, track_id, identity_id FROM tracks").fetchall()
    return {row[:3]: row[3] for row in rows}


def process(run: subprocess.Popen[str], loop: str) -> psutil.Process:
    """The child whose open sockets or command tell that it runs this loop."""
    log = run.args[run.args.index("--out") + 1] / "pipeline.log"
    pids = [
        line.rsplit(" ", 1)[1] for line in log.read_text().splitlines() if f" {loop} INFO started as process" in line
    ]
    return psutil.Process(int(pids[-1]))


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [remux(clip, folder / f"cam{number}.mp4", 120.0) for number, clip in enumerate(demo_clips()[:2], 1)]


def test_a_live_run_of_files_ends_by_itself_and_leaves_no_process(tmp_path: Path) -> None:
    clips = [remux(clip, tmp_path / clip.name, 6.0) for clip in demo_clips()[:2]]
    site = write_site(tmp_path, [clip.name for clip in clips], AT_FIRST_SIGHT)
    others = {child.pid for child in psutil.Process().children(recursive=True)}  # of tests before
    with running(site, tmp_path / "out", "--pictures", "--tracklets") as run:
        run.wait(timeout=240)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["mode"] == "live"
    assert summary["identities"] >= 1
    assert all(0 <= time.time() - one["at"] < 600 for one in events(tmp_path / "out")), "UTC"
    assert any(tracks.stat().st_size for tracks in (tmp_path / "out" / "tracks").iterdir())
    assert any((tmp_path / "out" / "pictures").glob("*/*.jpg"))
    ended = {(one["camera"], one["track"]) for one in named(tmp_path / "out", "track_ended")}
    assert {(one.key.camera_id, one.key.track_id) for one in read_tracks(tmp_path / "out")} == ended
    assert all(one["frames"] + one["dropped"] == 60 for one in summary["cameras"].values())
    assert not {child.pid for child in psutil.Process().children(recursive=True)} - others


@pytest.mark.parametrize("victim", ["matcher", "worker-0"])
def test_kill_9_loses_and_renumbers_no_identity(victim: str, long_clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running(write_site(tmp_path, [str(clip) for clip in long_clips], AT_FIRST_SIGHT), out) as run:
        until(lambda: len(named(out, "assignment")) >= 4, run)
        process(run, victim).kill()
        before = tracks_in_store(out)
        until(lambda: (out / "pipeline.log").read_text().count(f" {victim} INFO started as process") == 2, run)
        count = len(events(out))
        until(lambda: len(events(out)) > count + 2, run)
    after = tracks_in_store(out)
    assert {key: after[key] for key in before} == before
    ids = [one["identity"] for one in named(out, "assignment") if one["new"]]
    assert len(ids) == len(set(ids))
    assert json.loads((out / "summary.json").read_text())["restarts"] == 1
    decided, ended = (
        [(one["camera"], one["epoch"], one["track"]) for one in named(out, event)]
        for event in ("assignment", "track_ended")
    )
    assert len(ended) == len(set(ended)), "an end was told twice"
    assert ended
    assert set(ended) <= set(decided)
    assert {one.identity_id for one in read_visits(out, 10.0)} <= set(ids)
    for camera in ("cam1", "cam2"):
        boxes = [line.split(",")[:2] for line in (out / "tracks" / f"{camera}.txt").read_text().splitlines()]
        assert len({tuple(box) for box in boxes}) == len(boxes), "a frame number came twice"


def test_files_that_are_moved_away_during_a_run_begin_anew_and_lose_nothing(
    long_clips: list[Path], tmp_path: Path
) -> None:
    out, archive = tmp_path / "out", tmp_path / "archive"
    archive.mkdir()
    with running(write_site(tmp_path, [str(long_clips[0])], AT_FIRST_SIGHT), out) as run:
        until(lambda: len(named(out, "assignment")) >= 2, run)
        for path in (out / "events.jsonl", out / "pipeline.log", out / "tracks" / "cam1.txt"):
            path.rename(archive / path.name)
        until(lambda: len(named(out, "assignment")) >= 2, run)
        run.terminate()
        assert run.wait(timeout=60) == 0
    told = [one["identity"] for folder in (archive, out) for one in named(folder, "assignment") if one["new"]]
    assert len(told) == len(set(told))
    assert tracks_in_store(out).keys() == {
        (one["camera"], one["epoch"], one["track"]) for folder in (archive, out) for one in named(folder, "assignment")
    }
    before, after = (
        [int(line.split(",")[0]) for line in path.read_text().splitlines()]
        for path in (archive / "cam1.txt", out / "tracks" / "cam1.txt")
    )
    assert max(before) < min(after), "frame numbers go on"
    assert "was moved away, a new one begins" in (out / "pipeline.log").read_text()


def test_a_stop_by_a_service_manager_leaves_a_summary(long_clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running(write_site(tmp_path, [str(long_clips[0])]), out) as run:
        until(lambda: len(named(out, "camera_up")) == 1, run)
        run.terminate()
        assert run.wait(timeout=60) == 0
    assert json.loads((out / "summary.json").read_text())["mode"] == "live"


def test_children_end_when_the_supervisor_is_killed(long_clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running(write_site(tmp_path, [str(clip) for clip in long_clips], AT_FIRST_SIGHT), out) as run:
        until(lambda: len(named(out, "assignment")) >= 1, run)
        children = psutil.Process(run.pid).children(recursive=True)
        os.kill(run.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


@pytest.mark.skipif(not has_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0, python3-gi and plugins")
def test_a_camera_that_goes_away_comes_back_while_the_other_goes_on(long_clips: list[Path], tmp_path: Path) -> None:
    out, port, secret = tmp_path / "out", free_port(), "s3cret-pass"
    url = f"rtsp://viewer:{secret}@127.0.0.1:{port}/0"
    with running(write_site(tmp_path, [url, str(long_clips[1])], AT_FIRST_SIGHT), out) as run:
        with rtsp_server(port, long_clips[:1]):
            until(lambda: any(one["camera"] == "cam1" for one in named(out, "camera_up")), run)
            until(lambda: (out / "tracks" / "cam1.txt").stat().st_size > 0, run)
        until(lambda: any(one["camera"] == "cam1" for one in named(out, "camera_down")), run)
        size = (out / "tracks" / "cam2.txt").stat().st_size
        until(lambda: (out / "tracks" / "cam2.txt").stat().st_size > size, run)
        with rtsp_server(port, long_clips[:1]):
            until(lambda: sum(one["camera"] == "cam1" for one in named(out, "camera_up")) == 2, run)
    output = (out / "pipeline.log").read_text() + (out / "events.jsonl").read_text()
    assert secret not in output
    assert json.loads((out / "summary.json").read_text())["cameras"]["cam1"]["reconnects"] >= 1
