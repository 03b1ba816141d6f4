"""Copies in fewer bits say what they are, stay near their source, and are what TensorRT and both CPU back ends take."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import engines
from engines.precision import dense_convolutions, to_float16, to_int8, unfold_halved_weights

RNG = np.random.default_rng(0)
BATCHES = [RNG.random((2, 16, 6, 6), np.float32) for _ in range(3)]


def array(name: str, *shape: int, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(RNG.standard_normal(shape).astype(dtype), name)


@pytest.fixture
def separable(tmp_path: Path) -> Path:
    """A dense convolution with weights stored as float16, a depthwise one, a dense one, and two on the map's mean."""
    nodes = [
        helper.make_node("Cast", ["stored"], ["first"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["images", "first", "bias"], ["a"], name="dense1"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], name="depthwise", group=16, pads=[1] * 4),
        helper.make_node("Conv", ["c", "last"], ["d"], name="dense2"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "squeeze"], ["f"], name="gate1"),
        helper.make_node("Conv", ["f", "excite"], ["g"], name="gate2"),
        helper.make_node("Flatten", ["g"], ["rows"]),
    ]
    weights = [array("stored", 16, 16, 1, 1, dtype=np.float16), array("bias", 16), array("depthwise", 16, 1, 3, 3)]
    graph = helper.make_graph(
        nodes,
        "separable",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 16, 6, 6])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", 32])],
        [*weights, array("last", 32, 16, 1, 1), array("squeeze", 4, 32, 1, 1), array("excite", 32, 4, 1, 1)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"kind": "toy"})
    onnx.save(model, path := tmp_path / "net.onnx")
    return path


def worst_cosine(one: engines.Array, other: engines.Array) -> float:
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(("precision", "least"), [("f16", 0.9999), ("int8", 0.99)])
def test_a_copy_stays_near_its_source_and_says_what_it_is(
    backend: str, precision: str, least: float, separable: Path, tmp_path: Path
) -> None:
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
    assert sorted({values[node.input[1]].size for node in nodes}) == [1, 16, 32]
    assert values["bias"].dtype == np.float32
    assert values["depthwise"].dtype == np.float32


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
def test_what_is_no_network_or_quantised_already_is_one_clear_line(write, separable: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
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
