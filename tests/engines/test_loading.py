import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

import engines
from engines import quickest
from engines.gate import GateError
from engines.loading import BACKENDS, Backend, version


def test_auto_takes_the_quickest_that_is_installed(
    network: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(quickest, "measured", lambda engines, inputs: {"openvino": 2.0, "onnxruntime": 1.0})
    assert engines.load(network).backend == "onnxruntime"
    monkeypatch.setitem(BACKENDS, "onnxruntime", Backend("engines.not_installed", "onnxruntime", (".onnx",)))
    assert engines.load(network).backend == "openvino"


def test_the_quickest_is_measured_once_and_serves_from_then_on(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(tmp_path / "cache"))
    with caplog.at_level("INFO"):
        chosen = engines.load(network).backend
    assert f"tiny.onnx: {chosen} serves, measured once (core ms an image: openvino " in caplog.text
    (place,) = (tmp_path / "cache" / "quickest").glob("*.json")
    other = "openvino" if chosen == "onnxruntime" else "onnxruntime"
    place.write_text(place.read_text().replace(f'"backend": "{chosen}"', f'"backend": "{other}"'))
    assert engines.load(network).backend == other


def test_a_precision_that_disagreed_is_not_tried_again_once_f32_is_known_to_serve(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(BACKENDS, "openvino", Backend(__name__, "openvino", (".onnx",), "load_halting"))
    monkeypatch.setattr(quickest, "measured", lambda engines, inputs: {"openvino": 1.0, "onnxruntime": 2.0})
    for tries in (1, 0):
        caplog.clear()
        with caplog.at_level("INFO"):
            assert engines.load(network).precision == "f32"
        assert caplog.text.count("disagrees with ONNX Runtime in f32") == tries


def test_a_cache_that_cannot_be_written_leaves_the_first_back_end(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(network / "no folder"))
    monkeypatch.setattr(quickest, "measured", lambda engines, inputs: {"openvino": 2.0, "onnxruntime": 1.0})
    assert engines.load(network).backend == "openvino"


@pytest.mark.parametrize(("onnxruntime_ms", "serves"), [(1.0, "onnxruntime"), (2.1, "onnxruntime"), (3.0, "openvino")])
def test_of_nearly_equal_back_ends_the_last_serves(onnxruntime_ms: float, serves: str) -> None:
    assert quickest.best({"openvino": 2.0, "onnxruntime": onnxruntime_ms}) == serves


def test_core_time_is_measured_for_each_image(network: Path) -> None:
    loaded = {name: engines.load(network, name) for name in ("openvino", "onnxruntime")}
    times_ms = quickest.measured(loaded, np.zeros((2, 3, 4, 5), np.float32))
    assert list(times_ms) == list(loaded)
    assert min(times_ms.values()) > 0


class Counting:
    """A back end that remembers the sizes of its batches."""

    def __init__(self, engine: engines.Engine) -> None:
        self.inputs, self.sizes = engine.inputs, list[int]()

    def __call__(self, *batch: engines.Array) -> tuple[engines.Array, ...]:
        self.sizes.append(len(batch[0]))
        return ()


def test_the_size_of_a_batch_changes_from_call_to_call_as_in_a_run(network: Path, network_of_two: Path) -> None:
    free, fixed = (Counting(engines.load(path, "onnxruntime")) for path in (network, network_of_two))
    quickest.measured({"free": free, "fixed": fixed}, np.zeros((2, 3, 4, 5), np.float32))
    assert free.sizes == [3, 5] * (quickest.ROUNDS + 1)
    assert set(fixed.sizes) == {2}


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
        engines.load(network, **settings)


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


class Halting:
    """A back end that gives no more than zeros."""

    name, backend, precision = "tiny.onnx", "openvino", "bf16"

    def __init__(self, engine: engines.Engine) -> None:
        self.inputs, self.outputs, self.metadata = engine.inputs, engine.outputs, engine.metadata

    def __call__(self, *batch: engines.Array) -> tuple[engines.Array, ...]:
        return (np.zeros((len(batch[0]), 2), np.float32),)


def load_halting(path: Path, precision: str, threads: int) -> engines.Engine:
    """Right in f32 alone."""
    engine = engines.load(path, "onnxruntime", threads=threads, proven=False)
    return engine if precision == "f32" else Halting(engine)


def load_lossy(path: Path, precision: str, threads: int) -> engines.Engine:
    """Finds while it starts that float16 loses too much, as TensorRT does before it builds."""
    if precision == "auto":
        raise GateError(f"{path.name} in f16 disagrees")
    return engines.load(path, "onnxruntime", threads=threads, proven=False)


def test_a_start_that_disagrees_is_tried_in_f32(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(BACKENDS, "tensorrt", Backend(__name__, "tensorrt", (".onnx",), "load_lossy", on_gpu=True))
    with caplog.at_level("INFO"):
        assert engines.load(network, "tensorrt").precision == "f32"
    assert "tiny.onnx in f16 disagrees" in caplog.text


def test_a_network_that_nobody_can_prove_does_not_serve(tmp_path: Path) -> None:
    two = onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, ["n", 2])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in ("a", "sum")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["a", "b"], ["sum"])], "g", [ends[0], two], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "sum.onnx")
    with pytest.raises(
        engines.EngineError, match=r"sum.onnx: cannot be proven, and so does not serve: it has no sum.golden.npz"
    ):
        engines.load(tmp_path / "sum.onnx", "onnxruntime")
    assert engines.load(tmp_path / "sum.onnx", "onnxruntime", proven=False).backend == "onnxruntime"


def test_auto_passes_over_a_back_end_that_does_not_take_the_network_and_says_so(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(tmp_path / "cache"))  # where nobody knows which is the quickest
    monkeypatch.setitem(BACKENDS, "openvino", Backend(__name__, "openvino", (".onnx",)))
    assert engines.load(network).backend == "onnxruntime"
    assert "tiny.onnx: not on openvino: tiny.onnx: operator Conv is not supported" in caplog.text
    with pytest.raises(engines.EngineError, match="operator Conv is not supported"):
        engines.load(network, "openvino")


def test_what_no_back_end_reads_is_told_once_with_the_reason_of_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(engines.EngineError, match=r"openvino: .*text\.onnx: .*; onnxruntime: .*export it again"):
        engines.load(tmp_path / "text.onnx")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
