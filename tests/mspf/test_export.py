"""The exported file says what it is and computes what torch computes, on every back end and batch size."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import engines
from mspf.export import RunTimeNetwork, export_onnx, metadata
from mspf.network import MSPF, MSPFConfig
from mspf.training import normalise
from mspf.weights import weights_sha256

SIZE_HW = (128, 64)


@pytest.fixture(scope="module")
def network() -> MSPF:
    torch.manual_seed(0)
    return MSPF(MSPFConfig(width=0.25, pool_first=True, unit_branches=True)).eval()


@pytest.fixture(scope="module")
def exported(network: MSPF, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "mspf.onnx"
    export_onnx(network, path, SIZE_HW, metadata(network, SIZE_HW, "nothing"))
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_exported_network_agrees_with_torch_at_any_batch(network: MSPF, exported: Path, backend: str) -> None:
    engine = engines.load(exported, backend=backend, precision="f32")
    for batch in (1, 3, 16):
        images = np.random.default_rng(batch).uniform(0, 255, (batch, 3, *SIZE_HW)).astype(np.float32)
        (rows,) = engine(images)
        with torch.inference_mode():
            expected = RunTimeNetwork(network)(torch.from_numpy(images)).numpy()
        assert rows.shape == (batch, 512)
        assert (rows * expected).sum(1).min() >= 0.99999


def test_the_file_says_what_it_is(network: MSPF, exported: Path) -> None:
    engine = engines.load(exported)

    assert [spec.name for spec in (*engine.inputs, *engine.outputs)] == ["images", "embeddings"]
    facts = engine.metadata
    assert (facts["kind"], facts["channel_order"], facts["value_range"]) == ("reid", "RGB", "0..255")
    assert (facts["input_height"], facts["input_width"], facts["descriptor_length"]) == ("128", "64", "512")
    assert facts["weights_sha256"] == weights_sha256(network)


def test_the_graph_has_folded_norms_global_pools_one_gate_a_block_and_named_patch_batches(exported: Path) -> None:
    graph = onnx.load(exported).graph
    count = Counter(node.op_type for node in graph.node)

    assert count["BatchNormalization"] <= 2  # the necks, which follow no convolution
    assert count["GlobalAveragePool"] == 3 * 24
    assert count["Sigmoid"] == 3 * 6 + 2  # one gate a block, and the attention's two
    assert count["Split"] == 3 * 6 + 1  # and f_G from f_M
    assert not count["Slice"]
    shapes = [[n.dim_value or n.dim_param for n in value.type.tensor_type.shape.dim] for value in graph.value_info]
    assert sorted(shape[1:] for shape in shapes) == [[3, 64, 32], [3, 64, 64]]
    assert all(isinstance(shape[0], str) for shape in shapes)


def test_normalisation_in_the_graph_is_that_of_training() -> None:
    images = torch.rand(2, 3, 4, 5) * 255
    seen = RunTimeNetwork(nn.Identity())(images)  # what a network would see
    torch.testing.assert_close(seen, normalise(images), rtol=1e-5, atol=1e-6)
