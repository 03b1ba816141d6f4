"""The compact head: a linear map of the full descriptor to fewer numbers, learnt on training people.

It starts as the projection that keeps most of the inner products, and learns from there: the triplets of the frozen
network's descriptors. Measured against projections alone in docs/mspf.md.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mspf.datasets import I64
from mspf.errors import RecipeError
from mspf.losses import batch_hard_triplet
from mspf.network import MSPF
from mspf.sampling import PeopleSampler

log = logging.getLogger(__name__)


class HeadConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the head is fitted.

    Attributes:
        length: numbers that remain.
        steps: of Adam, its rate falling from `lr` by a cosine; 0 keeps the projection.
        people: of a batch, all of one data set, times `images` each; fewer where a set has fewer.
        margin: of the triplets, between unit rows.
        enough_people: fewer than these over all sets give the projection alone. Measured: a head learnt on 50 or 150
            people is worse than none for people of another kind (docs/mspf.md).
    """

    length: int = 512
    steps: int = 1200
    lr: float = 3e-4
    people: int = 32
    images: int = 4
    margin: float = 0.3
    enough_people: int = 600
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Full descriptors (N, D) of one data set, and whose they are: labels (N,)."""

    rows: Tensor
    labels: I64


def fit_head(sets: Sequence[People], config: HeadConfig) -> Tensor:
    """The matrix (length, D) of the compact head.

    Raises:
        RecipeError: fewer images than `length`, or a set of fewer than two people.
    """
    images = sum(len(one.rows) for one in sets)
    if images < config.length:
        raise RecipeError(f"{images} images cannot fit {config.length} axes; give more, or --length {images} or less")
    if any(len(np.unique(one.labels)) < 2 for one in sets):
        raise RecipeError("a data set has one person alone; a head is fitted to at least two of each")
    axes = principal_axes(torch.cat([one.rows for one in sets]), config.length)
    people = sum(len(np.unique(one.labels)) for one in sets)
    if config.steps and people < config.enough_people:
        log.warning("%d people are too few to learn a head from; it stays a projection", people)
    return learn_head(axes, sets, config) if config.steps and people >= config.enough_people else axes


def principal_axes(rows: Tensor, length: int) -> Tensor:
    """Orthonormal axes of the largest second moments, not centred: (N, D) -> (length, D).

    Not centred and not whitened, so that similarities change as little as a projection can (Eckart and Young 1936).
    """
    with torch.random.fork_rng(devices=()):  # a randomised method (Halko et al. 2011); the same axes every time
        torch.manual_seed(0)
        axes: Tensor = torch.svd_lowrank(rows, min(length + 64, *rows.shape), niter=4)[2].T[:length]
    return axes.contiguous()


def learn_head(axes: Tensor, sets: Sequence[People], config: HeadConfig) -> Tensor:
    """The axes (length, D), moved until people stand apart: batch-hard triplets within one data set at a time."""
    weight = axes.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([weight], config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    samplers = [
        PeopleSampler.of(
            one.labels, min(config.people, len(np.unique(one.labels))), config.images, (config.seed, place)
        )
        for place, one in enumerate(sets)
    ]
    for step in range(config.steps):
        turn, place = divmod(step, len(sets))
        rows = samplers[place].batch(turn)
        embeddings = functional.normalize(sets[place].rows[rows] @ weight.T)
        loss = batch_hard_triplet(embeddings, torch.from_numpy(sets[place].labels[rows]), config.margin)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return weight.detach()


def with_compact_head(network: MSPF, weight: Tensor) -> MSPF:
    """A copy of the network that ends in the head (length, D)."""
    config = msgspec.structs.replace(network.config, compact=len(weight))
    compact = MSPF(config).eval().requires_grad_(False)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("compact")}
    compact.load_state_dict(state | {"compact.weight": weight})
    return compact
