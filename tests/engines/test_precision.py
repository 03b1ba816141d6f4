"""Copies in fewer bits say what they are, stay near their source, and are what TensorRT and both CPU back ends take."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import engines
from engines.precision import dense_convolutions, to_float16, to_int8, unfold_halved_weights
from engines.tensorrt_builder import build, plan_key

RNG = np.random.default_rng(0)
BATCHES = [RNG.random((2, 32, 6, 6), np.float32) for _ in range(3)]


def array(name: str, *shape: int, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(RNG.standard_normal(shape).astype(dtype), name)


@pytest.fixture
def separable(tmp_path: Path) -> Path:
    """A dense convolution with weights stored as float16, a depthwise one, a dense one, and two on the map's mean."""
    nodes = [
        helper.make_node("Cast", ["stored"], ["first"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["images", "first", "bias"], ["a"], name="dense1"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], name="depthwise", group=32, pads=[1] * 4),
        helper.make_node("Conv", ["c", "last"], ["d"], name="dense2"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "squeeze"], ["f"], name="gate1"),
        helper.make_node("Conv", ["f", "excite"], ["g"], name="gate2"),
        helper.make_node("Flatten", ["g"], ["rows"]),
    ]
    weights = [array("stored", 32, 32, 1, 1, dtype=np.float16), array("bias", 32), array("depthwise", 32, 1, 3, 3)]
    graph = helper.make_graph(
        nodes,
        "separable",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 32, 6, 6])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", 48])],
        [*weights, array("last", 48, 32, 1, 1), array("squeeze", 4, 48, 1, 1), array("excite", 48, 4, 1, 1)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"kind": "toy"})
    onnx.save(model, path := tmp_path / "net.onnx")
    return path


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    """A dense convolution of the inputs, joined with the inputs themselves; a second one reads both."""
    nodes = [
        helper.make_node("Conv", ["images", "first"], ["a"], name="first"),
        helper.make_node("Concat", ["a", "images"], ["b"], axis=1),
        helper.make_node("Conv", ["b", "second"], ["maps"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "joined",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 32, 6, 6])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["batch", 32, 6, 6])],
        [array("first", 32, 32, 1, 1), array("second", 32, 64, 1, 1)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path := tmp_path / "j.onnx"
    )
    return path


def openvino_saturates(folder: Path) -> bool:
    """Whether OpenVINO cuts sums of two int8 products at 16 bits, as it does on CPUs without VNNI."""
    codes = np.full((1, 64, 1, 1), 127, np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "one", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["a", "one", "zero"], ["b"]),
        helper.make_node("DequantizeLinear", ["codes", "one", "zero"], ["c"]),
        helper.make_node("Conv", ["b", "c"], ["sums"]),
    ]
    constants = {"one": np.float32(1), "zero": np.int8(0), "codes": codes}
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 64, 2, 2])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path := folder / "sums.onnx")
    sums = engines.load(path, "openvino", "f32", proven=False)(np.full((1, 64, 2, 2), 127, np.float32))[0]
    return bool(np.abs(sums - 64 * 127 * 127).max() > 1)


@pytest.fixture(scope="session")
def exact_openvino(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where OpenVINO's int8 sums are cut: the gate decides there, network by network, what may serve."""
    if openvino_saturates(tmp_path_factory.mktemp("sums")):
        pytest.skip("OpenVINO cuts int8 sums at 16 bits on this CPU, which has no VNNI")


def worst_cosine(one: engines.Array, other: engines.Array) -> float:
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(("precision", "least"), [("f16", 0.9999), ("int8", 0.99)])
def test_a_copy_stays_near_its_source_and_says_what_it_is(
    backend: str, precision: str, least: float, separable: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if (backend, precision) == ("openvino", "int8"):
        request.getfixturevalue("exact_openvino")
    out = tmp_path / "copy.onnx"
    if precision == "int8":
        to_int8(separable, out, BATCHES)
    else:
        to_float16(separable, out)
    copy, source = (engines.load(path, backend, proven=False) for path in (out, separable))
    assert copy.metadata == {"kind": "toy", "precision": precision}
    assert (copy.inputs, copy.outputs) == (source.inputs, source.outputs)
    assert worst_cosine(copy(BATCHES[0])[0], source(BATCHES[0])[0]) >= least
    if precision == "int8":
        assert copy.precision == "int8"


def test_int8_is_symmetric_with_float_biases_and_a_scale_for_every_output_channel(
    separable: Path, tmp_path: Path
) -> None:
    assert to_int8(separable, tmp_path / "copy.onnx", BATCHES) == 2
    graph = onnx.load(tmp_path / "copy.onnx").graph
    values = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(values[node.input[2]].dtype == np.int8 and not values[node.input[2]].any() for node in nodes)
    assert sorted({values[node.input[1]].size for node in nodes}) == [1, 32, 48]
    assert values["bias"].dtype == np.float32
    assert values["depthwise"].dtype == np.float32


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.usefixtures("exact_openvino")
def test_the_negative_half_survives_a_concat_in_both_back_ends(joined: Path, tmp_path: Path, symmetric: bool) -> None:
    batches = [batch - np.float32(0.5) for batch in BATCHES]
    to_int8(joined, tmp_path / "copy.onnx", batches, symmetric=symmetric)
    copy = tmp_path / "copy.onnx"
    runs = [(joined, "onnxruntime"), (copy, "onnxruntime"), (copy, "openvino")]
    rows = [engines.load(*run, "f32", proven=False)(batches[0])[0].reshape(2, -1) for run in runs]
    assert worst_cosine(rows[0], rows[1]) >= 0.999
    np.testing.assert_allclose(rows[1], rows[2], atol=1e-4)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="pip install 'mspf-pipeline[tensorrt-rtx]'"
)
def test_tensorrt_takes_int8_that_is_joined_but_not_without_symmetry(joined: Path, tmp_path: Path) -> None:
    to_int8(joined, even := tmp_path / "even.onnx", BATCHES)
    assert build(even, plan_key(even, "tensorrt-rtx", "auto", 4), tmp_path).key.precision == "int8"
    to_int8(joined, uneven := tmp_path / "uneven.onnx", [batch - 1 for batch in BATCHES], symmetric=False)
    with pytest.raises(engines.EngineError, match="Non-zero zero point is not supported"):
        build(uneven, plan_key(uneven, "tensorrt-rtx", "auto", 4), tmp_path)


def test_without_symmetry_int8_uses_all_numbers_for_the_range_there_is(separable: Path, tmp_path: Path) -> None:
    to_int8(separable, tmp_path / "copy.onnx", BATCHES, symmetric=False)
    graph = onnx.load(tmp_path / "copy.onnx").graph
    values = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    assert values["images_zero"] == 0
    assert values["images_zero"].dtype == np.uint8
    assert values["images_scale"] == pytest.approx(1 / 255, rel=0.01)
    assert values["first_zero"].dtype == np.int8


def test_what_is_kept_in_float_stays_so(separable: Path, tmp_path: Path) -> None:
    model = onnx.load(separable)
    unfold_halved_weights(model.graph)
    assert dense_convolutions(model) == ["dense1", "dense2"]
    assert to_int8(separable, tmp_path / "copy.onnx", BATCHES, ["dense2"]) == 1
    with pytest.raises(engines.EngineError, match=r"net\.onnx: no convolution left to quantise"):
        to_int8(separable, tmp_path / "copy.onnx", BATCHES, ["dense1", "dense2"])


def test_the_reference_of_the_source_stands_beside_the_copy(separable: Path, tmp_path: Path) -> None:
    separable.with_suffix(".golden.npz").write_bytes(b"reference")
    to_float16(separable, tmp_path / "copy.onnx")
    assert (tmp_path / "copy.golden.npz").read_bytes() == b"reference"


@pytest.mark.parametrize("write", [to_float16, lambda path, out: to_int8(path, out, BATCHES)])
def test_what_is_no_network_or_quantised_already_is_one_clear_line(write, separable: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network at all")
    with pytest.raises(engines.EngineError, match=r"broken\.onnx: not .* export it again"):
        write(broken, tmp_path / "copy.onnx")
    to_int8(separable, tmp_path / "int8.onnx", BATCHES)
    with pytest.raises(engines.EngineError, match=r"int8\.onnx: it is quantised already; give the float32 network"):
        write(tmp_path / "int8.onnx", tmp_path / "copy.onnx")


def test_the_beginning_of_a_name_keeps_all_that_begin_so_in_float(separable: Path, tmp_path: Path) -> None:
    with pytest.raises(engines.EngineError, match="no convolution left to quantise"):
        to_int8(separable, tmp_path / "copy.onnx", BATCHES, ["dense"])


def test_weights_that_are_cast_twice_become_float_in_both_places(separable: Path) -> None:
    graph = onnx.load(separable).graph
    graph.node.insert(1, helper.make_node("Cast", ["stored"], ["again"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Conv", ["images", "again"], ["second"], name="dense3"))
    graph.output.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, ["batch", 32, 6, 6]))
    unfold_halved_weights(graph)
    values = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    assert "Cast" not in {node.op_type for node in graph.node}
    assert "stored" not in values
    assert values["first"].dtype == np.float32
    np.testing.assert_array_equal(values["first"], values["again"])


def test_weights_that_only_a_branch_reads_stay(separable: Path) -> None:
    graph = onnx.load(separable).graph
    branch = helper.make_graph(
        [helper.make_node("Identity", ["last"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [48, 32, 1, 1])],
    )
    graph.input.append(helper.make_tensor_value_info("whether", TensorProto.BOOL, []))
    graph.node.insert(0, helper.make_node("If", ["whether"], ["weights"], then_branch=branch, else_branch=branch))
    next(node for node in graph.node if node.name == "dense2").input[1] = "weights"
    unfold_halved_weights(graph)
    assert "last" in {weight.name for weight in graph.initializer}


def test_an_opset_without_scales_by_channel_says_so(separable: Path, tmp_path: Path) -> None:
    model = onnx.load(separable)
    model.opset_import[0].version = 12
    onnx.save(model, separable)
    with pytest.raises(engines.EngineError, match=r"opset 12 has no int8 by channel; export it with opset 13"):
        to_int8(separable, tmp_path / "copy.onnx", BATCHES)
