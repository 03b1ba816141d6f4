"""Tiny networks as ONNX files."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def write_network(path: Path, batch: int | str) -> Path:
    """A 1x1 convolution from 3 to 2 channels and the mean over the picture: (N, 3, 4, 5) -> (N, 2)."""
    weights = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1), "weights")
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 4, 5])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, [batch, 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"kind": "toy"})
    onnx.save(model, path)
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Of any batch size."""
    return write_network(tmp_path / "tiny.onnx", "batch")


@pytest.fixture
def network_of_two(tmp_path: Path) -> Path:
    """Of batch size 2 only."""
    return write_network(tmp_path / "two.onnx", 2)
