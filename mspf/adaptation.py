"""A network made at home on cameras of which there are pictures, but nobody's labels.

In rounds: pictures are described by the network so far, without what their cameras add to everybody; gathered to people
(mspf/clusters.py); and the network is trained on these as if they were known (mspf/run.py).
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from torch import distributed

from mspf.clusters import LEAST, NEIGHBOURS, WITHIN, gathered
from mspf.datasets import F32, I64, ImageList, checksum, training_images
from mspf.descriptors import describe_all, torch_describer, without_camera_means
from mspf.errors import RunError
from mspf.photographs import Share
from mspf.recipe import TrainConfig
from mspf.run import Place, Progress, train
from mspf.thresholds import carried_over
from mspf.weights import file_sha256, load_weights, read_facts

PICTURES = 2000  # by which thresholds are carried over
PEOPLE = "people"  # of each round: what the network is trained on, links to the pictures

log = logging.getLogger(__name__)


class AdaptConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a network is adapted.

    Attributes:
        rounds: of gathering and training.
        neighbours, within, least: how pictures are gathered, see `mspf.clusters.gathered`.
        recipe: of the training of each round; `network` is that of the weights, whatever stands there.
    """

    recipe: TrainConfig
    rounds: int = 4
    neighbours: int = NEIGHBOURS
    within: float = WITHIN
    least: int = LEAST


class Start(msgspec.Struct, frozen=True):
    """What an adaptation began with, written down as adapt.json."""

    config: AdaptConfig
    weights_sha256: str
    pictures: int
    cameras: int
    pictures_sha256: str


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told how far it is, and who may stop it.

    Attributes:
        describing: is given a number of pictures, and gives what is told how many more are described.
        training: gives what is told of every step, anew for each round.
    """

    describing: Callable[[int], Callable[[int], None]] = lambda _: lambda _: None
    training: Callable[[], Callable[[Progress], None]] = lambda: lambda _: None
    stopped: Callable[[], bool] = lambda: False


def adapt(config: AdaptConfig, images: ImageList, weights: Path, out: Path, place: Place, listeners: Listeners) -> bool:
    """Adapt to the end, or go on with what OUT has; False when stopped, all saved.

    Raises:
        MSPFError: see mspf/errors.py.
    """
    network = load_weights(weights).config
    recipe = msgspec.structs.replace(config.recipe, network=msgspec.structs.replace(network, compact=0))
    config = msgspec.structs.replace(config, recipe=recipe)
    if place.share.rank == 0:
        _begin(out, config, images, weights)
    for number in range(1, config.rounds + 1):
        folder = round_folder(out, number)
        if (round_folder(out, number + 1) / PEOPLE).exists():  # it was trained to its end
            weights = folder / "last.pt"
            continue
        if not _all_agree((folder / PEOPLE).exists(), place.share):
            labels = _gather(config, images, weights, place, listeners.describing(len(images)))
            if place.share.rank == 0:
                _write(folder / PEOPLE, images, labels, recipe.people)
        _all_agree(True, place.share)
        seeded = msgspec.structs.replace(recipe, seed=recipe.seed + number)
        data = {PEOPLE: folder / PEOPLE}
        if not train(seeded, data, folder, place, weights, listeners.stopped, listeners.training()):
            return False
        weights = folder / "last.pt"
    return True


def round_folder(out: Path, number: int) -> Path:
    """Where a round, counted from 1, leaves its people and its training run."""
    return out / f"round-{number}"


def thresholds_after(thresholds: Sequence[float], before: Path, after: Path, folder: Path, place: Place) -> list[float]:
    """What the thresholds of the weights before are with those after, by some of the pictures of found people.

    Both without what cameras add to everybody, and by the compact head where there is one.

    Raises:
        MSPFError: see mspf/errors.py.
    """
    found = training_images(folder)
    chosen = np.random.default_rng(0).permutation(len(found))[:PICTURES]
    images = found.where(np.isin(np.arange(len(found)), chosen))
    rows = []
    for weights in (before, after):
        network = load_weights(weights).to(place.device).eval()
        size = read_facts(weights)
        size_hw = (int(size["input_height"]), int(size["input_width"]))
        described = describe_all(images, torch_describer(network), size_hw)
        first = described.get("compact", described["full"])
        rows.append(without_camera_means(first.embeddings, images.camids))
    try:
        return carried_over(thresholds, rows[0], rows[1], images.pids, images.camids)
    except ValueError as error:
        raise RunError(f"{folder}: {error}") from error


def _begin(out: Path, config: AdaptConfig, images: ImageList, weights: Path) -> None:
    """Write down what is adapted to what, or hold an adaptation that goes on to it."""
    cameras = len(np.unique(images.camids))
    start = Start(config, file_sha256(weights), len(images), cameras, checksum(images))
    path = out / "adapt.json"
    try:
        if path.exists():
            before = msgspec.json.decode(path.read_bytes(), type=Start)
            wrong = [one for one in Start.__struct_fields__ if getattr(before, one) != getattr(start, one)]
            if wrong:
                raise RunError(f"{out}: was begun with another {', '.join(wrong)}; give the same, or another --out")
            return
        out.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(start)) + b"\n")
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}; give another --out") from error
    except msgspec.MsgspecError as error:
        raise RunError(f"{path}: {error}; give another --out") from error


def _gather(config: AdaptConfig, images: ImageList, weights: Path, place: Place, watch: Callable[[int], None]) -> I64:
    """Who is on each picture, (N,), by the weights so far; the processes share the work of describing."""
    network, share = load_weights(weights).to(place.device).eval(), place.share
    own = images.where(np.arange(len(images)) % share.world == share.rank)
    describe = torch_describer(network)
    found = describe_all(own, describe, config.recipe.size_hw, watch=lambda count: watch(count * share.world))["full"]
    rows = _interleaved(found.embeddings, len(images), share)
    return gathered(without_camera_means(rows, images.camids), config.neighbours, config.within, config.least)


def _interleaved(own: F32, count: int, share: Share) -> F32:
    """The rows (N, D) of all processes, of which each described every `world`th picture."""
    if share.world == 1:
        return own
    parts: list[F32] = [own] * share.world
    distributed.all_gather_object(parts, own)
    rows = np.empty((count, own.shape[1]), np.float32)
    for rank, part in enumerate(parts):
        rows[rank :: share.world] = part
    return rows


def _all_agree(answer: bool, share: Share) -> bool:
    """The first process's answer, once all have come so far."""
    answers: list[bool] = [answer]
    if share.world > 1:
        distributed.broadcast_object_list(answers)
    return answers[0]


def _write(folder: Path, images: ImageList, labels: I64, least: int) -> None:
    """Links to the pictures of gathered people, in a folder that is there whole or not at all.

    Raises:
        RunError: fewer people than a batch holds, or they cannot be written.
    """
    people, taken = int(labels.max(initial=-1)) + 1, labels >= 0
    log.info("%d people found on %d of %d pictures", people, taken.sum(), len(images))
    if people < least:
        raise RunError(
            f"{people} people were found on {len(images)} pictures, too few for a batch of {least}; give more "
            "pictures, a larger --within, or --set people=N"
        )
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        for number in np.flatnonzero(taken):
            path = images.paths[number].resolve()
            link = part / f"{labels[number] + 1:05d}_c{images.camids[number]}_{number}{path.suffix}"
            link.symlink_to(path)
        part.rename(folder)
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}; give another --out") from error
