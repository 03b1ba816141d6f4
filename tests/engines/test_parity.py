"""Both back ends against torch on the real network: MSPF x0.25, random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

import engines
from mspf.export import RunTimeNetwork, export_onnx
from mspf.network import MSPF, MSPFConfig

SIZE_HW = (128, 64)


@pytest.fixture(scope="module")
def network() -> MSPF:
    torch.manual_seed(1)
    return MSPF(MSPFConfig(width=0.25)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def path(network: MSPF, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mspf") / "mspf.onnx"
    export_onnx(network, path, SIZE_HW, {"kind": "reid"})
    return path


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_back_end_agrees_with_torch(backend: str, batch: int, network: MSPF, path: Path) -> None:
    images = np.random.default_rng(batch).uniform(0, 255, (batch, 3, *SIZE_HW)).astype(np.float32)
    (rows,) = engines.load(path, backend, precision="f32")(images)
    expected = RunTimeNetwork(network)(torch.from_numpy(images)).numpy()
    assert rows.shape == expected.shape
    assert (rows * expected).sum(1).min() >= 0.999
