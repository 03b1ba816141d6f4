"""What happens before the first frame where networks have to be built."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipeline.build import Wanted, prepare, site_networks
from pipeline.config import CameraConfig, DetectorConfig, ReidConfig, Site
from pipeline.embedder import DEFAULT_REID, SHIPPED_REID
from pipeline.errors import EngineFailure
from pipeline.processes import log_to
from tests.pipeline.networks import write_detector, write_reid


def site(detector: Path | str, reid: Path | str, backend: str = "onnxruntime") -> Site:
    return Site(
        cameras=(CameraConfig("a", "a.mp4"),),
        detector=DetectorConfig(model=str(detector), backend=backend),
        reid=ReidConfig(model=str(reid), backend=backend),
    )


def test_the_networks_of_a_site_are_its_detector_and_its_reid(tmp_path: Path) -> None:
    assert [one.path for one in site_networks(site("net.onnx", "default"))] == [Path("net.onnx"), DEFAULT_REID]
    assert site_networks(site("net.onnx", "mspf_x0_5"))[1].path == SHIPPED_REID["mspf_x0_5"]
    assert site_networks(site("net.onnx", "mine.onnx"))[1].path == Path("mine.onnx")


def test_the_networks_of_a_site_run_as_it_says() -> None:
    reid = ReidConfig(model="mine.onnx", backend="tensorrt", precision="f32")
    cameras = (CameraConfig("a", "a.mp4"),)
    networks = site_networks(Site(cameras, detector=DetectorConfig("net.onnx", backend="openvino"), reid=reid))
    assert networks == (Wanted(Path("net.onnx"), "openvino"), Wanted(Path("mine.onnx"), "tensorrt", "f32"))
    assert [one.on_cpu for one in networks] == [True, False]
    assert Wanted(Path("net.onnx"), "auto", "bf16").on_cpu


def test_networks_are_proven_before_a_worker_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(tmp_path))
    detector, reid = write_detector(tmp_path / "detector.onnx"), write_reid(tmp_path / "reid.onnx")
    prepare(site(detector, reid), partial(log_to, tmp_path / "pipeline.log", "prepare"))
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "passed").iterdir()) == ["detector", "reid"]
    assert "reid.onnx: proven on" in (tmp_path / "pipeline.log").read_text()


def test_a_network_that_does_not_load_fails_before_any_worker_starts(tmp_path: Path) -> None:
    with pytest.raises(EngineFailure, match="no such network file"):
        prepare(site(tmp_path / "none.onnx", "default"), partial(log_to, tmp_path / "pipeline.log", "prepare"))


def fail() -> None:
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (fail, "cannot be loaded: KeyError: 'no such thing'; pipeline.log"),
        (partial(signal.raise_signal, signal.SIGKILL), "ended from outside .exit status -9: "),
    ],
)
def test_a_mistake_in_the_process_that_loads_networks_and_its_end_from_outside_are_told_apart(
    happens: Callable[[], None], says: str
) -> None:
    with pytest.raises(EngineFailure, match=says):
        prepare(site("default", "default"), happens)


def test_ctrl_c_while_the_networks_are_loaded_leaves_no_word_and_no_process(tmp_path: Path) -> None:
    script = "import sys; from pipeline.__main__ import main; sys.argv[0] = 'mspf-pipeline'; main()"
    cams = tmp_path / "cams.yaml"
    cams.write_text("cameras: [{id: a, url: 'rtsp://127.0.0.1:9/none'}]\n")
    command = [sys.executable, "-c", script, "run", "--cams", str(cams), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "MSPF_PIPELINE_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=environment
    ) as run:
        while run.poll() is None and len(children := psutil.Process(run.pid).children(recursive=True)) < 2:
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGINT)
        said, _ = run.communicate(timeout=60)
    assert (run.returncode, said.strip()) == (130, "")
    assert not psutil.wait_procs(children, timeout=30)[1]
