"""Bars with time elapsed and left, shown from their first step on: an error before it stands alone; and the log."""

import logging
from collections.abc import Callable

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mspf.run import Progress as Step


def make_bar(console: Console, passing: bool = False) -> Progress:
    """A bar that `training` or `counting` moves; `stop` it in the end.

    Args:
        passing: it vanishes when it is done.
    """
    times = (MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    columns = (BarColumn(), *times, TextColumn("{task.fields[note]}"))
    return Progress(*columns, console=console, transient=passing, redirect_stdout=False)  # stdout may be a file


def say(console: Console) -> None:
    """What the libraries log is shown there."""
    handler = RichHandler(console=console, show_path=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])


def hush(bar: Progress) -> None:
    """In all processes of a run but the first: nothing is said or drawn."""
    logging.disable(logging.INFO)
    bar.disable = True


def stop(bar: Progress) -> None:
    """Leave the bar as it is, or vanish; nothing where it was never shown."""
    if bar.live.is_started:
        bar.stop()


def training(bar: Progress, every: int = 10) -> Callable[[Step], None]:
    """What moves a bar with the steps of a run; the loss is fetched from the device only now and then."""
    task = bar.add_task("", note="", total=None)

    def watch(step: Step) -> None:
        bar.start()
        note = {"note": f"epoch {step.epoch:.1f} loss {float(step.loss):.3f}"} if step.step % every == 0 else {}
        bar.update(task, completed=step.step, total=step.steps, **note)

    return watch


def counting(bar: Progress, total: int, note: str) -> Callable[[int], None]:
    """What moves a bar by so many of `total`; it stops at the last, so that what is printed then stands alone."""
    task, left = bar.add_task("", note=note, total=total), total

    def watch(count: int) -> None:
        nonlocal left
        bar.start()
        bar.advance(task, count)
        left -= count
        if left <= 0:
            bar.remove_task(task)
            stop(bar)

    return watch
