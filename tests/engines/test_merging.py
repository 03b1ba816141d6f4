"""Gates with the same weights become one operator each, and the network computes the same."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.merging import merge_gates

RNG = np.random.default_rng(0)
SHAPES = {"first": (4, 4, 3, 3), "second": (4, 4, 1, 1), "narrow": (2, 4, 1, 1), "wide": (4, 2, 1, 1)}


def gated(branch: str, image: str, weights: str = "") -> list[onnx.NodeProto]:
    """A convolution of the image, weighted by channel."""
    return [
        helper.make_node("Conv", [image, branch], [f"{branch}_map"], name=f"{branch}_conv", auto_pad="SAME_UPPER"),
        helper.make_node("GlobalAveragePool", [f"{branch}_map"], [f"{branch}_mean"]),
        helper.make_node("Conv", [f"{branch}_mean", f"{weights}narrow"], [f"{branch}_a"], name=f"{branch}_squeeze"),
        helper.make_node("Relu", [f"{branch}_a"], [f"{branch}_b"]),
        helper.make_node("Conv", [f"{branch}_b", f"{weights}wide"], [f"{branch}_c"], name=f"{branch}_excite"),
        helper.make_node("Sigmoid", [f"{branch}_c"], [f"{branch}_gate"]),
        helper.make_node("Mul", [f"{branch}_map", f"{branch}_gate"], [f"{branch}_out"]),
    ]


def network(*branches: list[onnx.NodeProto]) -> onnx.ModelProto:
    """The branches, added."""
    nodes = [node for branch in branches for node in branch]
    nodes.append(helper.make_node("Add", ["first_out", "second_out"], ["maps"]))
    tensor = ["batch", 4, 5, 3]
    weights = {f"{kind}{name}": shape for kind in ("", "other ") for name, shape in SHAPES.items()}
    graph = helper.make_graph(
        nodes,
        "gates",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, tensor) for name in ("images", "more")],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, tensor)],
        [
            numpy_helper.from_array(RNG.standard_normal(shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(model: onnx.ModelProto) -> np.ndarray:
    inputs = {name: np.random.default_rng(1).random((3, 4, 5, 3), np.float32) for name in ("images", "more")}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def test_one_gate_for_maps_of_one_tensor_computes_the_same() -> None:
    model = network(gated("first", "images"), gated("second", "images"))
    before = run(model)
    merge_gates(model.graph)
    onnx.checker.check_model(model)
    assert Counter(node.op_type for node in model.graph.node)["Sigmoid"] == 1
    np.testing.assert_allclose(run(model), before, rtol=1e-5)


@pytest.mark.parametrize(("image", "weights"), [("more", ""), ("images", "other ")])
def test_gates_of_other_weights_or_other_pictures_stay(image: str, weights: str) -> None:
    model = network(gated("first", "images"), gated("second", image, weights))
    nodes = [node.output[0] for node in model.graph.node]
    merge_gates(model.graph)
    assert [node.output[0] for node in model.graph.node] == nodes
