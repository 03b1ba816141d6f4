"""Data sets in memory: decoded once, split into training and held-out people, drawn in batches on the device."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from mspf.augmentation import augment
from mspf.datasets import I64, ImageList, checksum, held_out_split, read_images, training_images, without_last
from mspf.errors import RecipeError
from mspf.normalisation import normalise
from mspf.recipe import SourceConfig, TrainConfig
from mspf.sampling import PeopleSampler

log = logging.getLogger(__name__)


class DataFacts(msgspec.Struct, frozen=True):
    """What a run writes down about one data set."""

    name: str
    folder: str
    training_images: int
    training_people: int
    held_out_images: int
    held_out_people: int
    cameras: int
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Photographs:
    """Images (N, 3, H, W) uint8 RGB, channels last in memory; labels and cameras (N,), unique over all data sets."""

    images: Tensor
    labels: I64
    cameras: I64


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """People of one data set that nothing is trained on: images as above, pids (N,), camids (N,)."""

    name: str
    images: Tensor
    pids: I64
    camids: I64
    one_camera: bool


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """All data of a run.

    Attributes:
        pools: one per source with a share of its own, or one of everything.
        classes: training people over all pools.
    """

    pools: tuple[Photographs, ...]
    held_out: tuple[HeldOut, ...]
    classes: int
    facts: tuple[DataFacts, ...]

    @property
    def training_images(self) -> int:
        """Over all pools."""
        return sum(len(pool.labels) for pool in self.pools)


class Share(NamedTuple):
    """Which of several processes this is."""

    rank: int = 0
    world: int = 1


ALONE = Share()


class Batch(NamedTuple):
    """Changed images (B, 3, H, W), normalised, channels last, and their labels (B,)."""

    images: Tensor
    labels: Tensor


def load_collection(config: TrainConfig, folders: Mapping[str, Path], device: torch.device) -> Collection:
    """Decode every image of the recipe's data sets; people and cameras of different sets never mix.

    Raises:
        LayoutError: a folder in no known layout. RecipeError: a source without a folder, or too few people.
    """
    shares = config.sources or tuple(SourceConfig(name, 0) for name in folders)
    if {share.name for share in shares} != set(folders):
        wanted = ", ".join(f"{share.name}=DIR" for share in shares)
        raise RecipeError(f"the recipe's data sets are {wanted}; given are {', '.join(folders)}")
    lists = {name: training_images(folder, config.msmt17_validation_part) for name, folder in folders.items()}
    if config.validation_ids:
        for name, listed in lists.items():
            _check_held_out(name, listed, config)
    pools, held_out, facts, classes, cameras = [], [], [], 0, 0
    for share in shares:
        listed = lists[share.name]
        kept = without_last(listed, config.validation_ids)
        people, labels = np.unique(kept.pids, return_inverse=True)
        images = _decode(kept, share.stored_hw or config.size_hw, device)
        pools.append(Photographs(images, labels + classes, kept.camids + cameras))
        classes += len(people)
        cameras += int(kept.camids.max()) + 1
        if config.validation_ids:
            held_out.append(_hold_out(share.name, listed, config, device))
        facts.append(_facts(share.name, folders[share.name], listed, kept))
        log.info("%s: %d images of %d people to train on, %d images of %d held out", *_numbers(facts[-1]))
    if not config.sources:
        pools = [_joined(pools)]
    return Collection(tuple(pools), tuple(held_out), classes, tuple(facts))


def _joined(pools: Sequence[Photographs]) -> Photographs:
    labels, cameras = (np.concatenate(parts) for parts in zip(*((p.labels, p.cameras) for p in pools), strict=True))
    return Photographs(torch.cat([pool.images for pool in pools]), labels, cameras)


def _decode(images: ImageList, size_hw: tuple[int, int], device: torch.device) -> Tensor:
    return torch.from_numpy(read_images(images.paths, size_hw)).to(device).permute(0, 3, 1, 2)


def _hold_out(name: str, listed: ImageList, config: TrainConfig, device: torch.device) -> HeldOut:
    images = held_out_split(listed, config.validation_ids).query
    one_camera = _of_one_camera(listed, config)
    return HeldOut(name, _decode(images, config.size_hw, device), images.pids, images.camids, one_camera)


def _of_one_camera(listed: ImageList, config: TrainConfig) -> bool:
    return config.one_camera or len(np.unique(listed.camids)) == 1


def _check_held_out(name: str, listed: ImageList, config: TrainConfig) -> None:
    """Refuse people to hold out whom the protocol cannot score, before images are decoded."""
    if config.validation_ids >= len(np.unique(listed.pids)):
        raise RecipeError(f"{name}: validation_ids: {config.validation_ids} holds out everybody there is")
    images = held_out_split(listed, config.validation_ids).query
    seen = set(zip(images.pids.tolist(), images.camids.tolist(), strict=True))
    if not _of_one_camera(listed, config) and len(seen) == len(np.unique(images.pids)):
        advice = "hold out more with validation_ids, or score them as a set of one camera (one_camera: true)"
        raise RecipeError(f"{name}: none of the people held out is in two cameras; {advice}")


def _facts(name: str, folder: Path, listed: ImageList, kept: ImageList) -> DataFacts:
    people, kept_people = len(np.unique(listed.pids)), len(np.unique(kept.pids))
    cameras = len(np.unique(listed.camids))
    held_out = len(listed) - len(kept)
    return DataFacts(
        name, str(folder), len(kept), kept_people, held_out, people - kept_people, cameras, checksum(listed)
    )


def _numbers(facts: DataFacts) -> tuple[str, int, int, int, int]:
    return (
        facts.name, facts.training_images, facts.training_people, facts.held_out_images, facts.held_out_people
    )  # fmt: skip


class Feed:
    """Batches on the device, each a pure function of the recipe's seed, the step, the process and who is alike."""

    def __init__(self, config: TrainConfig, pools: Sequence[Photographs], share: Share) -> None:
        """
        Raises:
            RecipeError: a pool has fewer people than a batch wants, or the processes cannot share them evenly.
        """
        wanted = config.people_of_pools
        if uneven := [people for people in wanted if people % share.world]:
            raise RecipeError(f"{uneven[0]} people of a batch cannot be shared by {share.world} processes")
        self._config, self._pools, self._share = config, pools, share
        self._samplers = [
            PeopleSampler.of(pool.labels, people, config.images_per_person, (config.seed, number))
            for number, (pool, people) in enumerate(zip(pools, wanted, strict=True))
        ]

    def draw_alike(self, alike: Sequence[I64]) -> None:
        """From now on people are drawn together with those who look like them: of each pool, as of `PeopleSampler`."""
        self._samplers = [replace(one, alike=near) for one, near in zip(self._samplers, alike, strict=True)]

    def batch(self, step: int) -> Batch:
        """This process's part of a step's batch."""
        config, device = self._config, self._pools[0].images.device
        generator = torch.Generator(device)
        seed = np.random.SeedSequence((config.seed, 1 + step, 1 + self._share.rank))
        generator.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
        images, labels = [], []
        for pool, sampler in zip(self._pools, self._samplers, strict=True):
            people = sampler.batch(step).reshape(-1, config.images_per_person)
            rows = people[self._share.rank :: self._share.world].ravel()
            raw = pool.images[torch.from_numpy(rows).to(device)].float()
            images.append(augment(raw, config.size_hw, config.augment, generator))
            labels.append(torch.from_numpy(pool.labels[rows]).to(device))
        ready = normalise(torch.cat(images)).contiguous(memory_format=torch.channels_last)
        return Batch(ready, torch.cat(labels))
