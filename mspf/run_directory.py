"""What a training run leaves behind: its recipe, its data, its metrics, its curves and its checkpoint."""

import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch

from mspf.errors import RunError
from mspf.photographs import DataFacts
from mspf.recipe import TrainConfig
from mspf.validation import Score

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class RunFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """run.json: what was trained on what by what."""

    data: tuple[DataFacts, ...]
    summary: str
    initial_weights: str
    device: str
    processes: int
    torch_version: str = torch.__version__
    python_version: str = platform.python_version()
    git_revision: str = ""


class Metrics(msgspec.Struct, frozen=True):
    """One line of metrics.jsonl: an epoch, or the part of one since the last line."""

    epoch: float
    step: int
    loss: float
    lr: float
    images_per_s: float
    scores: list[Score] = []


def git_revision(folder: Path) -> str:
    """The commit of a checkout, with -dirty where files differ; empty outside of one."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


class RunDirectory:
    """A folder with config.yaml, run.json, metrics.jsonl, last.pt, curves.png and tensorboard/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = folder / "last.pt"

    def begin(self, config: TrainConfig, facts: RunFacts) -> None:
        """Write down what this run is; of one that goes on, hold it to what it was.

        Raises:
            RunError: the folder holds a run of another recipe or other data, or cannot be written.
        """
        known = self.folder / "config.yaml"
        try:
            if self.checkpoint.exists():
                self._hold_to(config, facts)
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            known.write_bytes(msgspec.yaml.encode(config))
            (self.folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(facts)))
            (self.folder / "metrics.jsonl").write_bytes(b"")
        except OSError as error:
            raise RunError(f"{self.folder}: {error.strerror}; give another --out") from error

    def _hold_to(self, config: TrainConfig, facts: RunFacts) -> None:
        before = msgspec.yaml.decode((self.folder / "config.yaml").read_bytes())
        now = msgspec.to_builtins(config)
        if differing := [key for key in now if before.get(key) != msgspec.yaml.decode(msgspec.yaml.encode(now[key]))]:
            raise RunError(f"{self.folder}: is a run of another recipe ({', '.join(differing)}); give another --out")
        known = msgspec.json.decode((self.folder / "run.json").read_bytes(), type=RunFacts)
        for one, other in zip(known.data, facts.data, strict=False):
            if (one.name, one.sha256) != (other.name, other.sha256):
                raise RunError(f"{self.folder}: was trained on other images of {one.name}; give another --out")

    def metrics(self) -> list[Metrics]:
        """The lines so far; [] before the first."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [msgspec.json.decode(line, type=Metrics) for line in lines if line.endswith(b"}")]

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps that the checkpoint does not have."""
        kept = [line for line in self.metrics() if line.step <= step]
        (self.folder / "metrics.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in kept))

    @contextmanager
    def board(self, step: int) -> "Iterator[SummaryWriter]":
        """TensorBoard's file, without what it has from steps beyond this one."""
        from torch.utils.tensorboard.writer import SummaryWriter

        with SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1) as writer:
            yield writer

    def add(self, line: Metrics, board: "SummaryWriter", draw: bool) -> None:
        """Append a line to metrics.jsonl, and the same to TensorBoard; draw the curves anew.

        Raises:
            RunError: no room.
        """
        try:
            with (self.folder / "metrics.jsonl").open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
            if draw:
                draw_curves(self.metrics(), self.folder / "curves.png")
        except OSError as error:
            raise RunError(f"{self.folder}: {error.strerror}; free some room and run the same again") from error
        for name in ("loss", "lr", "images_per_s"):
            board.add_scalar(name, getattr(line, name), line.step)
        for score in line.scores:
            board.add_scalar(f"rank1/{score.name}", score.rank1, line.step)
            board.add_scalar(f"mAP/{score.name}", score.mean_ap, line.step)


def draw_curves(lines: Sequence[Metrics], path: Path) -> None:
    """Loss and rate, and rank-1 and mAP of every held-out set, over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [line.epoch for line in lines]
    left.plot(epochs, [line.loss for line in lines], label="loss")
    left.set(xlabel="epoch", ylabel="loss")
    scored = [line for line in lines if line.scores]
    for number, name in enumerate([score.name for score in scored[0].scores] if scored else []):
        at = [line.epoch for line in scored]
        right.plot(at, [100 * line.scores[number].rank1 for line in scored], ".-", label=f"{name} rank-1")
        right.plot(at, [100 * line.scores[number].mean_ap for line in scored], ".--", label=f"{name} mAP")
    right.set(xlabel="epoch", ylabel="held-out people, per cent", ylim=(0, 100))
    if scored:
        right.legend()
    figure.savefig(path)
