"""The detector's training, for a moment, as from the command line."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.gate import read_golden
from pipeline.export_detector import DEFAULT_DETECTOR

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_detector.py"


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
