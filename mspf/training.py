"""Training: one recipe file in, a checkpoint out, resumable at any moment."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from mspf.augmentation import AugmentConfig, augment
from mspf.datasets import I64, U8, IdentitySampler, list_images, read_images
from mspf.losses import LossConfig, MSPFLoss
from mspf.network import MSPF, MSPFConfig

MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB in 0..1
STD = (0.229, 0.224, 0.225)

log = logging.getLogger(__name__)


class SourceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One data set of a recipe: its name, how many people of it each batch holds, and the size it is kept at."""

    name: str
    people: int
    stored_hw: tuple[int, int] = (128, 64)


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe (configs/train/*.yaml).

    Attributes:
        minutes: length; the schedule follows the time spent, so that any machine ends with a finished network.
        warmup: share of the time in which the learning rate climbs; then it falls by a cosine to `final_lr`.
        ema: decay a step of the averaged weights, which are what is shipped.
        classifier_lr: of the classifiers, whose inputs are long, as a share of `lr`.
        reseed_patches: patch bodies start as copies of the global one, whatever the checkpoint to start from has.
        bf16: bfloat16 autocast.
    """

    sources: tuple[SourceConfig, ...]
    network: MSPFConfig = MSPFConfig()
    losses: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    size_hw: tuple[int, int] = (256, 128)
    images_per_person: int = 4
    minutes: float = 60.0
    lr: float = 2e-3
    final_lr: float = 1e-5
    warmup: float = 0.05
    weight_decay: float = 0.02
    ema: float = 0.998
    classifier_lr: float = 0.1
    reseed_patches: bool = False
    bf16: bool = True
    seed: int = 0


class Photographs(msgspec.Struct, frozen=True, eq=False):
    """One data set in memory: images (N, H, W, 3) uint8 RGB and labels (N,), unique over all data sets."""

    images: U8
    labels: I64


def load_sources(config: TrainConfig, folders: Mapping[str, Path]) -> list[Photographs]:
    """The recipe's data sets, decoded once; labels count on from one to the next, in sorted order of identity.

    Raises:
        KeyError: a data set without a folder.
    """
    loaded: list[Photographs] = []
    classes = 0
    for source in config.sources:
        listed = list_images(folders[source.name])
        pids, labels = np.unique(listed.pids, return_inverse=True)
        loaded.append(Photographs(read_images(listed.paths, source.stored_hw), labels + classes))
        classes += len(pids)
        log.info("%s: %d images of %d people", source.name, len(listed), len(pids))
    return loaded


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Changed images (B, 3, H, W), normalised, channels last, and their labels (B,)."""

    images: Tensor
    labels: Tensor


def normalise(images: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in 0..255 -> what the network takes."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return (images / 255 - mean) / std


def batches(config: TrainConfig, sources: list[Photographs], seed: int) -> Iterator[Batch]:
    """Endless mixed batches: the asked number of people from every data set."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    samplers = [
        iter(IdentitySampler(source.labels, wanted.people, config.images_per_person, rng))
        for source, wanted in zip(sources, config.sources, strict=True)
    ]
    while True:
        images, labels = [], []
        for source, sampler in zip(sources, samplers, strict=True):
            rows = next(sampler)
            raw = torch.from_numpy(source.images[rows]).permute(0, 3, 1, 2).float()
            images.append(augment(raw, config.size_hw, config.augment, generator))
            labels.append(torch.from_numpy(source.labels[rows]))
        ready = normalise(torch.cat(images)).contiguous(memory_format=torch.channels_last)
        yield Batch(ready, torch.cat(labels))


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Linear warm-up, then a cosine; progress in 0..1."""
    if progress < config.warmup:
        return config.lr * (progress / config.warmup * 0.95 + 0.05)
    fall = (progress - config.warmup) / (1 - config.warmup)
    return config.final_lr + (config.lr - config.final_lr) * (1 + math.cos(math.pi * min(fall, 1.0))) / 2


def load_overlap(module: nn.Module, state: Mapping[str, Tensor], strict: bool = False) -> list[str]:
    """Copy what a checkpoint has; of tensors that grew (new people, new levels) the leading block.

    Returns: the names that the checkpoint does not have.

    Raises:
        ValueError: nothing matched, or `strict` and something did not.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    resized = [name for name in own if name in state and own[name].shape != state[name].shape]
    unused = [name for name in state if name not in own]
    if len(missing) == len(own) or (strict and (missing or resized or unused)):
        raise ValueError(f"checkpoint does not fit: missing {missing}; resized {resized}; unused {unused}")
    for name, tensor in own.items():
        if name in state:
            block = tuple(slice(min(sides)) for sides in zip(tensor.shape, state[name].shape, strict=True))
            tensor[block] = state[name][block]
    matched = len(own) - len(missing) - len(resized)
    log.info("%d tensors match, %d resized, %d missing, %d unused", matched, len(resized), len(missing), len(unused))
    return missing


class Trainer:
    """Network, averaged network, losses and optimiser of one run, with its clock."""

    def __init__(self, config: TrainConfig, classes: int) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.network = MSPF(config.network).to(memory_format=torch.channels_last)
        self.losses = MSPFLoss(self.network, classes, config.losses)
        self.averaged = MSPF(config.network).eval().requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        trained = [p for p in self.network.parameters() if p.requires_grad]
        classifiers = list(self.losses.parameters())
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "share": 1.0},
            {"params": [p for p in trained if p.ndim <= 1], "share": 1.0, "weight_decay": 0.0},
            {"params": classifiers, "share": config.classifier_lr},
        ]
        self.optimiser = torch.optim.AdamW(groups, config.lr, weight_decay=config.weight_decay, fused=True)
        self.steps = 0
        self.minutes = 0.0

    def initialise(self, path: Path) -> None:
        """Start from another run's averaged weights; new patch levels start as copies of the global body."""
        state = torch.load(path, weights_only=True)
        missing = load_overlap(self.network, state["averaged"])
        if self.config.reseed_patches or any(name.startswith("patch_bodies") for name in missing):
            self.network.seed_patch_bodies()
        load_overlap(self.losses, state["losses"])
        self.averaged.load_state_dict(self.network.state_dict())

    def save(self, path: Path) -> None:
        """Write everything that resuming needs; an interrupted write leaves the last one."""
        parts = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "losses": self.losses.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "minutes": self.minutes,
            "config": msgspec.json.encode(self.config).decode(),
        }
        torch.save(parts, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def resume(self, path: Path) -> None:
        """Go on where `save` was."""
        state = torch.load(path, weights_only=True)
        for name in ("network", "averaged", "losses", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.steps, self.minutes = state["steps"], state["minutes"]

    def step(self, batch: Batch) -> float:
        """One optimiser step; the loss."""
        rate = learning_rate(self.config, self.minutes / self.config.minutes)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16):
            features = self.network.features(batch.images)
        loss = self.losses(self.network, features, batch.labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.steps += 1
        self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights a step; young averages forget faster."""
        decay = min(self.config.ema, (1 + self.steps) / (10 + self.steps))
        mine, theirs = self.averaged.state_dict(), self.network.state_dict()
        floating = [name for name in mine if mine[name].is_floating_point()]
        torch._foreach_lerp_([mine[n] for n in floating], [theirs[n] for n in floating], 1 - decay)

    def run(self, data: Iterator[Batch], checkpoint: Path, save_every_minutes: float = 1.0) -> None:
        """Train until the recipe's minutes are spent, saving now and then and at the end."""
        saved_at, losses = self.minutes, []
        while self.minutes < self.config.minutes:
            began = time.monotonic()
            losses.append(self.step(next(data)))
            self.minutes += (time.monotonic() - began) / 60
            if self.minutes - saved_at >= save_every_minutes or self.minutes >= self.config.minutes:
                self.save(checkpoint)
                log.info("%.2f min, step %d: loss %.3f", self.minutes, self.steps, float(np.mean(losses)))
                saved_at, losses = self.minutes, []
