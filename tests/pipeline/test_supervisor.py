"""What the supervisor concludes from the reports of the processes, and that it leaves none of them behind."""

from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from pipeline import processes, supervisor
from pipeline.config import CameraConfig, Site
from pipeline.datatypes import Position
from pipeline.job import start_deaf
from pipeline.processes import ProcessSpec
from pipeline.supervisor import Course, Supervisor
from tests.fakes import ask_to_stop


def test_a_camera_never_heard_of_begins_after_what_is_there():
    assert Course(70).position() == Position(index=70, first=70)


def test_a_camera_goes_on_at_the_pace_of_its_last_reports():
    course = Course(100)
    for second in range(20):
        course.hear(100 + 30 * min(second, 10) + 10 * max(0, second - 10), float(second))
    position = course.position()
    assert (position.index, position.at, position.first) == (490, 19.0, 100)
    assert position.fps == pytest.approx(10.0)
    assert position.index_at(19.0) == 490
    assert position.index_at(21.05) == 511


def test_a_camera_that_was_silent_or_heard_of_once_goes_on_with_the_next_number():
    silent, once = Course(0), Course(0)
    once.hear(5, 1.0)
    for second in range(6):
        silent.hear(40, float(second))
    assert (silent.position().index_at(60.0), once.position().index_at(60.0)) == (40, 5)


@pytest.mark.parametrize("runs", [True, False])
def test_a_stop_while_the_first_process_starts_leaves_none(
    runs: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    started = []

    def start_and_interrupt(process: BaseProcess) -> None:
        started.append(process)
        if runs:
            process.start()
        ask_to_stop()

    monkeypatch.setattr(supervisor, "start_deaf", start_and_interrupt)
    summary = Supervisor(Site(cameras=(CameraConfig("a", "a.mp4"),)), tmp_path).run()
    (process,) = started
    assert not process.is_alive()
    assert (summary.restarts, summary.cameras["a"].frames, caplog.messages) == (0, 0, ["stopping"])


def test_a_process_that_hangs_is_killed_and_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    started = []

    def start(process: BaseProcess) -> None:
        started.append(process)
        start_deaf(process)

    def stop_when_started_again(*_: object) -> None:
        if len(started) == 2:
            ask_to_stop()

    monkeypatch.setattr(supervisor, "start_deaf", start)
    monkeypatch.setattr(supervisor, "_SILENT_S", 0.5)
    monkeypatch.setattr(supervisor, "_FIRST_REPORT_S", 1.0)
    monkeypatch.setattr(supervisor, "_BACKOFF_S", (0.0,))
    monkeypatch.setattr(
        processes, "process_table", lambda job: [ProcessSpec("worker-0", "tests.pipeline.hanging", job)]
    )
    site = Site(cameras=(CameraConfig("a", "a.mp4"),))
    summary = Supervisor(site, tmp_path, seconds=30.0, on_progress=stop_when_started_again).run()
    assert (summary.restarts, len(started)) == (1, 2)
    assert not any(process.is_alive() for process in started)
    assert caplog.messages[0].startswith("worker-0: silent for ")
    assert "worker-0: died (exit status -9), starting again" in caplog.messages
