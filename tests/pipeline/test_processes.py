"""The process table, and what each process must not load."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import processes
from pipeline.config import CameraConfig, Site
from pipeline.errors import StoreError
from pipeline.job import Addresses, Job
from pipeline.processes import FAILED, ProcessSpec, RunLog, log_to, process_table
from tests.pipeline.disk import full_disk


def job(count, per_worker, *, video=False):
    cameras = tuple(CameraConfig(f"c{number}", f"{number}.mp4") for number in range(count))
    site = Site(cameras=cameras, cameras_per_worker=per_worker)
    return Job(site, Path("out"), Addresses("t", "i", "m", "v"), cameras, video=video)


@pytest.mark.parametrize(
    ("count", "per_worker", "shares"),
    [
        (1, 4, [["c0"]]),
        (4, 4, [["c0", "c1", "c2", "c3"]]),
        (3, 1, [["c0"], ["c1"], ["c2"]]),
        (3, 2, [["c0", "c1"], ["c2"]]),
    ],
)
def test_every_camera_has_one_worker_and_no_worker_more_than_its_share(count, per_worker, shares):
    given = job(count, per_worker)
    matcher, *workers = process_table(given)
    assert given.site.workers == len(workers)
    assert (matcher.name, len(matcher.job.cameras)) == ("matcher", count)
    assert [[camera.id for camera in one.job.cameras] for one in workers] == shares
    assert [one.name for one in workers] == [f"worker-{number}" for number in range(len(shares))]
    assert [one.job.number for one in workers] == list(range(len(shares)))


def test_the_mosaic_is_a_process_only_when_asked_for():
    assert [one.name for one in process_table(job(1, 1))] == ["matcher", "worker-0"]
    assert [one.name for one in process_table(job(1, 1, video=True))] == ["matcher", "mosaic", "worker-0"]


@pytest.mark.parametrize(("error", "status"), [(StoreError, FAILED), (OSError, 1)])
def test_a_process_says_by_its_exit_status_whether_a_restart_may_help(monkeypatch, caplog, error, status):
    def fail(job):
        raise error("what is wrong")

    monkeypatch.setitem(sys.modules, "a_loop", SimpleNamespace(run=fail))
    monkeypatch.setattr(processes, "log_to", lambda *_: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        processes.main(ProcessSpec("matcher", "a_loop", job(1, 1)))
    assert caught.value.code == status
    assert "what is wrong" in caplog.text


TRAINING = "torch torchvision ultralytics onnx matplotlib moderngl"
NETWORKS = "openvino onnxruntime tensorrt"


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("pipeline.replay pipeline.cli pipeline.live_worker pipeline.live_mosaic", f"{TRAINING} {NETWORKS}"),
        ("pipeline.live_matcher pipeline.supervisor", f"{TRAINING} {NETWORKS} cv2 av trackers supervision"),
        ("pipeline pipeline.processes", f"{TRAINING} {NETWORKS} cv2 av trackers supervision scipy"),
    ],
)
def test_importing_a_process_loads_nothing_it_does_not_need(modules, forbidden):
    script = (
        "import importlib, sys\n"
        f"for name in {modules.split()!r}: importlib.import_module(name)\n"
        f"print(*sorted(set({forbidden.split()!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.split() == []


def test_a_process_is_deaf_to_ctrl_c_from_its_first_moment_on_and_its_starter_is_not():
    script = (  # in a process of its own: after the tests of engines SIGINT ends this one with a crash
        "import multiprocessing, os, signal, sys\n"
        "from pipeline.job import start_deaf\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "process = multiprocessing.get_context('spawn').Process(target=signal.raise_signal, args=(signal.SIGINT,))\n"
        "start_deaf(process)\n"
        "os.kill(process.pid, signal.SIGINT)\n"
        "process.join()\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: print('child', process.exitcode, 'starter heard it')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "child 0 starter heard it\n"


def test_a_log_that_cannot_be_opened_is_one_clear_error(tmp_path):
    with pytest.raises(StoreError, match="cannot write"):
        log_to(tmp_path, "supervisor")


def test_a_log_that_is_moved_away_begins_anew_and_one_that_cannot_be_made_harms_nobody(tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    log = RunLog(folder / "pipeline.log")
    log.handle(logging.makeLogRecord({"msg": "one"}))
    (folder / "pipeline.log").rename(tmp_path / "yesterday.log")
    log.handle(logging.makeLogRecord({"msg": "two"}))
    assert [(tmp_path / "yesterday.log").read_text(), (folder / "pipeline.log").read_text()] == ["one\n", "two\n"]
    folder.rename(tmp_path / "elsewhere")
    for _ in range(2):
        log.handle(logging.makeLogRecord({"msg": "nowhere"}))
    (tmp_path / "elsewhere").rename(folder)
    log.handle(logging.makeLogRecord({"msg": "three"}))
    log.close()
    assert (folder / "pipeline.log").read_text() == "two\nthree\n"
    assert capsys.readouterr().err == ""


def test_a_log_that_is_deleted_from_a_full_disk_begins_anew(tmp_path, capsys):
    path = tmp_path / "pipeline.log"
    log = RunLog(path)
    with full_disk(0):
        log.handle(logging.makeLogRecord({"msg": "one"}))
        path.unlink()
        log.handle(logging.makeLogRecord({"msg": "two"}))
    log.handle(logging.makeLogRecord({"msg": "three"}))
    log.close()
    assert path.read_text() == "two\nthree\n"
    assert capsys.readouterr().err == ""


def test_a_full_disk_delays_the_log_without_a_traceback(tmp_path, capsys):
    log, path = RunLog(tmp_path / "pipeline.log"), tmp_path / "pipeline.log"
    with full_disk(0):
        log.handle(logging.makeLogRecord({"msg": "one"}))
    log.handle(logging.makeLogRecord({"msg": "two"}))
    log.close()
    assert capsys.readouterr().err == ""
    assert path.read_text() == "one\ntwo\n"
