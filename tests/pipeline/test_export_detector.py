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


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_a_pt_is_exported_once_and_detects(weights: Path, cache_dir: Path) -> None:
    detector = Detector.load(DetectorConfig(model=str(weights), min_score=0.0), cache_dir)
    pictures = [np.zeros((360, 640, 3), np.uint8), np.full((480, 640, 3), 200, np.uint8)]
    assert len(detector.detect(pictures)) == 2
    exported = resolve_detector(str(weights), cache_dir)
    written = exported.stat().st_mtime_ns
    assert resolve_detector(str(weights), cache_dir) == exported
    assert exported.stat().st_mtime_ns == written
    assert [path.suffix for path in cache_dir.iterdir()].count(".onnx") == len(list(cache_dir.iterdir()))


def test_half_stored_weights_compute_the_same_and_carry_the_facts(weights: Path, tmp_path: Path) -> None:
    export(weights, tmp_path / "full.onnx", 128)
    export(weights, tmp_path / "half.onnx", 128, {"kind": "detector"})
    full, half = (engines.load(tmp_path / name, precision="f32") for name in ("full.onnx", "half.onnx"))
    assert half.metadata["kind"] == "detector"
    assert len(half.metadata["weights_sha256"]) == 64
    assert half.metadata["imgsz"] == "[128, 128]"
    images = np.random.default_rng(0).random((3, 3, 160, 160), np.float32)
    np.testing.assert_allclose(full(images)[0][:, 4], half(images)[0][:, 4], atol=0.02)


def test_a_name_that_was_fetched_before_needs_no_network(tmp_path: Path) -> None:
    make_weights(tmp_path / "yolo26n.pt", nms_free=True)
    assert resolve_detector("yolo26n.pt", tmp_path).name.startswith("yolo26n-")


def test_default_is_the_shipped_file_and_an_onnx_is_itself(tmp_path: Path) -> None:
    assert resolve_detector("default", tmp_path) == DEFAULT_DETECTOR
    assert resolve_detector("nets/mine.onnx", tmp_path) == Path("nets/mine.onnx")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("yolo11n", "'yolo11n' is neither 'default', an .onnx file nor an ultralytics .pt"),
        ("nowhere/yolo11n.pt", "nowhere/yolo11n.pt does not exist; check the path"),
    ],
)
def test_a_model_that_cannot_be_found_is_named(model: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"detector.model: {says}"):
        resolve_detector(model, tmp_path)


def test_a_pt_that_is_none_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"ultralytics cannot export .*broken.pt"):
        resolve_detector(str(broken), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("cache", "says"),
    [("file", r"cannot export .*tiny.pt into .*file"), ("~nobody-here/x", "no folder ~nobody-here/x")],
)
def test_a_folder_for_exports_that_cannot_be_used_is_one_clear_error(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(ConfigError, match=f"detector.model: {says}"):
        resolve_detector(str(weights), Path(cache))


def test_without_ultralytics_a_pt_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    (tmp_path / "net.pt").touch()
    with pytest.raises(ConfigError, match=r'pip install "mspf-pipeline\[ultralytics\]"'):
        resolve_detector(str(tmp_path / "net.pt"), tmp_path)
