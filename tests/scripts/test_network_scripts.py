"""The scripts that write and measure network files, from files to files; and one line where something is wrong."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import engines
from engines.gate import golden_path, read_golden
from mspf.network import MSPF, MSPFConfig
from mspf.weights import load_weights, save_weights
from pipeline.export_detector import torch_outputs
from tests.fakes import picture
from tests.pipeline.networks import write_detector, write_pt

Run = Callable[..., None]


def test_an_exported_detector_is_held_to_what_torch_computes(run: Run, tmp_path: Path, capsys) -> None:
    weights, network = write_pt(tmp_path / "tiny.pt", nms_free=False, bias=1), tmp_path / "tiny.onnx"
    run("export_detector", weights, network, "--size", 160, "--training", "nobody")
    assert "against torch: batch " in capsys.readouterr().out
    golden = read_golden(golden_path(network))
    assert golden.inputs.shape == (2, 3, 96, 160)
    np.testing.assert_array_equal(golden.outputs, torch_outputs(weights, golden.inputs))
    (halved,) = engines.load(network, "onnxruntime")(golden.inputs)  # whose weights are stored as float16
    assert np.abs(halved - golden.outputs).max() > 0


CALLS = {
    "make_golden": ("make_golden", "net.onnx"),
    "float16": ("quantise", "net.onnx", "out.onnx", "--float16"),
    "int8": ("quantise", "net.onnx", "out.onnx", "--calibrate", "pictures"),
    "evaluate": ("evaluate_detector", "net.onnx", "--images", "pictures"),
    "export": ("export_detector", "net.pt", "out.onnx", "--size", "160", "--training", "nobody"),
}


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one of them, in the folder where the scripts run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    cv2.imwrite("pictures/a.png", picture())
    return tmp_path / "pictures"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("content", [None, b"no network"], ids=["missing", "broken"])
def test_a_network_file_that_cannot_be_read_is_one_line(run: Run, pictures: Path, call: str, content) -> None:
    script, file, *options = CALLS[call]
    if content:
        Path(file).write_bytes(content)
    with pytest.raises(SystemExit, match=file) as ended:
        run(script, file, *options)
    assert "\n" not in str(ended.value)


def test_a_network_of_another_kind_is_one_line(run: Run, pictures: Path) -> None:
    network = write_detector(Path("net.onnx"))
    network.write_bytes(network.read_bytes().replace(b"detector", b"calendar"))
    for call in ("make_golden", "evaluate"):
        with pytest.raises(SystemExit, match=r"net\.onnx: not a person detector"):
            run(*CALLS[call])


def test_a_folder_without_pictures_and_a_picture_that_is_none_are_one_line(run: Run, pictures: Path) -> None:
    write_detector(Path("net.onnx"))
    (pictures / "a.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match=r"a\.png: not a picture"):
        run(*CALLS["evaluate"])
    with pytest.raises(SystemExit, match=r"nowhere: no \.jpg or \.png in it"):
        run("evaluate_detector", "net.onnx", "--images", "nowhere")


def test_an_exported_network_that_does_not_run_is_one_line(run: Run, tmp_path: Path) -> None:
    train, rng = tmp_path / "bounding_box_train", np.random.default_rng(0)
    for folder in (train, tmp_path / "query", tmp_path / "bounding_box_test"):
        folder.mkdir()
    for person in range(1, 9):
        cv2.imwrite(str(train / f"{person:04d}_c1_1.png"), rng.integers(0, 256, (64, 32, 3), np.uint8))
    facts = {"input_height": "64", "input_width": "32", "seed": "3", "training_data": "nobody"}
    save_weights(MSPF(MSPFConfig(width=0.25, patches="none", compact=8)), tmp_path / "tiny.safetensors", facts)
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit, match=r"net\.bin: back end onnxruntime does not run \.bin files"):
        run("export", tmp_path / "tiny.safetensors", tmp_path / "net.bin", "--fit", tmp_path, "--length", 8)
    torch.set_num_threads(threads)


def test_weights_with_a_head_are_exported_again_as_they_are_and_without_one_need_people(
    run: Run, tmp_path: Path
) -> None:
    network = MSPF(MSPFConfig(width=0.25, patches="none", compact=8)).eval()
    facts = {"input_height": "64", "input_width": "32", "seed": "3", "head_fitted_to": "those people"}
    save_weights(network, tmp_path / "first.safetensors", facts, half=False)
    threads = torch.get_num_threads()
    run("export", tmp_path / "first.safetensors", tmp_path / "again.onnx")

    again = load_weights(tmp_path / "again.safetensors")
    assert again.compact is not None
    torch.testing.assert_close(again.compact.weight, network.compact.weight, rtol=1e-3, atol=1e-3)
    assert engines.load(tmp_path / "again.onnx").metadata["head_fitted_to"] == "those people"

    with pytest.raises(SystemExit, match="are of a head that is fitted; give --fit, too"):
        run("export", tmp_path / "first.safetensors", tmp_path / "again.onnx", "--length", 4)
    with pytest.raises(SystemExit, match="nowhere: no such folder"):
        run("export", tmp_path / "first.safetensors", tmp_path / "nowhere" / "again.onnx")
    save_weights(MSPF(MSPFConfig(width=0.25, patches="none", compact=0)), tmp_path / "bare.safetensors", facts)
    with pytest.raises(SystemExit, match=r"bare\.safetensors has no compact head; name training people with --fit"):
        run("export", tmp_path / "bare.safetensors", tmp_path / "bare.onnx")
    torch.set_num_threads(threads)
