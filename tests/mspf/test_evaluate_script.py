"""scripts/evaluate.py from files to files: scores, stamp, pictures, and one line where something is wrong."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cv2
import msgspec
import numpy as np
import pytest
import torch

from mspf.network import MSPF, MSPFConfig
from mspf.scoring import Result
from mspf.weights import file_sha256, save_weights


@pytest.fixture(scope="module")
def evaluate() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "evaluate.py"
    spec = importlib.util.spec_from_file_location("evaluate_script", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    facts = {"input_height": "64", "input_width": "32", "seed": "3", "training_data": "nobody"}
    save_weights(MSPF(MSPFConfig(width=0.25, patches="none", compact=8)), path, facts)
    return path


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("market"), np.random.default_rng(0)
    for folder, camera in (("query", 1), ("bounding_box_test", 2)):
        (root / folder).mkdir()
        for pid in (1, 2, 3):
            picture = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(root / folder / f"{pid:04d}_c{camera}_1.png"), picture)
    return root


def test_every_result_is_printed_stamped_and_drawn(
    evaluate: ModuleType,
    weights: Path,
    market: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = [
        "--flip",
        "--rerank",
        "--fmr",
        "0.5",
        "--json",
        str(tmp_path / "r.json"),
        "--figures",
        str(tmp_path / "f"),
    ]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--weights", str(weights), "--data", str(market), *wanted])
    evaluate.main()

    compact, full = msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=list[Result])
    assert [(r.descriptor, r.descriptor_length) for r in (compact, full)] == [("compact", 8), ("full", 4608)]
    assert (full.query_images, full.gallery_images, full.people, full.queries) == (3, 3, 3, 3)
    assert (full.stamp.trained_on, full.stamp.seed, full.stamp.data) == ("nobody", "3", str(market))
    assert full.stamp.sha256 == file_sha256(weights)
    assert full.settings.size_hw == (64, 32)
    assert f"mAP {full.mean_ap:.1f}" in capsys.readouterr().out
    assert len(list((tmp_path / "f").glob("*.png"))) == 3


def test_a_wrong_folder_is_one_clear_line(
    evaluate: ModuleType, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--weights", str(weights), "--data", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"evaluate: .*nowhere"):
        evaluate.main()
