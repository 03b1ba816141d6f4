"""Weights are written whole or not at all, and say clearly what of them fits."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mspf.checkpoint import initialise, load_overlap, read_checkpoint, torchreid_to_body, write_checkpoint
from mspf.errors import CheckpointError, RunError
from mspf.losses import LossConfig, MSPFLoss
from mspf.network import MSPF, MSPFConfig
from mspf.osnet import OSNet
from tests.pipeline.disk import full_disk


def torchreid_names(instance_norm: bool = False) -> set[str]:
    """What torchreid calls the tensors of its OSNet, written out from its layers."""
    norm = {f"bn.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    affine = {"bn.weight", "bn.bias"}
    names = {"conv1.conv.weight", "conv5.conv.weight", "classifier.weight", "classifier.bias"}
    names |= {f"conv1.{n}" for n in (affine if instance_norm else norm)} | {f"conv5.{n}" for n in norm}
    names |= {f"fc.0.{part}" for part in ("weight", "bias")} | {f"fc.1.{n.removeprefix('bn.')}" for n in norm}
    for stage in (2, 3):
        names |= {f"conv{stage}.2.0.{n}" for n in ({"conv.weight"} | norm)}
    for stage in (2, 3, 4):
        for block in (0, 1):
            streams = [
                "conv2a",
                *(f"conv2{letter}.{n}" for letter, of in zip("bcd", (2, 3, 4), strict=True) for n in range(of)),
            ]
            parts = {f"{stream}.{n}" for stream in streams for n in {"conv1.weight", "conv2.weight"} | norm}
            whole = ["conv1", "conv3", *(["downsample"] if block == 0 else [])]
            parts |= {f"{one}.{n}" for one in whole for n in {"conv.weight"} | norm}
            parts |= {f"gate.{fc}.{part}" for fc in ("fc1", "fc2") for part in ("weight", "bias")}
            if instance_norm and stage == 2:
                parts |= {"IN.weight", "IN.bias"}
            names |= {f"conv{stage}.{block}.{part}" for part in parts}
    return names


def torchreid_state(width: float) -> dict[str, Tensor]:
    """A checkpoint in torchreid's names: the values of an OSNet of ours."""
    ours = {**OSNet(width).body.state_dict(), **{f"head.{n}": t for n, t in OSNet(width).head.state_dict().items()}}
    state = {name: torch.rand_like(ours[key].float()) for name in torchreid_names() if (key := torchreid_to_body(name))}
    return state | {"classifier.weight": torch.zeros(4, 512), "classifier.bias": torch.zeros(4)}


@pytest.mark.parametrize("instance_norm", [False, True])
def test_every_tensor_of_torchreid_s_osnet_has_its_place_in_ours(instance_norm: bool) -> None:
    ours = {*OSNet(0.25, instance_norm).body.state_dict()} | {f"head.{n}" for n in OSNet(0.25).head.state_dict()}
    mapped = {name: torchreid_to_body(name) for name in torchreid_names(instance_norm)}

    assert {name for name, own in mapped.items() if own is None} == {"classifier.bias", "classifier.weight"}
    assert {own for own in mapped.values() if own} == ours


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"module.{n}": t for n, t in s.items()}}])
def test_an_osnet_of_torchreid_goes_into_all_three_bodies_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrap: object
) -> None:
    state = torchreid_state(0.25)
    torch.save(wrap(state), tmp_path / "osnet.pth")
    network = MSPF(MSPFConfig(width=0.25, compact=0))
    with caplog.at_level(logging.INFO):
        initialise(network, MSPFLoss(network, 4, LossConfig()), tmp_path / "osnet.pth")

    assert isinstance(network.whole.body, torch.nn.Module)
    for body in (network.whole.body, *network.patch_bodies):
        torch.testing.assert_close(body.conv5[0][0].weight, state["conv5.conv.weight"])
        stream = body.conv2[0].streams[2][1][0].weight
        torch.testing.assert_close(stream, state["conv2.0.conv2c.1.conv1.weight"])
    assert caplog.text.count("missing: none") == 3
    assert "not taken from the checkpoint: classifier.bias, classifier.weight, fc.0.bias" in caplog.text


def test_osnet_alone_also_takes_its_head(tmp_path: Path) -> None:
    state = torchreid_state(0.25)
    torch.save(state, tmp_path / "osnet.pth")
    network = MSPF(MSPFConfig(width=0.25, whole="osnet", patches="none", compact=0))
    initialise(network, MSPFLoss(network, 4, LossConfig()), tmp_path / "osnet.pth")

    torch.testing.assert_close(network.whole.head[0].weight, state["fc.0.weight"])


def test_an_osnet_of_another_width_is_refused(tmp_path: Path) -> None:
    torch.save(torchreid_state(0.5), tmp_path / "osnet.pth")
    network = MSPF(MSPFConfig(width=0.25, patches="none", compact=0))
    with pytest.raises(CheckpointError, match=r"is \(32, 3, 7, 7\), wanted \(16, 3, 7, 7\); set network.width"):
        initialise(network, MSPFLoss(network, 4, LossConfig()), tmp_path / "osnet.pth")


def test_weights_of_ours_of_another_width_are_refused_and_others_named_by_module(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = MSPF(MSPFConfig(width=0.25, patches="none", compact=0))
    wider = MSPF(MSPFConfig(width=0.5, patches="none", compact=0)).state_dict()
    write_checkpoint(tmp_path / "last.pt", {"averaged": wider})
    with pytest.raises(CheckpointError, match=r"whole\..* wanted .*; set network.width"):
        initialise(network, MSPFLoss(network, 4, LossConfig()), tmp_path / "last.pt")
    with caplog.at_level(logging.INFO):
        load_overlap(MSPF(MSPFConfig(width=0.25, compact=0)), network.state_dict())
    told = r"resized: fused_neck \(4\), missing: patch_bodies\.0 \(\d+\), patch_bodies\.1 \(\d+\), unused: none"
    assert re.search(told, caplog.text)


@pytest.mark.parametrize("content", [{"state_dict": 3}, {"averaged": 5}, [1]])
def test_a_file_that_holds_no_weights_is_one_clear_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt: (its|holds)"):
        read_checkpoint(tmp_path / "last.pt")


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({"layer1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    network = MSPF(MSPFConfig(width=0.25, patches="none", compact=0))
    with pytest.raises(CheckpointError, match="is it an OSNet of torchreid"):
        initialise(network, MSPFLoss(network, 4, LossConfig()), tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="does not fit"):
        load_overlap(network, {"other": torch.zeros(1)})


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half a file"])
def test_a_file_that_is_no_checkpoint_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pt: (damaged|no checkpoint)") as caught:
        read_checkpoint(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_may_hold_numbers_but_no_objects(tmp_path: Path) -> None:
    torch.save({"rank1": np.float32(0.5), "best": np.float64(0.25)}, tmp_path / "numbers.pth")
    torch.save({"folder": tmp_path}, tmp_path / "objects.pth")

    assert read_checkpoint(tmp_path / "numbers.pth") == {"rank1": 0.5, "best": 0.25}
    with pytest.raises(CheckpointError, match="save its state_dict alone"):
        read_checkpoint(tmp_path / "objects.pth")


def test_a_cut_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last.pt", {"network": torch.zeros(1000)})
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(tmp_path / "last.pt")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.pt: No such file"):
        read_checkpoint(tmp_path / "last.pt")


def test_a_full_disk_leaves_the_last_checkpoint_and_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"step": 1})
    with full_disk(10_000), pytest.raises(RunError, match=r"last\.pt: .*run the same again"):
        write_checkpoint(path, {"step": 2, "network": torch.zeros(10_000)})

    assert read_checkpoint(path) == {"step": 1}
    assert [left.name for left in tmp_path.iterdir()] == ["last.pt"]
