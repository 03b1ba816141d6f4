"""What MSPF minimises: smoothed cross-entropy, batch-hard triplets and centres, averaged over its two heads."""

from typing import Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from mspf.network import FEATURE, MSPF, Features


class LossConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights and constants of L = L_CE + triplet x L_tri + centre x L_centre.

    Attributes:
        triplet_on: features before BatchNorm as the paper has them, the same at unit length, or those after it at unit
            length, which is what a gallery compares. Measured from scratch: before BatchNorm all features share one
            large mean, at unit length nothing is left to tell them apart, and the triplets never learn.
        patch_head: f_M has a neck and a head of its own in training (not in the paper). Measured from scratch: without,
            f_G explains the labels first and the patch bodies unlearn what they start with.
        centre_lr: of the centres' own SGD, which is independent of `centre`.
    """

    smoothing: float = 0.1
    triplet: float = 1.0
    margin: float = 0.3
    triplet_on: Literal["raw", "unit", "necked"] = "raw"
    patch_head: bool = False
    centre: float = 0.0007
    centre_lr: float = 0.5


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean hinge between each row's farthest equal and nearest other label.

    Args:
        features: (B, D); labels: (B,). Hermans et al. 2017, arXiv 1703.07737.
    """
    distance = torch.cdist(features, features)
    same = labels[:, None] == labels[None]
    farthest_positive = distance.masked_fill(~same, 0.0).amax(1)
    nearest_negative = distance.masked_fill(same, torch.inf).amin(1)
    return functional.relu(farthest_positive - nearest_negative + margin).mean()


class CentreLoss(nn.Module):
    """Mean squared distance to a learnt centre per identity (Wen et al., ECCV 2016).

    The loss moves the features; `update` moves the centres, by plain SGD on the unweighted loss.
    """

    centres: Tensor

    def __init__(self, classes: int, length: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(classes, length))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """(B, D), (B,) -> scalar."""
        return (features - self.centres[labels]).square().sum(1).mean()

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, lr: float) -> None:
        """One SGD step of the centres that this batch names."""
        gradient = 2 / len(labels) * (self.centres[labels] - features)
        self.centres.index_add_(0, labels, gradient, alpha=-lr)


class Head(nn.Module):
    """Bias-free classifier and centres of one feature."""

    def __init__(self, length: int, classes: int, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.classifier = nn.Linear(length, classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.centre = CentreLoss(classes, length)

    def forward(self, features: Tensor, necked: Tensor, labels: Tensor) -> Tensor:
        """Features before and after the neck (B, D), labels (B,) -> scalar."""
        config = self.config
        loss = functional.cross_entropy(self.classifier(necked).float(), labels, label_smoothing=config.smoothing)
        compared = necked if config.triplet_on == "necked" else features
        if config.triplet_on != "raw":
            compared = functional.normalize(compared, dim=1)
        loss = loss + config.triplet * batch_hard_triplet(compared, labels, config.margin)
        if config.centre:
            loss = loss + config.centre * self.centre(features, labels)
            self.centre.update(features.detach(), labels, config.centre_lr)
        return loss


class MSPFLoss(nn.Module):
    """The mean of the losses of g and f_L, and with `patch_head` of f_M."""

    def __init__(self, network: MSPF, classes: int, config: LossConfig) -> None:
        super().__init__()
        fused_length = network.config.fused_length
        self.fused = Head(fused_length, classes, config)
        self.local = Head(network.config.local_length, classes, config)
        self.patches = Head(fused_length - FEATURE, classes, config) if config.patch_head else None
        self.patch_neck = nn.BatchNorm1d(fused_length - FEATURE, affine=False)

    def forward(self, network: MSPF, features: Features, labels: Tensor) -> Tensor:
        """Features of a batch and their labels (B,) -> scalar; the centres move a step."""
        fused, local = features.fused.float(), features.local.float()
        losses = [
            self.fused(fused, network.fused_neck(fused), labels),
            self.local(local, network.local_neck(local), labels),
        ]
        if self.patches is not None:
            f_patches = fused[:, FEATURE:]
            losses.append(self.patches(f_patches, self.patch_neck(f_patches), labels))
        return torch.stack(losses).mean()
