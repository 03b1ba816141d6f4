"""A tiny ultralytics network, made from its YAML without any download, through the real exporter."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import engines
from pipeline.config import DetectorConfig
from pipeline.detector import Detector
from pipeline.errors import ConfigError
from pipeline.export_detector import DEFAULT_DETECTOR, export, resolve_detector

LAYERS = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 4]], *[[-1, 1, "Conv", [8, 3, 2]]] * 2]


def make_weights(path: Path, nms_free: bool) -> Path:
    """A .pt of a few thousand parameters, with ultralytics' NMS-free head or its raw one."""
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
    from ultralytics.models import YOLO

    network = {
        "nc": 2,
        "end2end": nms_free,
        "reg_max": 1,
        "backbone": LAYERS,
        "head": [[[1, 2, 3], 1, "Detect", ["nc"]]],
    }
    architecture = path.with_suffix(".yaml")
    architecture.write_text(yaml.safe_dump(network))
    model = YOLO(str(architecture), task="detect")
    model.model.names = {0: "person", 1: "dog"}
    model.save(str(path))
    return path


@pytest.fixture(scope="module", params=[True, False], ids=["nms-free", "raw"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights") / "tiny.pt", request.param)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new folder for exports, where the user's variable says."""
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_pt_is_exported_once_into_the_cache_and_detects(weights: Path, cache: Path) -> None:
    detector = Detector.load(DetectorConfig(model=str(weights), min_score=0.0))
    pictures = [np.zeros((360, 640, 3), np.uint8), np.full((480, 640, 3), 200, np.uint8)]
    assert len(detector.detect(pictures)) == 2
    exported = resolve_detector(str(weights))
    written = exported.stat().st_mtime_ns
    assert resolve_detector(str(weights)) == exported
    assert exported.stat().st_mtime_ns == written
    assert [path for path in cache.iterdir() if path.is_file()] == [exported]


def test_half_stored_weights_compute_the_same_and_carry_the_facts(weights: Path, tmp_path: Path) -> None:
    export(weights, tmp_path / "full.onnx", 128)
    export(weights, tmp_path / "half.onnx", 128, {"kind": "detector"})
    full, half = (engines.load(tmp_path / name, precision="f32") for name in ("full.onnx", "half.onnx"))
    assert half.metadata["kind"] == "detector"
    assert len(half.metadata["weights_sha256"]) == 64
    assert half.metadata["imgsz"] == "[128, 128]"
    images = np.random.default_rng(0).random((3, 3, 160, 160), np.float32)
    np.testing.assert_allclose(full(images)[0][:, 4], half(images)[0][:, 4], atol=0.02)


def test_a_name_that_was_fetched_before_needs_no_network(cache: Path) -> None:
    cache.mkdir()
    make_weights(cache / "yolo26n.pt", nms_free=True)
    assert resolve_detector("yolo26n.pt").name.startswith("yolo26n-")


def test_default_is_the_shipped_file_and_an_onnx_is_itself() -> None:
    assert resolve_detector("default") == DEFAULT_DETECTOR
    assert resolve_detector("nets/mine.onnx") == Path("nets/mine.onnx")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("yolo11n", "'yolo11n' is neither 'default', an .onnx file nor an ultralytics .pt"),
        ("nowhere/yolo11n.pt", "nowhere/yolo11n.pt does not exist; check the path"),
    ],
)
def test_a_model_that_cannot_be_found_is_named(model: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"detector.model: {says}"):
        resolve_detector(model)


def test_a_pt_that_is_none_is_named(tmp_path: Path, cache: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"ultralytics cannot export .*broken.pt"):
        resolve_detector(str(broken))
    assert list(cache.iterdir()) == []


def test_a_folder_for_exports_that_cannot_be_used_is_one_clear_error(weights: Path, cache: Path) -> None:
    cache.touch()
    with pytest.raises(
        ConfigError, match=r"detector.model: cannot export .*tiny.pt: .*cache.*; set MSPF_PIPELINE_CACHE"
    ):
        resolve_detector(str(weights))


def test_without_a_home_directory_the_folder_for_exports_is_asked_for(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-here/x")
    with pytest.raises(ConfigError, match=r"detector.model: no home directory .*; set MSPF_PIPELINE_CACHE to a folder"):
        resolve_detector(str(weights))


def test_without_ultralytics_a_pt_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    (tmp_path / "net.pt").touch()
    with pytest.raises(ConfigError, match=r'pip install "mspf-pipeline\[ultralytics\]"'):
        resolve_detector(str(tmp_path / "net.pt"))
