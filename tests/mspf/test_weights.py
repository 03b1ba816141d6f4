"""A network comes back from its file, and computes what its ONNX file computes."""

from pathlib import Path

import numpy as np
import pytest
import torch

import engines
from mspf.errors import CheckpointError
from mspf.export import RunTimeNetwork, export_onnx, metadata
from mspf.network import MSPF, MSPFConfig
from mspf.weights import load_weights, read_facts, save_weights, weights_sha256

SIZE_HW = (128, 64)


@pytest.fixture(scope="module")
def network() -> MSPF:
    torch.manual_seed(0)
    return MSPF(MSPFConfig(width=0.25, patches="none", pool_first=True)).eval()


def test_a_safetensors_file_computes_what_the_onnx_file_computes(network: MSPF, tmp_path: Path) -> None:
    facts = metadata(network, SIZE_HW, "nothing")
    export_onnx(network, tmp_path / "mspf.onnx", SIZE_HW, facts)
    save_weights(network, tmp_path / "mspf.safetensors", facts)

    images = np.random.default_rng(0).uniform(0, 255, (3, 3, *SIZE_HW)).astype(np.float32)
    (exported,) = engines.load(tmp_path / "mspf.onnx", backend="onnxruntime")(images)
    with torch.inference_mode():
        loaded = RunTimeNetwork(load_weights(tmp_path / "mspf.safetensors"))(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(loaded, exported, atol=1e-4)


def test_a_file_in_float32_is_exact_and_one_with_halves_is_smaller(network: MSPF, tmp_path: Path) -> None:
    exact, half = tmp_path / "exact.safetensors", tmp_path / "half.safetensors"
    save_weights(network, exact, {}, half=False)
    save_weights(network, half, {})

    assert weights_sha256(load_weights(exact)) == weights_sha256(network)
    assert half.stat().st_size < 0.6 * exact.stat().st_size


def test_the_file_says_what_it_is(network: MSPF, tmp_path: Path) -> None:
    save_weights(network, tmp_path / "w.safetensors", {"training_data": "market1501"})

    facts = read_facts(tmp_path / "w.safetensors")
    assert (facts["training_data"], facts["seed"]) == ("market1501", "unknown")
    assert '"width":0.25' in facts["config"]


def test_a_checkpoint_gives_its_averaged_network_and_its_recipe(network: MSPF, tmp_path: Path) -> None:
    config = '{"network": {"width": 0.25, "patches": "none"}, "seed": 7, "sources": [{"name": "a"}, {"name": "b"}]}'
    torch.save({"averaged": network.state_dict(), "config": config}, tmp_path / "last.pt")

    assert weights_sha256(load_weights(tmp_path / "last.pt")) == weights_sha256(network)
    facts = read_facts(tmp_path / "last.pt")
    assert (facts["seed"], facts["training_data"]) == ("7", "a, b")
    (tmp_path / "run.json").write_text('{"data": [{"name": "a", "training_people": 3, "training_images": 9}]}')
    assert read_facts(tmp_path / "last.pt")["training_data"] == "a (3 people, 9 images)"


@pytest.mark.parametrize("name", ["text.pt", "text.safetensors"])
def test_a_file_that_is_no_network_is_named_in_the_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("no network, but long enough to have a header")
    with pytest.raises(CheckpointError, match=name):
        load_weights(tmp_path / name)
    with pytest.raises(CheckpointError, match="missing"):
        load_weights(tmp_path / f"missing{name}")


def test_tensors_of_another_configuration_are_refused(network: MSPF, tmp_path: Path) -> None:
    config = '{"network": {"width": 0.5, "patches": "none"}, "seed": 0, "sources": []}'
    torch.save({"averaged": network.state_dict(), "config": config}, tmp_path / "other.pt")

    with pytest.raises(CheckpointError, match=r"other\.pt: .*size mismatch"):
        load_weights(tmp_path / "other.pt")
