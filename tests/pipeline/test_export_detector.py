"""A tiny ultralytics network, made from its YAML without any download, through the real exporter."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import engines
from engines.gate import golden_path, read_golden
from engines.tensorrt_builder import build, plan_key
from pipeline.config import DetectorConfig
from pipeline.detector import Detector
from pipeline.errors import ConfigError, EngineFailure
from pipeline.export_detector import DEFAULT_DETECTOR, export, resolve_detector
from pipeline.pictures import example_pictures
from tests.pipeline.networks import write_pt


@pytest.fixture(scope="module", params=[True, False], ids=["nms-free", "raw"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pt(tmp_path_factory.mktemp("weights") / "tiny.pt", request.param)


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
    assert {path for path in cache.iterdir() if path.is_file()} == {exported, golden_path(exported)}


def test_the_reference_of_an_export_is_what_torch_computes(weights: Path, cache: Path) -> None:
    from ultralytics.models import YOLO

    golden = read_golden(golden_path(resolve_detector(str(weights))))
    network = YOLO(str(weights), task="detect").model.eval()
    network.end2end = golden.compare == "boxes"
    with torch.no_grad():
        rows, _ = network(torch.from_numpy(golden.inputs))
    assert golden.inputs.shape == (2, 3, 384, 640)
    np.testing.assert_array_equal(golden.outputs, rows.numpy())


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="pip install 'mspf-pipeline[tensorrt-rtx]'")
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_a_pt_becomes_a_tensorrt_plan(weights: Path, cache: Path, precision: str) -> None:
    exported = resolve_detector(str(weights))
    plan = build(exported, plan_key(exported, "tensorrt-rtx", precision, max_batch=4), cache, examples=example_pictures)
    assert plan.path.stat().st_size == plan.size
    assert plan.key.precision == precision


def test_an_export_that_computes_something_else_does_not_serve(tmp_path: Path, cache: Path) -> None:
    right, wrong = (write_pt(tmp_path / f"{bias}.pt", nms_free=False, bias=bias) for bias in (1, 30))
    exported = resolve_detector(str(right))
    export(wrong, exported)
    with pytest.raises(EngineFailure, match=r"disagrees with 1-.*\.golden\.npz"):
        Detector.load(DetectorConfig(model=str(right)))


def test_an_export_without_its_reference_is_made_again(weights: Path, cache: Path) -> None:
    exported = resolve_detector(str(weights))
    golden_path(exported).unlink()
    assert resolve_detector(str(weights)) == exported
    assert golden_path(exported).is_file()


def test_half_stored_weights_compute_the_same_and_carry_the_facts(weights: Path, tmp_path: Path) -> None:
    export(weights, tmp_path / "full.onnx", 128)
    export(weights, tmp_path / "half.onnx", 128, {"kind": "detector"})
    full, half = (engines.load(tmp_path / name, precision="f32") for name in ("full.onnx", "half.onnx"))
    assert half.metadata["kind"] == "detector"
    assert len(half.metadata["weights_sha256"]) == 64
    assert half.metadata["imgsz"] == "[128, 128]"
    images = np.random.default_rng(0).random((3, 3, 160, 160), np.float32)
    found = [network(images)[0] for network in (full, half)]
    if found[0].shape[2] == 6:  # the best, of which many of an untrained network are equal: in any order
        found = [np.sort(one[:, :, 4]) for one in found]
    np.testing.assert_allclose(*found, rtol=0.01, atol=0.02 if found[0].ndim == 3 else 0)


def test_a_name_that_was_fetched_before_needs_no_network(cache: Path) -> None:
    cache.mkdir()
    write_pt(cache / "yolo26n.pt", nms_free=True)
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
