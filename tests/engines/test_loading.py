import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import engines
from engines.loading import BACKENDS, Backend, version


def test_auto_takes_the_first_back_end_that_is_installed(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.load(network).backend == "openvino"
    monkeypatch.setitem(BACKENDS, "openvino", Backend("engines.not_installed", "openvino", (".onnx",)))
    assert engines.load(network).backend == "onnxruntime"


def test_a_back_end_that_is_not_installed_says_what_to_install(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "openvino", Backend("engines.not_installed", "openvino", (".onnx",)))
    with pytest.raises(engines.EngineError, match="no back end for it is installed; pip install openvino"):
        engines.load(network, "openvino")


def test_another_kind_of_file_goes_to_the_back_end_that_runs_it(
    tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "other", Backend("engines.onnxruntime_backend", "other", (".plan",)))
    plan = network.rename(tmp_path / "net.plan")
    assert engines.load(plan).backend == "onnxruntime"
    with pytest.raises(engines.EngineError, match=r"does not run \.plan files"):
        engines.load(plan, "openvino")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"backend": "cuda"},
            "backend 'cuda' is unknown; choose one of auto, tensorrt, tensorrt-rtx, openvino, onnxruntime",
        ),
        ({"precision": "int3"}, "precision 'int3' is unknown; choose one of auto, f32, bf16, f16"),
        ({"threads": -1}, "threads is -1; give a positive number, or 0 for all cores"),
    ],
)
def test_unknown_settings_name_the_choices(settings: dict[str, object], says: str, network: Path) -> None:
    with pytest.raises(engines.EngineError, match=says):
        engines.load(network, **settings)  # type: ignore[arg-type]


def test_a_missing_file_and_another_kind_of_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(engines.EngineError, match="no such network file; check the path"):
        engines.load(tmp_path / "none.onnx")
    with pytest.raises(engines.EngineError, match=r"does not run .pt files; give \['.onnx'\]"):
        engines.load(tmp_path / "net.pt")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "tensorrt-rtx"])
def test_the_version_of_a_back_end_is_known_where_it_is_installed(name: str) -> None:
    package = BACKENDS[name].package or BACKENDS[name].requires
    if find_spec(package.replace("-", "_")):
        assert version(package)[0].isdigit()


def test_importing_engines_imports_no_back_end() -> None:
    heavy = "{'openvino', 'onnxruntime', 'torch', 'tensorrt', 'tensorrt_rtx', 'cuda'}"
    subprocess.run([sys.executable, "-c", f"import engines, sys; assert not {heavy} & set(sys.modules)"], check=True)


def load(path: Path, precision: str, threads: int) -> engines.Engine:
    """A back end that is there, but takes no network."""
    raise engines.EngineError(f"{path.name}: operator Conv is not supported")


def test_auto_passes_over_a_back_end_that_does_not_take_the_network_and_says_so(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(BACKENDS, "openvino", Backend(__name__, "openvino", (".onnx",)))
    assert engines.load(network).backend == "onnxruntime"
    assert "tiny.onnx: not on openvino: tiny.onnx: operator Conv is not supported" in caplog.text
    with pytest.raises(engines.EngineError, match="operator Conv is not supported"):
        engines.load(network, "openvino")
