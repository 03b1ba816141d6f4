"""The losses agree with their definitions."""

import pytest
import torch

from mspf.losses import CentreLoss, LossConfig, MSPFLoss, batch_hard_triplet
from mspf.network import MSPF, MSPFConfig


def test_the_hardest_triplets_are_those_of_a_plain_loop() -> None:
    features, labels = torch.randn(8, 3), torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
    hinges = []
    for anchor, label in zip(features, labels, strict=True):
        distances = (features - anchor).norm(dim=1)
        hinges.append(max(0.0, float(distances[labels == label].max() - distances[labels != label].min() + 0.3)))

    assert float(batch_hard_triplet(features, labels, 0.3)) == pytest.approx(sum(hinges) / 8, abs=1e-5)


def test_identical_features_of_one_person_have_a_finite_gradient() -> None:
    features = torch.ones(4, 3, requires_grad=True)
    batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), 0.3).backward()

    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_a_centre_moves_to_its_features() -> None:
    loss = CentreLoss(classes=2, length=3)
    features, labels = torch.ones(2, 3), torch.tensor([1, 1])
    before = float(loss(features, labels))
    for _ in range(20):
        loss.update(features, labels, lr=0.2)

    assert before == 3.0
    assert float(loss(features, labels)) < 1e-3
    assert loss.centres[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "config",
    [LossConfig(), LossConfig(triplet_on="necked", patch_head=True), LossConfig(triplet_on="unit", centre=0.0)],
    ids=["paper", "necked, patch head", "unit"],
)
def test_the_whole_loss_reaches_every_trained_weight(config: LossConfig) -> None:
    network = MSPF(MSPFConfig(width=0.25, compact=0))
    losses = MSPFLoss(network, classes=3, config=config)
    labels = torch.tensor([0, 0, 2, 2])
    losses(network, network.features(torch.randn(4, 3, 128, 64)), labels).backward()

    trained = [p for p in (*network.parameters(), *losses.parameters()) if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
