"""Training on a real GPU: captured steps are the eager ones; skipped where there is none."""

from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import torch

from mspf.losses import LossConfig
from mspf.network import MSPFConfig
from mspf.photographs import ALONE, Feed, Photographs
from mspf.recipe import TrainConfig
from mspf.training import Trainer, kernels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch computes on"),
]
CONFIG = TrainConfig(
    network=MSPFConfig(width=0.25, compact=0, pool_first=True),
    losses=LossConfig(triplet_on="necked", patch_head=True, global_head=True),
    size_hw=(128, 64),
    people=4,
    epochs=10,
    lr=1e-3,
    precision="float32",
    deterministic=True,
)


class Trained(NamedTuple):
    trainer: Trainer
    losses: list[float]


def trained(captured: bool, steps: int = 6) -> Trained:
    """A network after some steps on noise."""
    device, rng = torch.device("cuda"), np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (40, 128, 64, 3), np.uint8)).to(device).permute(0, 3, 1, 2)
    config = msgspec.structs.replace(CONFIG, cuda_graphs=captured)
    feed = Feed(config, [Photographs(images, np.repeat(np.arange(8), 5), np.zeros(40, int))], ALONE)
    trainer = Trainer(config, 8, device)
    with kernels(config):
        losses = [float(trainer.step(feed.batch(step), step / 2)) for step in range(steps)]
    return Trained(trainer, losses)


def test_captured_steps_are_the_eager_ones() -> None:
    eager, captured = trained(False), trained(True)
    assert "forward" in vars(captured.trainer.objective), "nothing was captured"
    np.testing.assert_allclose(captured.losses, eager.losses, rtol=1e-3)
    ours, theirs = captured.trainer.network.state_dict(), eager.trainer.network.state_dict()
    for name in ours:
        np.testing.assert_allclose(ours[name].cpu(), theirs[name].cpu(), rtol=1e-2, atol=1e-3, err_msg=name)
    assert captured.trainer.take_mean_loss()[1] == pytest.approx(eager.trainer.take_mean_loss()[1], rel=1e-2)
