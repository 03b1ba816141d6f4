"""The command line: help with an example, and one line and exit status 2 for what the user can mend."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner

from engines import cuda, plans
from pipeline import cli
from pipeline.cli import app, console, main
from pipeline.results import CameraSummary, Summary
from tests.pipeline.networks import write_detector, write_reid

COMMANDS = ["run", "merge", "regroup", "visits", "people", "find", "simulate", "evaluate", "build", "check"]


def test_the_help_names_every_command():
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert sorted(command.callback.__name__ for command in app.registered_commands) == sorted(COMMANDS)
    assert all(f"\n  {command} " in shown.output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_an_example(command):
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert f"Example: mspf-pipeline {command} " in " ".join(shown.output.split())


def test_the_help_of_the_script_that_builds_plans_is_that_of_the_command():
    script = Path(__file__).parents[2] / "scripts" / "build_trt.py"
    shown = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert "Usage: mspf-pipeline build [OPTIONS] " in shown.stdout


def run(monkeypatch, capsys, *arguments):
    """Exit status, standard output and standard error of the program."""
    monkeypatch.setattr(sys, "argv", ["mspf-pipeline", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def site(folder, text):
    path = folder / "cams.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cameras: [{id: a, ulr: a.mp4}]", "unknown key 'cameras[0].ulr'; did you mean 'url'?"),
        ("cameras: []", "length >= 1"),
        ("cameras: [{id: a, url: '${NOT_SET_ANYWHERE}'}]", "${NOT_SET_ANYWHERE} is not set"),
        (":\n:", "not valid YAML"),
    ],
)
def test_a_wrong_site_is_one_line_and_exit_status_2(monkeypatch, capsys, tmp_path, command, text, says):
    status, out, err = run(monkeypatch, capsys, command, "--cams", site(tmp_path, text))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err


def test_a_stream_cannot_be_replayed(monkeypatch, capsys, tmp_path):
    path = site(tmp_path, "cameras: [{id: a, url: a.mp4}, {id: b, url: 'rtsp://h/1'}]")
    status, _, err = run(monkeypatch, capsys, "run", "--cams", path, "--replay")
    assert (status, err) == (2, "--replay needs files; b can only run --live\n")


def test_a_replay_does_not_pass_over_a_time_limit(monkeypatch, capsys, tmp_path):
    path = site(tmp_path, "cameras: [{id: a, url: a.mp4}]")
    status, _, err = run(monkeypatch, capsys, "run", "--cams", path, "--seconds", 5)
    assert (status, err) == (2, "--seconds 5 stops a live run, this one replays files; add --live\n")


def test_a_detector_that_is_none_is_told_before_any_process_starts(monkeypatch, capsys, tmp_path):
    path = site(tmp_path, "cameras: [{id: a, url: a.mp4}]\ndetector: {model: yolo.weights}")
    status, out, err = run(monkeypatch, capsys, "run", "--cams", path, "--out", tmp_path / "out", "--live")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "'yolo.weights' is neither 'default'" in err


def test_nothing_to_build_is_one_line(monkeypatch, capsys):
    status, _, err = run(monkeypatch, capsys, "build")
    assert (status, err) == (2, "nothing to build; give network files, or --cams cams.yaml\n")


def test_a_plan_that_cannot_be_built_is_one_line(monkeypatch, capsys, tmp_path):
    for arguments, says in (
        (["net.onnx"], "net.onnx: no such network file; check the path"),
        (["net.onnx", "--backend", "openvino"], "no such network file"),
        (["net.weights"], "'net.weights' is neither 'default'"),
    ):
        status, out, err = run(monkeypatch, capsys, "build", *arguments)
        assert (status, out.strip(), err.count("\n")) == (2, "", 1)
        assert says in err


def test_a_plan_is_built_and_shown(monkeypatch, capsys, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", "")  # put back afterwards what --engine-dir sets
    network = write_reid(tmp_path / "net.onnx")
    options = ("--precision", "f16", "--engine-dir", tmp_path, "--backend", "tensorrt-rtx")
    status, out, _ = run(monkeypatch, capsys, "build", network, *options)
    assert status == 0
    assert " net " in out
    assert "f16" in out
    assert len(list(tmp_path.glob("plans/*.plan"))) == 1
    has_gpu = cuda.gpu_or_none() != cuda.NO_GPU
    assert ("runs find them with MSPF_PIPELINE_CACHE=" in out) is has_gpu
    assert ("plans that were not timed on a GPU are for trying only" in out) is not has_gpu


def test_a_site_s_own_settings_say_what_is_built(monkeypatch, capsys, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", "")
    reid, detector = write_reid(tmp_path / "reid.onnx"), write_detector(tmp_path / "detector.onnx")
    settings = f"reid: {{model: {reid}, backend: tensorrt-rtx, precision: f32}}\ndetector: {{model: {detector}"
    cams = site(tmp_path, f"cameras: [{{id: a, url: a.mp4}}]\n{settings}, backend: openvino}}")
    status, out, _ = run(monkeypatch, capsys, "build", "--cams", cams, "--engine-dir", tmp_path)
    assert status == 0
    assert "detector.onnx: nothing to build, the site runs it on a CPU (backend openvino, precision auto)\n" in out
    assert [plans.read(path).key.precision for path in tmp_path.glob("plans/*.plan")] == ["f32"]


def test_a_site_on_cpus_has_nothing_to_build(monkeypatch, capsys, tmp_path):
    status, out, err = run(monkeypatch, capsys, "build", "--cams", broken_site(tmp_path))
    says = "nothing to build, the site runs it on a CPU (backend onnxruntime, precision auto)"
    assert (status, out, err) == (0, f"detector.onnx: {says}\nreid.onnx: {says}\n", "")


def test_brackets_in_a_path_are_shown_as_they_are():
    with console.capture() as shown:
        console.print("clips[bold]/[/x].mp4")
    assert shown.get() == "clips[bold]/[/x].mp4\n"


def test_a_run_directory_that_cannot_be_made_is_one_line(monkeypatch, capsys, tmp_path):
    path = site(tmp_path, "cameras: [{id: a, url: a.mp4}]")
    status, _, err = run(monkeypatch, capsys, "run", "--cams", path, "--out", path / "out")
    assert status == 2
    assert err == f"{path / 'out'}: cannot make the run directory: Not a directory; give another --out\n"


@pytest.mark.parametrize("command", [("run", "--cams", "cams.yaml"), ("simulate",)])
def test_an_empty_folder_name_is_not_taken_for_the_working_folder(monkeypatch, capsys, command):
    status, _, err = run(monkeypatch, capsys, *command, "--out", "")
    assert (status, err) == (2, "--out is empty; give a folder\n")


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ("1080p", "--size '1080p' is no size; give width and height, as in 1920x1080"),
        ("1920x", "--size '1920x' is no size; give width and height, as in 1920x1080"),
        ("-64x64", "--size '-64x64' is no size; give width and height, as in 1920x1080"),
        ("640x361", "size: 361 is odd; H.264 needs an even width and height"),
    ],
)
def test_a_size_that_is_none_is_one_clear_line(monkeypatch, capsys, tmp_path, size, says):
    status, _, err = run(monkeypatch, capsys, "simulate", "--out", tmp_path / "site", "--size", size)
    assert (status, err) == (2, f"{says}\n")


def test_a_site_is_rendered_in_the_size_asked_for(monkeypatch, capsys, tmp_path):
    few = ("--cameras", "1", "--people", "1", "--seconds", "0.2", "--size", "320x180")
    status, _, _ = run(monkeypatch, capsys, "simulate", "--out", tmp_path, *few)
    assert status == 0
    with av.open(tmp_path / "cam1.mp4") as clip:
        assert (clip.streams.video[0].width, clip.streams.video[0].height) == (320, 180)


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "--version")
    assert (status, out) == (0, f"mspf-pipeline {version('mspf-pipeline')}\n")


def test_evaluating_what_is_no_run_is_one_line(monkeypatch, capsys, tmp_path):
    status, out, err = run(monkeypatch, capsys, "evaluate", tmp_path, "--truth", tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "files are named <camera id>.txt" in err


def test_truth_that_is_not_there_is_told_before_the_run(monkeypatch, capsys, tmp_path):
    path = site(tmp_path, "cameras: [{id: a, url: a.mp4}]\ntruth: nowhere")
    status, _, err = run(monkeypatch, capsys, "run", "--cams", path, "--out", tmp_path / "out")
    assert status == 2
    assert err == f"{path}: truth: no folder {tmp_path / 'nowhere'}; give one with a MOT file for each camera\n"
    assert not (tmp_path / "out").exists()


def test_scores_of_a_run_are_shown_and_written(monkeypatch, capsys, tmp_path):
    (tmp_path / "tracks").mkdir()
    (tmp_path / "truth").mkdir()
    for folder in ("tracks", "truth"):
        (tmp_path / folder / "a.txt").write_text("1,1,0,0,10,20,1,-1,-1\n")
    status, out, _ = run(monkeypatch, capsys, "evaluate", tmp_path, "--truth", tmp_path / "truth")
    assert status == 0
    assert "IDF1" in out
    assert "1.000" in out
    assert '"idf1": 1.0' in (tmp_path / "evaluation.json").read_text()


def test_merging_what_is_no_run_is_one_line(monkeypatch, capsys, tmp_path):
    status, out, err = run(monkeypatch, capsys, "merge", tmp_path / "none")
    assert (status, out) == (2, "")
    assert err == f"{tmp_path / 'none' / 'tracks'}: no <camera id>.txt there; give a run directory\n"


def test_merged_tracks_are_written_beside_those_of_the_run(monkeypatch, capsys, tmp_path):
    (tmp_path / "tracks").mkdir()
    (tmp_path / "tracks" / "a.txt").write_text("1,2,0,0,10,20,1,-1,-1,-1\n2,3,0,0,10,20,1,-1,-1,-1\n")
    (tmp_path / "events.jsonl").write_text('{"at":1.0,"event":"merge","identity":1,"replaces":2,"similarity":0.9}\n')
    status, out, _ = run(monkeypatch, capsys, "merge", tmp_path)
    assert status == 0
    assert "a: 2 boxes, 1 of them under another identity than before" in out
    got = (tmp_path / "tracks_merged" / "a.txt").read_text()
    assert got == "1,1,0,0,10,20,1,-1,-1,-1\n2,3,0,0,10,20,1,-1,-1,-1\n"


def test_visits_are_shown_and_written_beside_the_events(monkeypatch, capsys, tmp_path):
    track = '"camera":"{}","epoch":0,"track":1,"identity":4'
    events = [
        *(f'"event":"assignment","at":1,{track.format(one)},"new":false' for one in ("door", "hall", "yard")),
        '"event":"confirmed","identity":4',
        f'"event":"track_ended",{track.format("door")},"since":0.5,"until":6',
        f'"event":"track_ended",{track.format("hall")},"since":8.5,"until":9.5',
        f'"event":"track_ended",{track.format("yard")},"since":9,"until":11',
    ]
    (tmp_path / "events.jsonl").write_text("".join(f"{{{event}}}\n" for event in events))
    status, out, _ = run(monkeypatch, capsys, "visits", tmp_path)
    assert status == 0
    assert "people 1, visits 3" in out
    assert re.search(r"door +1 +1 +5\.5 *\n +hall +1 +1 +1\.0", out)
    assert re.search(r"door +hall +1 +2\.5 *\n +hall +yard +1 +at once", out)
    assert out.endswith(f"wrote {tmp_path / 'visits.csv'}\n")
    rows = "4,door,0.500,6.000,5.500,,\n4,hall,8.500,9.500,1.000,,\n4,yard,9.000,11.000,2.000,,\n"
    assert (tmp_path / "visits.csv").read_text() == "identity,camera,since,until,seconds,since_utc,until_utc\n" + rows


def test_visits_of_nobody_are_a_table_without_rows(monkeypatch, capsys, tmp_path):
    (tmp_path / "events.jsonl").touch()
    status, out, _ = run(monkeypatch, capsys, "visits", tmp_path, "--out", tmp_path / "none.csv")
    assert (status, "people 0, visits 0" in out, "from" in out) == (0, True, False)
    assert (tmp_path / "none.csv").read_text() == "identity,camera,since,until,seconds,since_utc,until_utc\n"


@pytest.mark.parametrize("command", ["visits", "people"])
@pytest.mark.parametrize("away", ["-1", "nan"])
def test_who_is_away_for_no_length_of_time_is_one_clear_line(monkeypatch, capsys, tmp_path, away, command):
    (tmp_path / "events.jsonl").touch()
    status, _, err = run(monkeypatch, capsys, command, tmp_path, "--away", away)
    assert (status, err) == (2, f"--away {away} is no length of time; give 0 or more\n")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_what_is_no_length_of_time_is_one_clear_line(monkeypatch, capsys, tmp_path, seconds):
    cams = site(tmp_path, "cameras: [{id: a, url: a.mp4}]")
    status, _, err = run(monkeypatch, capsys, "run", "--cams", cams, "--live", "--seconds", seconds)
    assert (status, err.count("\n")) == (2, 1)
    assert "is no length of time" in err


def broken_site(folder):
    reid, detector = write_reid(folder / "reid.onnx"), write_detector(folder / "detector.onnx")
    (folder / "a.mp4").touch()
    nets = f"detector: {{model: {detector}, backend: onnxruntime}}\nreid: {{model: {reid}, backend: onnxruntime}}"
    return site(folder, f"cameras: [{{id: a, url: a.mp4}}]\n{nets}")


@pytest.mark.parametrize("mode", ["--replay", "--live"])
def test_a_run_that_saw_nothing_fails_after_its_summary(monkeypatch, capfd, tmp_path, mode):
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(tmp_path / "cache"))
    status, out, err = run(monkeypatch, capfd, "run", "--cams", broken_site(tmp_path), "--out", tmp_path / "out", mode)
    assert status == 2
    assert "identities   0" in out
    assert "problem" in out
    assert "cannot open: not a video" in " ".join(out.split())
    assert "a.mp4" in err
    assert err.endswith(" s; the lines above, if any, say why\n")
    assert (tmp_path / "out" / "summary.json").is_file()


def test_a_live_run_that_saw_nothing_leaves_the_summary_of_the_one_before(monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text("of before")
    command = ("run", "--cams", broken_site(tmp_path), "--out", tmp_path / "out", "--live")
    assert run(monkeypatch, capfd, *command)[0] == 2
    assert (tmp_path / "out" / "summary.json").read_text() == "of before"


def test_a_run_that_saw_nothing_is_not_scored(monkeypatch, capsys, tmp_path):
    cams = broken_site(tmp_path)
    (tmp_path / "truth").mkdir()
    cams.write_text(f"truth: truth\n{cams.read_text()}")
    status, _, err = run(monkeypatch, capsys, "run", "--cams", cams, "--out", tmp_path / "out")
    assert status == 2
    assert "no camera delivered a frame" in err
    assert "truth" not in err


def test_a_summary_that_cannot_be_written_is_shown(monkeypatch, capsys, tmp_path):
    (tmp_path / "out" / "summary.json.part").mkdir(parents=True)
    status, out, err = run(monkeypatch, capsys, "run", "--cams", broken_site(tmp_path), "--out", tmp_path / "out")
    assert status == 2
    assert "identities   0" in out
    assert "summary.json: cannot write" in err


def test_an_empty_folder_name_is_refused_by_merge_too(monkeypatch, capsys, tmp_path):
    status, _, err = run(monkeypatch, capsys, "merge", tmp_path, "--out", "")
    assert (status, err) == (2, "--out is empty; give a folder\n")


def test_a_replay_that_was_stopped_is_not_scored_and_ends_with_130(monkeypatch, capsys, tmp_path):
    (tmp_path / "truth").mkdir()
    camera = CameraSummary(1, 1.0, 0, 1, 1, 0, {})
    stopped = Summary("replay", 1, 1.0, 1.0, {"a": camera}, {}, 1.0, interrupted=True)
    monkeypatch.setattr(cli, "_replay", lambda *_, **__: stopped)
    cams = site(tmp_path, "cameras: [{id: a, url: a.mp4}]\ntruth: truth")
    status, out, err = run(monkeypatch, capsys, "run", "--cams", cams, "--out", tmp_path / "out")
    assert (status, err) == (130, "")
    assert "IDF1" not in out
