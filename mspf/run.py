"""A whole training run: data in, a run directory out; stopped at any step, it goes on to the same result."""

import logging
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, distributed

from mspf.checkpoint import initialise, read_checkpoint, write_checkpoint
from mspf.datasets import I64
from mspf.errors import CheckpointError, RecipeError
from mspf.lookalikes import lookalikes
from mspf.photographs import ALONE, Collection, Feed, Share, load_collection
from mspf.recipe import TrainConfig, learning_rate
from mspf.run_directory import Metrics, RunDirectory, RunFacts, git_revision
from mspf.training import Trainer, kernels
from mspf.validation import validate
from mspf.weights import Origin, file_sha256, origin

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in steps; the loss of the last one is on the device."""

    step: int
    steps: int
    epoch: float
    loss: Tensor


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run computes: its device, and its share among the processes of one run."""

    device: torch.device
    share: Share = ALONE


def train(
    config: TrainConfig,
    folders: Mapping[str, Path],
    out: Path,
    place: Place,
    init: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
    watch: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train to the recipe's end, or go on with what OUT has; False when `stopped` said so, all saved.

    Args:
        folders: name -> data set in any known layout.
        init: weights to start from; a run that goes on is held to the same.

    Raises:
        MSPFError: see mspf/errors.py.
    """
    directory = RunDirectory(out)
    if init:
        read_checkpoint(init)  # what is wrong with it is said before all images are read
    directory.hold_to(config, [source.name for source in config.sources] or list(folders), init)
    if config.alike and not init:
        raise RecipeError("alike: weights have to say who looks like whom; give some with --init, or alike: 0")
    collection = load_collection(config, folders, place.device)
    if place.share.rank == 0:
        directory.begin(config, _facts(config, collection, init, place))
    trainer = Trainer(config, collection.classes, place.device, place.share)
    feed = Feed(config, collection.pools, place.share)
    if directory.checkpoint.exists():
        _resume(trainer, directory, place.share)
    elif init:
        initialise(trainer.network, trainer.losses, init, config.reseed_patches)
        trainer.restart_average()
    with kernels(config):
        if config.alike:
            trainer.alike = trainer.alike or _alike(trainer, collection, place.share)
            feed.draw_alike(trainer.alike)
        return _Loop(config, collection, directory, trainer, place, feed, stopped, watch).run()


def _facts(config: TrainConfig, collection: Collection, init: Path | None, place: Place) -> RunFacts:
    earlier = origin(init) if init else Origin("", "")
    return RunFacts(
        collection.facts,
        f"{collection.classes} people, {collection.training_images} images, batches of {config.batch_images}",
        str(init or "none"),
        torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else place.device.type,
        place.share.world,
        initial_sha256=file_sha256(init) if init else "",
        initial_data=earlier.data,
        initial_held_out_ids=earlier.held_out_ids,
        torch_version=str(torch.__version__),
        python_version=platform.python_version(),
        git_revision=git_revision(Path(__file__).parent),
    )


def _alike(trainer: Trainer, collection: Collection, share: Share) -> list[I64]:
    """Who looks like whom in every pool, by the weights to start from; the first process finds it for all."""
    config, found = trainer.config, [np.zeros((0, 0), np.int64) for _ in collection.pools]
    if share.rank == 0:
        log.info("who looks like whom, by the weights to start from")
        for number, (pool, people) in enumerate(zip(collection.pools, config.people_of_pools, strict=True)):
            found[number] = lookalikes(trainer.averaged, pool, config.size_hw, config.alike * (people - 1))
    if share.world > 1:
        distributed.broadcast_object_list(found, device=trainer.device)
    return found


def _resume(trainer: Trainer, directory: RunDirectory, share: Share) -> None:
    try:
        trainer.load_state(read_checkpoint(directory.checkpoint))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{directory.checkpoint}: is no checkpoint of this run ({error})") from error
    if share.rank == 0:
        directory.forget_after(trainer.steps)
    log.info("going on from step %d", trainer.steps)


class _Loop:
    """The steps of one run, with what happens between them."""

    def __init__(
        self,
        config: TrainConfig,
        collection: Collection,
        directory: RunDirectory,
        trainer: Trainer,
        place: Place,
        feed: Feed,
        stopped: Callable[[], bool],
        watch: Callable[[Progress], None],
    ) -> None:
        self.config, self.directory, self.trainer, self.place = config, directory, trainer, place
        self.feed, self.stopped, self.watch = feed, stopped, watch
        self.held_out = collection.held_out
        self.per_epoch = max(collection.training_images // config.batch_images, 1)
        self.steps = max(round(config.epochs * self.per_epoch), 1)
        self.timed_from, self.timed_step = time.monotonic(), trainer.steps

    def run(self) -> bool:
        """True at the end of the recipe, False when stopped."""
        if self.trainer.steps == self.steps:
            log.info("the run is finished already; another --out begins a new one")
            return True
        first = self.place.share.rank == 0
        with self.directory.board(self.trainer.steps) if first else nullcontext() as board:
            return self._steps(board)

    def _steps(self, board: "SummaryWriter | None") -> bool:
        trainer, saved_at = self.trainer, time.monotonic()
        while trainer.steps < self.steps:
            loss = trainer.step(self.feed.batch(trainer.steps), trainer.steps / self.per_epoch)
            self.watch(Progress(trainer.steps, self.steps, trainer.steps / self.per_epoch, loss))
            scored = self._due(self.config.validate_every)
            if scored or self._due(1.0):
                self._record(scored, board)
            stop = self._any_stopped()
            waited = time.monotonic() - saved_at > 60 * self.config.save_every_minutes
            if stop or scored or waited:
                self._save()
                saved_at = time.monotonic()
            if stop:
                return trainer.steps == self.steps
        return True

    def _due(self, epochs: float) -> bool:
        """Whether a multiple of so many epochs, or the run, ends with this step."""
        every = max(round(epochs * self.per_epoch), 1)
        return self.trainer.steps % every == 0 or self.trainer.steps == self.steps

    def _record(self, scored: bool, board: "SummaryWriter | None") -> None:
        """A line of metrics; every process sees a loss that is no number, the one with a board writes."""
        trainer = self.trainer
        loss, parts = trainer.take_mean_loss()
        epoch = trainer.steps / self.per_epoch
        spent = time.monotonic() - self.timed_from
        speed = (trainer.steps - self.timed_step) * self.config.batch_images / max(spent, 1e-9)
        if board:
            scores = validate(trainer.averaged, self.held_out) if scored else []
            line = Metrics(epoch, trainer.steps, loss, learning_rate(self.config, epoch), speed, scores, parts)
            self.directory.add(line, board, draw=scored)
            told = "".join(f", {s.name} {100 * s.rank1:.1f}/{100 * s.mean_ap:.1f}" for s in scores)
            log.info("epoch %.1f: loss %.3f, %.0f images/s%s", epoch, loss, speed, told)
        self.timed_from, self.timed_step = time.monotonic(), trainer.steps

    def _save(self) -> None:
        self.trainer.check()
        if self.place.share.rank == 0:
            write_checkpoint(self.directory.checkpoint, self.trainer.state())

    def _any_stopped(self) -> bool:
        """Whether any process was told to stop: they stop together, at the same step."""
        if self.place.share.world == 1:
            return self.stopped()
        flag = torch.tensor(float(self.stopped()), device=self.place.device)
        distributed.all_reduce(flag)
        return bool(flag > 0)
