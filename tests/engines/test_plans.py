"""Plans without a GPU: really built by TensorRT-RTX where it is installed, found again only under the same key."""

import importlib.util
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import engines
from engines import cache, plans
from engines.cuda import NO_GPU, DeviceArray, Gpu, on_device
from engines.plans import Plan, PlanKey, Profile
from engines.tensorrt_backend import FrequentShapes
from engines.tensorrt_builder import build, built_precision, plan_key, shapes

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="pip install 'mspf-pipeline[tensorrt-rtx]'"
)
HAS_DRIVER = Path("/proc/driver/nvidia").exists()
KEY = PlanKey("a1", "tensorrt", "10.3", "f16", Gpu("H200", "9.0", "580"), 64)


def keep(key: PlanKey, folder: Path, content: bytes = b"plan") -> Plan:
    place = plans.plan_path("net", key, folder)
    plan = Plan(place, key, cache.sha256_of(content), 3, 1.0, len(content), {"kind": "toy"})
    plans.write(plan, content)
    return plan


def test_a_plan_is_found_again_with_its_facts(tmp_path: Path) -> None:
    plan = keep(KEY, tmp_path)
    assert plans.find("net", KEY, tmp_path) == plan
    assert plan.path.read_bytes() == b"plan"


@pytest.mark.parametrize(
    "other",
    [
        {"network": "b2"},
        {"flavour": "tensorrt-rtx"},
        {"version": "10.4"},
        {"precision": "f32"},
        {"gpu": Gpu("H200", "9.0", "590")},
        {"gpu": Gpu("L4", "8.9", "580")},
        {"recipe": 0},
    ],
)
def test_a_plan_for_anything_else_is_not_found(tmp_path: Path, other: dict[str, object]) -> None:
    keep(replace(KEY, **other), tmp_path)
    assert plans.find("net", KEY, tmp_path) is None
    assert plans.find_any_batch("net", KEY, tmp_path) is None


def test_another_largest_batch_is_found_only_by_who_does_not_care(tmp_path: Path) -> None:
    of_one, of_eight = (keep(replace(KEY, max_batch=largest), tmp_path) for largest in (1, 8))
    assert plans.find("net", KEY, tmp_path) is None
    assert plans.find_any_batch("net", KEY, tmp_path) == of_eight
    of_eight.path.unlink()
    assert plans.find_any_batch("net", KEY, tmp_path) == of_one


def test_a_plan_that_was_cut_short_or_altered_is_not_trusted(tmp_path: Path) -> None:
    plan = keep(KEY, tmp_path)
    plan.path.write_bytes(b"pla")
    assert plans.find("net", KEY, tmp_path) is None
    plans.facts_path(plan.path).write_text("{")
    assert plans.find("net", KEY, tmp_path) is None


def test_profiles_cover_every_batch_once() -> None:
    for largest in (1, 3, 8, 9, 64):
        ranges = plans.profiles(largest)
        held = [batch for one in ranges for batch in range(one.smallest, one.largest + 1)]
        assert held == list(range(1, largest + 1))
        assert all(one.smallest <= one.best <= one.largest for one in ranges)
        for batch in held:
            one = ranges[plans.profile_for(ranges, batch)]
            assert one.smallest <= batch <= one.largest


def test_open_sides_of_a_picture_get_a_range_and_fixed_ones_stay() -> None:
    batches = Profile(1, 4, 8)
    assert shapes((-1, 3, 256, 128), batches, 640) == ((1, 3, 256, 128), (4, 3, 256, 128), (8, 3, 256, 128))
    assert shapes((-1, 3, -1, -1), batches, 640) == ((1, 3, 64, 64), (4, 3, 384, 640), (8, 3, 640, 640))
    assert shapes((2, 3, 8, 8), batches, 640) == ((2, 3, 8, 8),) * 3


def test_a_shape_becomes_frequent_once_and_only_so_many_do() -> None:
    frequent = FrequentShapes(after=2, most=1)
    assert [frequent.now(((1,),)) for _ in range(4)] == [False, True, False, False]
    assert not any(frequent.now(((2,),)) for _ in range(4))


class OnGpu:
    """What torch, cupy and numba say of an array on the GPU."""

    def __init__(self, strides: tuple[int, ...] | None = None) -> None:
        self.__cuda_array_interface__ = {
            "shape": (4, 3), "typestr": "<f4", "data": (1000, False), "strides": strides, "version": 3, "stream": 7,
        }  # fmt: skip


def test_an_array_on_the_gpu_is_taken_where_it_lies() -> None:
    array = on_device(OnGpu())
    assert array == DeviceArray(1000, (4, 3), np.dtype(np.float32), 7)
    assert array[1:3] == DeviceArray(1012, (2, 3), np.dtype(np.float32), 7)
    assert array[2:9].nbytes == 24
    assert on_device(np.zeros(3)) is None


def test_an_array_on_the_gpu_with_gaps_is_refused() -> None:
    with pytest.raises(engines.EngineError, match="pass a contiguous one"):
        on_device(OnGpu(strides=(24, 4)))


@pytest.mark.skipif(HAS_DRIVER, reason="there is an NVIDIA driver")
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_without_a_gpu_the_message_says_so(network: Path, backend: str) -> None:
    with pytest.raises(engines.EngineError, match="no NVIDIA driver here; set backend auto"):
        engines.load(network, backend)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="it is installed")
def test_a_flavour_that_is_not_installed_says_what_to_install(network: Path) -> None:
    with pytest.raises(engines.EngineError, match=r"pip install 'mspf-pipeline\[tensorrt\]'"):
        plan_key(network, "tensorrt", "f16")


def test_a_precision_that_the_file_does_not_hold_is_refused(network: Path, tmp_path: Path) -> None:
    quantised = write_quantised(tmp_path / "int8.onnx")
    assert built_precision(quantised, "auto") == built_precision(quantised, "int8") == "int8"
    assert built_precision(network, "auto") == "f16"
    for path, precision, says in (
        (network, "int8", "it is not quantised"),
        (quantised, "f16", "it is quantised to int8 and cannot be built in f16"),
        (network, "bf16", "TensorRT builds auto, f32, f16, int8, not bf16"),
    ):
        with pytest.raises(engines.EngineError, match=says):
            built_precision(path, precision)


@needs_rtx
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_a_plan_is_built_for_real_and_kept(precision: str, network: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    key = plan_key(network, "tensorrt-rtx", precision, max_batch=16)
    plan = build(network, key, tmp_path, lambda phase, done, of: steps.append(phase))
    assert plan.size == plan.path.stat().st_size > 1000
    assert plan.layers >= 3
    assert plan.metadata == {"kind": "toy"}
    assert plan.key.gpu == NO_GPU or plan.key.gpu.sm
    assert steps
    steps.clear()
    assert build(network, key, tmp_path, lambda phase, done, of: steps.append(phase)) == plan
    assert not steps  # taken from the cache


@needs_rtx
def test_two_builders_at_once_build_one_plan(network: Path, tmp_path: Path) -> None:
    key, built = plan_key(network, "tensorrt-rtx", "f32", max_batch=2), []
    threads = [threading.Thread(target=lambda: built.append(build(network, key, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built[0] == built[1]
    assert len(list(tmp_path.glob("plans/*.plan"))) == 1
    assert not list(tmp_path.glob("plans/*.part"))


@needs_rtx
def test_a_quantised_network_is_built_in_int8(tmp_path: Path) -> None:
    path = write_quantised(tmp_path / "int8.onnx")
    assert build(path, plan_key(path, "tensorrt-rtx", "auto", 4), tmp_path).key.precision == "int8"


@needs_rtx
@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"zero_point": 3}, "Non-zero zero point is not supported"), ({"integer_bias": True}, "Invalid Node")],
)
def test_a_quantised_network_that_tensorrt_rejects_is_rejected_in_one_line(
    tmp_path: Path, wrong: dict[str, object], says: str
) -> None:
    path = write_quantised(tmp_path / "int8.onnx", **wrong)
    with pytest.raises(engines.EngineError, match=f"int8.onnx: tensorrt-rtx does not take it: .*{says}") as caught:
        build(path, plan_key(path, "tensorrt-rtx", "int8", 4), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("plans/*.plan"))


def weights_elsewhere(network: Path, folder: Path) -> Path:
    """The same network with its weights in a file beside it, as torch's exporter writes large ones."""
    path, model = folder / "net.onnx", onnx.load(network)
    onnx.save(model, path, save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    return path


@needs_rtx
def test_other_weights_in_another_file_make_another_plan(network: Path, tmp_path: Path) -> None:
    path = weights_elsewhere(network, tmp_path)
    first = build(path, plan_key(path, "tensorrt-rtx", "f32", 2), tmp_path)
    with (tmp_path / "net.onnx.data").open("r+b") as file:
        file.write(np.full(6, 7, np.float32).tobytes())
    assert build(path, plan_key(path, "tensorrt-rtx", "f32", 2), tmp_path).path != first.path


def test_weights_that_are_missing_are_named(network: Path, tmp_path: Path) -> None:
    path = weights_elsewhere(network, tmp_path)
    assert cache.network_sha256(path) != cache.sha256(path)
    assert cache.network_sha256(network) == cache.sha256(network)
    named = onnx.load(network)
    onnx.helper.set_model_props(named, {"location": "Berlin"})  # which leads nowhere
    onnx.save(named, tmp_path / "berlin.onnx")
    assert cache.network_sha256(tmp_path / "berlin.onnx") == cache.sha256(tmp_path / "berlin.onnx")
    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(engines.EngineError, match=r"its weights in .*net.onnx.data: No such file .*; put that file"):
        cache.network_sha256(path)


@needs_rtx
def test_what_is_no_network_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no network at all")
    with pytest.raises(engines.EngineError, match=r"net\.onnx: tensorrt-rtx does not take it"):
        build(path, plan_key(path, "tensorrt-rtx", "f32"), tmp_path)


@needs_rtx
@pytest.mark.gpu
@pytest.mark.skipif(not HAS_DRIVER, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_a_gpu_gives_what_the_cpu_gives(precision: str, network: Path) -> None:
    engine = engines.load(network, "tensorrt-rtx", precision)
    cpu = engines.load(network, "onnxruntime")
    for batch in (1, 3, 64, 100, 3, 3, 3, 3):
        pictures = np.random.default_rng(batch).random((batch, 3, 4, 5), np.float32)
        np.testing.assert_allclose(engine(pictures)[0], cpu(pictures)[0], rtol=1e-2)


def write_quantised(path: Path, zero_point: int = 0, integer_bias: bool = False) -> Path:
    """A quantised convolution (N, 4, 8, 8) -> (N, 8, 6, 6)."""
    node, rng = helper.make_node, np.random.default_rng(0)
    constants = {
        "scale": np.float32(0.02), "zero": np.int8(zero_point), "scales": np.full(8, 0.02, np.float32),
        "zeros": np.zeros(8, np.int8), "weights_q": rng.integers(-127, 127, (8, 4, 3, 3)).astype(np.int8),
        "bias": np.ones(8, np.float32), "bias_q": np.ones(8, np.int32), "no_zeros": np.zeros(8, np.int32),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["images", "scale", "zero"], ["images_q"]),
        node("DequantizeLinear", ["images_q", "scale", "zero"], ["pictures"]),
        node("DequantizeLinear", ["weights_q", "scales", "zeros"], ["weights"], axis=0),
    ]
    bias = "bias"
    if integer_bias:
        nodes.append(node("DequantizeLinear", ["bias_q", "scales", "no_zeros"], ["bias_f"], axis=0))
        bias = "bias_f"
    nodes.append(node("Conv", ["pictures", "weights", bias], ["maps"]))
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", 8, 6, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
