"""The references of the shipped networks: small, made again by one command, and hard to deceive."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import engines
from engines import gate
from pipeline.embedder import SHIPPED_REID
from pipeline.export_detector import DEFAULT_DETECTOR

ROOT = Path(__file__).parents[2]
shipped = pytest.mark.parametrize("network", [*SHIPPED_REID.values(), DEFAULT_DETECTOR], ids=lambda path: path.stem)


@shipped
def test_every_shipped_network_has_a_small_reference(network: Path) -> None:
    assert gate.golden_path(network).stat().st_size < 1_000_000


@shipped
@pytest.mark.parametrize(
    "spoilt", [lambda x: x[:, ::-1], lambda x: x / 2, lambda x: np.roll(x, 1, 3)], ids=["bgr", "half", "shifted"]
)
def test_the_reference_tells_wrong_pictures_from_right_ones(network, spoilt) -> None:
    engine = engines.load(network, "onnxruntime")  # right ones pass, or this fails
    golden = gate.read_golden(gate.golden_path(network))
    (outputs,) = engine(np.ascontiguousarray(spoilt(golden.inputs), np.float32))
    assert not gate.COMPARISONS[golden.compare](outputs, golden.outputs, "f32").ok


@shipped
def test_the_script_writes_a_reference_that_the_network_passes(network: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(network, tmp_path))
    subprocess.run([sys.executable, ROOT / "scripts" / "make_golden.py", copy], check=True, capture_output=True)
    golden = gate.read_golden(gate.golden_path(copy))
    assert len(golden.inputs) >= 2
    assert gate.prove(engines.load(copy, "onnxruntime"), golden, largest=2)
