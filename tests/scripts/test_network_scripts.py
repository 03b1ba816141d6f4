"""The scripts that write and measure network files, from files to files; and one line where something is wrong."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import engines
from engines.gate import golden_path, read_golden
from pipeline.export_detector import torch_outputs
from tests.pipeline.networks import write_pt

SCRIPTS = Path(__file__).parents[2] / "scripts"
Run = Callable[..., None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a script of this name with these arguments."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def run(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        importlib.import_module(name).main()

    return run


def test_an_exported_detector_is_held_to_what_torch_computes(run: Run, tmp_path: Path, capsys) -> None:
    weights, network = write_pt(tmp_path / "tiny.pt", nms_free=False, bias=1), tmp_path / "tiny.onnx"
    run("export_detector", weights, network, "--size", 160, "--training", "nobody")
    assert "against torch: batch " in capsys.readouterr().out
    golden = read_golden(golden_path(network))
    assert golden.inputs.shape == (2, 3, 96, 160)
    np.testing.assert_array_equal(golden.outputs, torch_outputs(weights, golden.inputs))
    (halved,) = engines.load(network, "onnxruntime")(golden.inputs)  # whose weights are stored as float16
    assert np.abs(halved - golden.outputs).max() > 0
