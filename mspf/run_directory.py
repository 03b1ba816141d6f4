"""What a training run leaves behind: its recipe, its data, its metrics, its curves and its checkpoint."""

import logging
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from mspf.errors import RunError
from mspf.photographs import DataFacts
from mspf.recipe import TrainConfig
from mspf.validation import Score
from mspf.weights import file_sha256

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch.utils.tensorboard.writer import SummaryWriter

log = logging.getLogger(__name__)
Decoded = TypeVar("Decoded")


class RunFacts(msgspec.Struct, frozen=True):
    """run.json: what was trained on what by what.

    Attributes:
        initial_weights: their file, or "none"; initial_sha256: its digest.
        initial_data, initial_held_out_ids: what they were trained on, as `read_facts` says.
    """

    data: tuple[DataFacts, ...]
    summary: str
    initial_weights: str
    device: str
    processes: int
    initial_sha256: str = ""
    initial_data: str = ""
    initial_held_out_ids: str = ""
    torch_version: str = "unknown"
    python_version: str = "unknown"
    git_revision: str = "unknown"


class Metrics(msgspec.Struct, frozen=True):
    """One line of metrics.jsonl: an epoch, or the part of one since the last line.

    Attributes:
        loss: the mean of those of g, f_L and whatever else has a head.
        loss_parts: what each of them is the sum of, as "g/cross_entropy"; of several processes, the first one's.
    """

    epoch: float
    step: int
    loss: float
    lr: float
    images_per_s: float
    scores: list[Score] = []
    loss_parts: dict[str, float] = {}


def git_revision(folder: Path) -> str:
    """The commit of a checkout, with -dirty where files differ; outside of one, that it is none."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "no checkout"


class RunDirectory:
    """A folder with config.yaml, run.json, metrics.jsonl, last.pt, curves.png and tensorboard/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = folder / "last.pt"

    def hold_to(self, config: TrainConfig, names: Sequence[str], init: Path | None) -> None:
        """Hold a run that goes on to what it was, as far as that is known before its images are read.

        Args:
            names: of its data sets; init: the weights it starts from.

        Raises:
            RunError: the folder holds a run of another recipe, other data sets or from other weights.
        """
        if not self.checkpoint.exists():
            return
        before = self._read("config.yaml", lambda data: msgspec.yaml.decode(data, type=TrainConfig))
        fields = (one.name for one in msgspec.structs.fields(TrainConfig))
        known = self._facts()
        trained_on = [one.name for one in known.data]
        if differing := [name for name in fields if getattr(before, name) != getattr(config, name)]:
            wrong = f"is a run of another recipe ({', '.join(differing)})"
        elif trained_on != list(names):
            wrong = f"was trained on {', '.join(trained_on)}, not {', '.join(names)}"
        elif (init and file_sha256(init)) != known.initial_sha256 and known.initial_sha256:
            wrong = f"started from {known.initial_weights} as it was then, not from {init or 'none'} as it is now"
        elif not known.initial_sha256 and str(init or "none") != known.initial_weights:
            wrong = f"started from {known.initial_weights}, not from {init or 'none'}"
        else:
            return
        raise RunError(f"{self.folder}: {wrong}; give the same, or another --out")

    def begin(self, config: TrainConfig, facts: RunFacts) -> None:
        """Write down what this run is; of one that goes on, hold it to its images.

        Raises:
            RunError: the folder holds a run of other images, or cannot be written.
        """
        if self.checkpoint.exists():
            self._hold_to_images(facts)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "config.yaml").write_bytes(msgspec.yaml.encode(config))
            (self.folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(facts)))
            (self.folder / "metrics.jsonl").write_bytes(b"")
        except OSError as error:
            raise RunError(f"{self.folder}: {error.strerror}; give another --out") from error

    def _facts(self) -> RunFacts:
        return self._read("run.json", lambda data: msgspec.json.decode(data, type=RunFacts))

    def _hold_to_images(self, facts: RunFacts) -> None:
        known = self._facts()
        for one, other in zip(known.data, facts.data, strict=True):
            if one.sha256 != other.sha256:
                raise RunError(f"{self.folder}: was trained on other images of {one.name}; give another --out")
        if known.processes != facts.processes:
            log.warning(
                "%d processes go on with what %d began: not to the same weights", facts.processes, known.processes
            )

    def _read(self, name: str, decode: Callable[[bytes], Decoded]) -> Decoded:
        try:
            return decode((self.folder / name).read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            raise RunError(f"{self.folder / name}: {error}; this run cannot go on, give another --out") from error

    def metrics(self) -> list[Metrics]:
        """The lines so far; [] before the first.

        Raises:
            RunError: one that is none of this project.
        """
        if not (self.folder / "metrics.jsonl").exists():
            return []
        return self._read(
            "metrics.jsonl",
            lambda data: [msgspec.json.decode(x, type=Metrics) for x in data.splitlines() if x.endswith(b"}")],
        )

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps that the checkpoint does not have."""
        known = self.metrics()
        kept = [line for line in known if line.step <= step]
        if len(kept) == len(known):
            return
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
        for name, value in line.loss_parts.items():
            board.add_scalar(f"loss_of_{name}", value, line.step)
        for score in line.scores:
            board.add_scalar(f"rank1/{score.name}", score.rank1, line.step)
            board.add_scalar(f"mAP/{score.name}", score.mean_ap, line.step)


def draw_curves(lines: Sequence[Metrics], path: Path) -> None:
    """Loss and rate over the epochs, and beside them rank-1 and mAP of every held-out set, if there is one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scored = [line for line in lines if line.scores]
    panels = 2 if scored else 1
    figure = Figure(figsize=(5 * panels, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, *right = figure.subplots(1, panels, squeeze=False)[0]
    left.plot([line.epoch for line in lines], [line.loss for line in lines])
    left.set(xlabel="epoch", ylabel="loss")
    rate = left.twinx()
    rate.plot([line.epoch for line in lines], [line.lr for line in lines], color="tab:grey", linestyle=":")
    rate.set_ylabel("rate (dotted)")
    for axes in right:
        _draw_scores(scored, axes)
        axes.set_xlim(left.get_xlim())
    figure.savefig(path)


def _draw_scores(scored: Sequence[Metrics], axes: "Axes") -> None:
    at = [line.epoch for line in scored]
    for number, score in enumerate(scored[0].scores):
        axes.plot(at, [100 * line.scores[number].rank1 for line in scored], ".-", label=f"{score.name} rank-1")
        axes.plot(at, [100 * line.scores[number].mean_ap for line in scored], ".--", label=f"{score.name} mAP")
    axes.set(xlabel="epoch", ylabel="held-out people, per cent", ylim=(0, 100))
    axes.legend()
