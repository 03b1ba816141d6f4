"""What MSPF minimises: smoothed cross-entropy, batch-hard triplets and centres, averaged over its heads."""

from typing import Literal, cast

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from mspf.network import MSPF, Features
from mspf.ranges import NotNegative, Positive, Share


class LossConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights and constants of L = L_CE + triplet x L_tri + centre x L_centre.

    Attributes:
        classifier: linear as the paper's, or cosines of unit features and unit weights, less `cosine_margin` for the
            true person, times `cosine_scale` (CosFace, arXiv 1801.09414).
        metric: what stands for L_tri: batch-hard triplets as the paper's, circle loss, multi-similarity loss.
        triplet_on: features before BatchNorm as the paper has them, the same at unit length, or those after it at unit
            length, which is what a gallery compares. Measured from scratch: before BatchNorm all features share one
            large mean, at unit length nothing is left to tell them apart, and the triplets never learn.
        patch_head: f_M has a neck and a head of its own in training (not in the paper). Measured from scratch: without,
            f_G explains the labels first and the patch bodies unlearn what they start with.
        global_head: the same for f_G beside patch levels, without which f_G is g. Measured: with the loss of g alone
            f_G stops improving while f_M goes on; with a head of its own it does not (docs/mspf.md).
        centre_lr: of the centres' own SGD, on the gradient of the unweighted loss.
    """

    smoothing: Share = 0.1
    classifier: Literal["linear", "cosine"] = "linear"
    cosine_scale: Positive = 20.0
    cosine_margin: Share = 0.1
    metric: Literal["triplet", "circle", "multi-similarity"] = "triplet"
    triplet: NotNegative = 1.0
    margin: NotNegative = 0.3
    triplet_on: Literal["raw", "unit", "necked"] = "raw"
    patch_head: bool = False
    global_head: bool = False
    centre: NotNegative = 0.0007
    centre_lr: NotNegative = 0.5

    def __post_init__(self) -> None:
        """Refuse angles between features that have no unit length."""
        if self.metric != "triplet" and self.triplet_on == "raw":
            raise ValueError(f"metric: {self.metric} compares unit rows; set triplet_on: unit or necked")


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


def circle_loss(features: Tensor, labels: Tensor, margin: float = 0.25, scale: float = 64.0) -> Tensor:
    """Pairs of unit rows weighed by how far they are from their optimum (Sun et al., CVPR 2020, arXiv 2002.10857).

    Args:
        features: (B, D) of length 1; labels: (B,).
    """
    similarity = features @ features.T
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    pull = -scale * (1 + margin - similarity).detach().relu() * (similarity - 1 + margin)
    push = scale * (similarity + margin).detach().relu() * (similarity - margin)
    pulled = torch.logsumexp(pull.masked_fill(~positive, -1e4), 1)
    pushed = torch.logsumexp(push.masked_fill(same, -1e4), 1)
    return functional.softplus(pulled + pushed).mean()


def multi_similarity_loss(
    features: Tensor, labels: Tensor, pull: float = 2.0, push: float = 50.0, base: float = 0.5, slack: float = 0.1
) -> Tensor:
    """Soft-weighed pairs of unit rows that the batch makes hard (Wang et al., CVPR 2019, arXiv 1904.06627).

    Args:
        features: (B, D) of length 1; labels: (B,).
        slack: pairs count while they are no more than this better than the hardest of the other kind.
    """
    similarity = features @ features.T
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    nearest_negative = similarity.masked_fill(same, -torch.inf).amax(1, keepdim=True)
    farthest_positive = similarity.masked_fill(~positive, torch.inf).amin(1, keepdim=True)
    hard_positive = positive & (similarity - slack < nearest_negative)
    hard_negative = ~same & (similarity + slack > farthest_positive)
    pulled = torch.exp(-pull * (similarity - base)).masked_fill(~hard_positive, 0).sum(1)
    pushed = torch.exp(push * (similarity - base)).masked_fill(~hard_negative, 0).sum(1)
    return (torch.log1p(pulled) / pull + torch.log1p(pushed) / push).mean()


class CentreLoss(nn.Module):
    """Mean squared distance to a learnt centre per identity (Wen et al., ECCV 2016); the centres start at 0."""

    def __init__(self, classes: int, length: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(classes, length))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """(B, D), (B,) -> scalar."""
        return (features - self.centres[labels]).square().sum(1).mean()


class Head(nn.Module):
    """Bias-free classifier and centres of one feature."""

    def __init__(self, length: int, classes: int, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.classifier = nn.Linear(length, classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.centre = CentreLoss(classes, length).requires_grad_(config.centre > 0)

    def forward(self, features: Tensor, necked: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Features before and after the neck (B, D), labels (B,) -> each term of the loss, weighted, by its name."""
        config = self.config
        logits = self._logits(necked, labels).float()
        compared = necked if config.triplet_on == "necked" else features
        parts = {
            "cross_entropy": functional.cross_entropy(logits, labels, label_smoothing=config.smoothing),
            config.metric: config.triplet * self._metric(compared, labels),
        }
        return parts | {"centre": config.centre * self.centre(features, labels)} if config.centre else parts

    def _logits(self, necked: Tensor, labels: Tensor) -> Tensor:
        """(B, classes)."""
        if self.config.classifier == "linear":
            return cast(Tensor, self.classifier(necked))
        cosines = functional.normalize(necked, dim=1) @ functional.normalize(self.classifier.weight, dim=1).T
        margins = self.config.cosine_margin * functional.one_hot(labels, cosines.shape[1])
        return self.config.cosine_scale * (cosines - margins)

    def _metric(self, compared: Tensor, labels: Tensor) -> Tensor:
        """The loss between the rows of a batch, (B, D) -> scalar."""
        if self.config.triplet_on != "raw":
            compared = functional.normalize(compared, dim=1)
        if self.config.metric == "circle":
            return circle_loss(compared, labels)
        if self.config.metric == "multi-similarity":
            return multi_similarity_loss(compared, labels)
        return batch_hard_triplet(compared, labels, self.config.margin)


class MSPFLoss(nn.Module):
    """The mean of the losses of g and f_L, and where they have heads of f_M and f_G; a feature of length 0 has none.

    Attributes:
        parts: of the last batch, detached, as "g/cross_entropy": what the losses of the heads are the sums of; in
            several processes, of this one's images. {} before the first.
    """

    def __init__(self, network: MSPF, classes: int, config: LossConfig) -> None:
        super().__init__()
        shape = network.config
        self.global_length = shape.global_length
        patch_length = shape.fused_length - shape.global_length
        self.fused = Head(shape.fused_length, classes, config)
        self.local = Head(shape.local_length, classes, config) if shape.local_length else None
        self.patches = Head(patch_length, classes, config) if config.patch_head and patch_length else None
        self.patch_neck = nn.BatchNorm1d(patch_length, affine=False)
        has_whole = bool(config.global_head and patch_length and shape.global_length)
        self.whole = Head(shape.global_length, classes, config) if has_whole else None
        self.whole_neck = nn.BatchNorm1d(shape.global_length, affine=False) if has_whole else nn.Identity()
        self.parts: dict[str, Tensor] = {}

    @property
    def heads(self) -> list[Head]:
        """Those that there are."""
        return [head for head in (self.fused, self.local, self.patches, self.whole) if head is not None]

    def forward(self, network: MSPF, features: Features, labels: Tensor) -> Tensor:
        """Features of a batch and their labels (B,) -> scalar."""
        fused, local = features.fused.float(), features.local.float()
        terms = {"g": self.fused(fused, network.fused_neck(fused), labels)}
        if self.local is not None:
            terms["f_L"] = self.local(local, network.local_neck(local), labels)
        if self.patches is not None:
            f_patches = fused[:, self.global_length :]
            terms["f_M"] = self.patches(f_patches, self.patch_neck(f_patches), labels)
        if self.whole is not None:
            f_whole = fused[:, : self.global_length]
            terms["f_G"] = self.whole(f_whole, self.whole_neck(f_whole), labels)
        self.parts = {f"{head}/{name}": x.detach() for head, of_head in terms.items() for name, x in of_head.items()}
        return torch.stack([torch.stack(list(of_head.values())).sum() for of_head in terms.values()]).mean()

    def unweigh_centres(self) -> None:
        """Divide the centres' gradients by the weight that their loss had: they follow the unweighted one."""
        for head in self.heads:
            gradient = head.centre.centres.grad
            if gradient is not None:
                gradient.mul_(len(self.heads) / head.config.centre)
