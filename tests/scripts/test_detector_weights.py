"""An exported detector becomes a network that can be trained on, and still computes what the export does."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from ultralytics.nn.tasks import DetectionModel

import engines
from engines.gate import read_golden
from pipeline.export_detector import DEFAULT_DETECTOR


@pytest.fixture(scope="module")
def detector_weights(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("detector_weights")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.from_numpy(read_golden(DEFAULT_DETECTOR.with_suffix(".golden.npz")).inputs)


@pytest.fixture(scope="module")
def network(detector_weights: ModuleType, images: torch.Tensor) -> DetectionModel:
    network = DetectionModel("yolo26n.yaml", nc=1, verbose=False)
    detector_weights.restore(network, DEFAULT_DETECTOR, images)
    return network


def boxes(network: DetectionModel, images: torch.Tensor) -> np.ndarray:
    network.end2end = True
    with torch.no_grad():
        return network.eval()(images)[0].numpy()


def test_it_computes_what_the_export_does(network, images):
    exported = engines.load(DEFAULT_DETECTOR, "onnxruntime", proven=False)
    expected = exported(images.numpy())[0]
    found = boxes(network, images)
    assert (expected[..., 4] > 0.5).any()
    assert np.abs(found[..., 4] - expected[..., 4]).max() < 1e-4
    sure = expected[..., 4] > 0.2
    assert np.abs(found[sure] - expected[sure]).max() < 0.05


def test_training_mode_computes_it_too(network, images):
    # There BatchNorms take mean and variance from the batch, here the pictures that they were measured on.
    with torch.no_grad():
        trained = network.eval()(images)[1]["one2one"]["scores"]
        training = network.train()(images)["one2one"]["scores"]
    assert (trained > 0).any()
    assert (training - trained).abs().max() < 0.5


def test_the_head_that_teaches_the_body_is_the_one_that_was_exported(network, images):
    with torch.no_grad():
        heads = network.train()(images)
    assert torch.equal(heads["one2many"]["boxes"], heads["one2one"]["boxes"])


def test_another_architecture_is_refused_by_name(detector_weights, images):
    network = DetectionModel("yolo26s.yaml", nc=1, verbose=False)
    with pytest.raises(ValueError, match=r"person_detector.onnx: no \(32, 3, 3, 3\) weights for model.0.conv"):
        detector_weights.restore(network, DEFAULT_DETECTOR, images)


def test_an_export_in_float32_is_read_like_one_in_float16(detector_weights, tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    for name, stored in (("w", values), ("w_f16", values.astype(np.float16))):
        graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(stored, name)])
        onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
        (got,) = detector_weights.folded_weights(tmp_path / "net.onnx").items()
        assert (got[0], got[1].dtype, got[1].tolist()) == ("w", torch.float32, values.tolist())


def test_what_is_no_export_is_refused_by_name(detector_weights, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"net\.onnx: no ONNX file: .*; give an exported detector"):
        detector_weights.folded_weights(tmp_path / "net.onnx")
