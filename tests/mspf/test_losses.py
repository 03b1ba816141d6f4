"""The losses agree with their definitions."""

import math

import msgspec
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mspf.losses import (
    CentreLoss,
    Head,
    LossConfig,
    MSPFLoss,
    batch_hard_triplet,
    circle_loss,
    multi_similarity_loss,
)
from mspf.network import MSPF, Features, MSPFConfig

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])


def unit_rows() -> Tensor:
    return functional.normalize(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), dim=1)


def test_the_hardest_triplets_are_those_of_a_plain_loop() -> None:
    features, hinges = torch.randn(8, 3), []
    for anchor, label in zip(features, LABELS, strict=True):
        distances = (features - anchor).norm(dim=1)
        hinges.append(max(0.0, float(distances[label == LABELS].max() - distances[label != LABELS].min() + 0.3)))

    assert float(batch_hard_triplet(features, LABELS, 0.3)) == pytest.approx(sum(hinges) / 8, abs=1e-5)


def test_circle_loss_is_that_of_a_plain_loop() -> None:
    features, terms = unit_rows(), []
    for anchor in range(8):
        similarity = (features @ features[anchor]).tolist()
        pull = [s for other, s in enumerate(similarity) if LABELS[other] == LABELS[anchor] and other != anchor]
        push = [s for other, s in enumerate(similarity) if LABELS[other] != LABELS[anchor]]
        pulled = sum(math.exp(-64 * max(1.25 - s, 0) * (s - 0.75)) for s in pull)
        pushed = sum(math.exp(64 * max(s + 0.25, 0) * (s - 0.25)) for s in push)
        terms.append(math.log1p(pulled * pushed))

    assert float(circle_loss(features, LABELS)) == pytest.approx(sum(terms) / 8, rel=1e-4)


def test_multi_similarity_loss_is_that_of_a_plain_loop() -> None:
    features, terms = unit_rows(), []
    for anchor in range(8):
        similarity = (features @ features[anchor]).tolist()
        pull = [s for other, s in enumerate(similarity) if LABELS[other] == LABELS[anchor] and other != anchor]
        push = [s for other, s in enumerate(similarity) if LABELS[other] != LABELS[anchor]]
        pulled = sum(math.exp(-2 * (s - 0.5)) for s in pull if s - 0.1 < max(push))
        pushed = sum(math.exp(50 * (s - 0.5)) for s in push if s + 0.1 > min(pull))
        terms.append(math.log1p(pulled) / 2 + math.log1p(pushed) / 50)

    assert float(multi_similarity_loss(features, LABELS)) == pytest.approx(sum(terms) / 8, rel=1e-4)


def test_identical_features_of_one_person_have_a_finite_gradient() -> None:
    features = torch.ones(4, 3, requires_grad=True)
    batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), 0.3).backward()

    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_the_cosine_classifier_takes_its_margin_from_the_true_person_alone() -> None:
    config = LossConfig(classifier="cosine", triplet=0.0, centre=0.0, smoothing=0.0, cosine_margin=0.5)
    head = Head(3, 2, config)
    head.classifier.weight.data = torch.eye(2, 3)
    logits = head._logits(torch.tensor([[2.0, 0, 0]]), torch.tensor([0])).detach()

    torch.testing.assert_close(logits, torch.tensor([[20 * (1 - 0.5), 0.0]]))


def test_centres_follow_the_unweighted_loss_whatever_its_weight() -> None:
    torch.manual_seed(0)
    network = MSPF(MSPFConfig(width=0.25, patches="none", compact=0)).eval()
    features, labels = network.features(torch.ones(4, 3, 64, 32)), torch.tensor([0, 0, 2, 2])
    features = Features(*(part.detach() for part in features))
    plain = CentreLoss(3, 512)
    plain(features.fused, labels).backward()
    for weight in (0.0007, 0.07):
        losses = MSPFLoss(network, 3, LossConfig(centre=weight))
        losses(network, features, labels).backward()
        losses.unweigh_centres()

        torch.testing.assert_close(losses.fused.centre.centres.grad, plain.centres.grad)


@pytest.mark.parametrize(
    ("shape", "heads"),
    [
        (MSPFConfig(width=0.25, compact=0), {"g", "f_L", "f_M", "f_G"}),
        (MSPFConfig(width=0.25, compact=0, patches="none"), {"g", "f_L"}),
        (MSPFConfig(width=0.25, compact=0, whole="none"), {"g", "f_M"}),
    ],
)
def test_features_that_there_are_have_heads_and_the_loss_is_their_mean(shape: MSPFConfig, heads: set[str]) -> None:
    network = MSPF(shape)
    losses = MSPFLoss(network, 3, LossConfig(patch_head=True, global_head=True, triplet=0.5, centre=0.01))
    loss = losses(network, network.features(torch.randn(4, 3, 128, 64)), torch.tensor([0, 0, 2, 2]))

    assert set(losses.parts) == {f"{head}/{part}" for head in heads for part in ("cross_entropy", "triplet", "centre")}
    torch.testing.assert_close(sum(losses.parts.values()) / len(heads), loss.detach())


def test_a_metric_over_angles_wants_unit_rows() -> None:
    with pytest.raises(msgspec.ValidationError, match="triplet_on"):
        msgspec.convert({"metric": "circle"}, LossConfig)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (LossConfig(), MSPFConfig(width=0.25, compact=0)),
        (LossConfig(triplet_on="necked", patch_head=True, global_head=True),
         MSPFConfig(width=0.25, compact=0, pool="gem")),
        (LossConfig(triplet_on="unit", centre=0.0, metric="circle", classifier="cosine"),
         MSPFConfig(width=0.25, compact=0, patches="none", whole="osnet")),
        (LossConfig(triplet_on="necked", metric="multi-similarity"),
         MSPFConfig(width=0.25, compact=0, patches="2", whole="none")),
    ],
    ids=["paper", "necked, four heads, GeM", "unit, circle, cosine, OSNet alone", "multi-similarity, patches alone"],
)  # fmt: skip
def test_the_whole_loss_reaches_every_trained_weight(config: LossConfig, shape: MSPFConfig) -> None:
    network = MSPF(shape)
    losses = MSPFLoss(network, classes=3, config=config)
    labels = torch.tensor([0, 0, 2, 2])
    losses(network, network.features(torch.randn(4, 3, 128, 64)), labels).backward()

    trained = [p for p in (*network.parameters(), *losses.parameters()) if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
