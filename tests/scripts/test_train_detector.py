"""The detector's training, for a moment, as from the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from engines.gate import read_golden
from pipeline.export_detector import DEFAULT_DETECTOR

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_detector.py"


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("train_detector")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rendered people in YOLO format, one box each."""
    pictures = read_golden(DEFAULT_DETECTOR.with_suffix(".golden.npz")).inputs
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / "data" / kind / split).mkdir(parents=True)
        for number, picture in enumerate(pictures[:2]):
            image = np.rint(picture.transpose(1, 2, 0)[..., ::-1] * 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "data" / "images" / split / f"{number}.jpg"), image)
            (tmp_path / "data" / "labels" / split / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    return tmp_path / "data"


def test_training_goes_on_from_the_exported_detector_and_leaves_weights(folder, tmp_path):
    arguments = [folder, "--weights", DEFAULT_DETECTOR, "--out", tmp_path / "run", "--size", 64, "--hours", 1e-5]
    subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], check=True, timeout=300)
    weights = torch.load(tmp_path / "run" / "weights" / "last.pt", weights_only=False)["model"].state_dict()
    assert all(value.isfinite().all() for value in weights.values())
    # One step from there, not from random weights, whose biases are zero.
    assert weights["model.0.bn.bias"].abs().max() > 0.1


def test_pictures_of_all_folders_kinds_and_depths_are_taken_evenly_and_in_rgb(script, tmp_path):
    for number in range(10):
        folder = tmp_path / ("a" if number < 5 else "b") / f"deep{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        suffix = ("jpeg", "PNG", "bmp")[number % 3]
        cv2.imwrite(str(folder / f"{number}.{suffix}"), np.full((30, 40, 3), (0, 0, 20 * number), np.uint8))
        (folder / f"{number}.txt").write_text("")
    everything = script.some_pictures([str(tmp_path)], 32)
    assert everything.shape == (10, 3, 32, 32)
    reds = [script.some_pictures([str(tmp_path / one) for one in "ab"], 32, count)[:, 0, 0, 0] for count in (2, 3, 9)]
    assert [len(red) for red in reds] == [2, 3, 9]
    assert all((red * 255 / 20 < 4.5).any() and (red * 255 / 20 > 4.5).any() for red in reds)
    assert everything[:, 1:, 0, 0].max() < 0.05


def test_folders_without_pictures_are_one_clear_error(script, tmp_path):
    with pytest.raises(SystemExit, match="no picture could be read; give folders in YOLO format"):
        script.some_pictures([str(tmp_path)], 32)


def test_training_takes_as_many_threads_as_it_is_told(script, monkeypatch):
    given = []
    monkeypatch.setattr(script.torch, "set_num_threads", given.append)
    monkeypatch.setattr(script.DetectionTrainer, "__init__", lambda self: None)
    monkeypatch.setattr(script.DetectionTrainer, "_setup_train", lambda self: given.append("the stock trainer's"))
    trainer = script.CpuTrainer(3)
    trainer.model = SimpleNamespace(init_criterion=lambda: SimpleNamespace(update=None))
    trainer._setup_train()
    assert given == ["the stock trainer's", 3]
