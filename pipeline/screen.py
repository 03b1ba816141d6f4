"""What the command line shows: the table of a run in progress, its end, scores, visits, who was found, plans."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.config import CameraConfig, Site
from pipeline.datatypes import U8, Detections
from pipeline.results import Evaluation, Summary, hints, short_reason
from pipeline.telemetry import CameraCounters

if TYPE_CHECKING:
    from pipeline.build import Built
    from pipeline.find import Like
    from pipeline.visits import Visit

_MOST_WAYS = 20  # shown
_SHRUNK = 0.5  # pictures that the detector sees at less than this share of their size are told

# Paths and urls may hold [brackets]; a file has room for a table's lines.
console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)


class Screen:
    """The table of a run in progress."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._started = time.monotonic()
        self._next_line = 0.0

    def __call__(self, counters: Mapping[str, CameraCounters], identities: int) -> None:
        """Brings it up to date; without a terminal a line every five seconds."""
        elapsed = time.monotonic() - self._started
        table = Table(box=SIMPLE, title=f"{elapsed:.0f} s · {identities} identities", title_justify="left")
        for name in ("camera", "state", "frames", "fps", "dropped", "in view", "tracks"):
            table.add_column(name, justify="left" if name in ("camera", "state") else "right")
        for camera_id, one in counters.items():
            state = "up" if one.up else one.reason or "connecting"
            fps = one.fps or one.frames / max(elapsed, 1e-3)
            dropped = sum(one.dropped.values())
            numbers = (one.frames, f"{fps:.1f}", dropped, one.visible, one.tracks)
            table.add_row(camera_id, state, *(str(number) for number in numbers))
        if console.is_terminal:
            self._live.update(table)
        elif elapsed >= self._next_line:
            self._next_line = elapsed + 5.0
            frames = sum(one.frames for one in counters.values())
            console.print(
                f"{elapsed:5.0f} s  {frames} frames  {frames / elapsed:.1f} frames/s  {identities} identities"
            )


@contextmanager
def progress() -> Iterator[Screen]:
    """Shows a run while it lasts."""
    with Live(console=console, refresh_per_second=4, transient=True, auto_refresh=console.is_terminal) as live:
        yield Screen(live)


def show_summary(summary: Summary, site: Site, out: Path) -> None:
    """A run at its end."""
    table = Table(box=SIMPLE, title=f"{summary.mode}, {summary.seconds:.1f} s", title_justify="left")
    for name in ("camera", "frames", "fps", "dropped", "tracks", "crops described"):
        table.add_column(name, justify="left" if name == "camera" else "right")
    table.add_column("problem" if any(one.reason for one in summary.cameras.values()) else "")
    for camera in site.cameras:
        one = summary.cameras[camera.id]
        numbers = (one.frames, f"{one.fps:.1f}", one.dropped, one.tracks, one.crops)
        table.add_row(camera.id, *(str(number) for number in numbers), short_reason(one.reason, camera))
    console.print(table)
    latency = "  ".join(f"{name} {value:.0f} ms" for name, value in summary.latency_ms.items())
    console.print(f"identities   {summary.identities}")
    console.print(f"frames/s     {summary.fps:.1f} over {len(summary.cameras)} cameras")
    console.print(f"latency      {latency}")
    console.print(f"memory       {summary.rss_mb:.0f} MB resident")
    for hint in hints(summary, site):
        console.print(f"hint         {hint}", soft_wrap=True)
    if summary.evaluation:
        show_scores(summary.evaluation)
    console.print(f"run          {out}", soft_wrap=True)


def show_scores(scores: Evaluation) -> None:
    """What a run scores against ground truth."""
    table = Table(box=SIMPLE, title="across all cameras", title_justify="left")
    for name in ("", "IDF1", "HOTA", "AssA", "DetA", "precision", "recall", "id switches"):
        table.add_column(name, justify="right" if name else "left")
    for name, one in (("strictly online", scores), ("after merges", scores.after_merges)):
        values = (one.idf1, one.hota, one.assa, one.deta, one.precision, one.recall)
        table.add_row(name, *(f"{value:.3f}" for value in values), str(one.id_switches))
    console.print(table)
    console.print(f"protocol     {scores.protocol}", soft_wrap=True)


def show_visits(found: "Sequence[Visit]") -> None:
    """Visits by camera, and how often people went from camera to camera."""
    from pipeline.visits import ways

    people = len({one.identity_id for one in found})
    table = Table(box=SIMPLE, title=f"people {people}, visits {len(found)}", title_justify="left")
    for name in ("camera", "people", "visits", "median s"):
        table.add_column(name, justify="left" if name == "camera" else "right")
    for camera_id in sorted({one.camera_id for one in found}):
        here = [one for one in found if one.camera_id == camera_id]
        stay = median(one.seconds for one in here)
        table.add_row(camera_id, f"{len({one.identity_id for one in here})}", f"{len(here)}", f"{stay:.1f}")
    console.print(table)
    table = Table(box=SIMPLE)
    for name in ("from", "to", "times", "median s between"):
        table.add_column(name, justify="left" if name in ("from", "to") else "right")
    for way in ways(found)[:_MOST_WAYS]:
        between = median(way.seconds)
        told = f"{between:.1f}" if between >= 0 else "at once"
        table.add_row(way.came_from, way.came_to, f"{len(way.seconds)}", told)
    if table.row_count:
        console.print(table)


def show_found(found: "Sequence[Like]", people: int, joins_from: float) -> None:
    """Who looks like a photograph.

    Args:
        people: that were found in it.
        joins_from: the similarity from which a run takes two views for one person among so many.
    """
    from pipeline.visits import told_time

    shown = {0: "nobody was found in it, so all of it is compared", 1: "one person in it"}
    console.print(f"photograph   {shown.get(people, f'{people} people in it, the largest is compared')}")
    table = Table(box=SIMPLE)
    for name in ("person", "similarity", "first seen", "last seen", "cameras"):
        table.add_column(name, justify="right" if name in ("person", "similarity") else "left")
    for one in found:
        times = (one.visits[0].since, max(visit.until for visit in one.visits))
        cameras = ", ".join(sorted({visit.camera_id for visit in one.visits}))
        table.add_row(f"{one.identity_id}", f"{one.similarity:.2f}", *map(told_time, times), cameras)
    console.print(table)
    console.print(f"among so many people, a run takes two views for one person from about {joins_from:.2f} on")


def first_frame(camera: CameraConfig, image_bgr: U8, people: Detections, scale: float) -> str:
    """Who is seen and, as `ignore` has it, where they stand.

    Args:
        scale: how large the detector sees it, as a share of its size.
    """
    from pipeline.ignored import in_areas, standing

    height, width = image_bgr.shape[:2]
    ignored = in_areas(people, camera.ignore, (width, height))
    shrunk = f" (the detector sees {width * scale:.0f}x{height * scale:.0f})" if scale < _SHRUNK else ""
    told = f"{camera.id}: ok, {width}x{height}{shrunk}, {len(people)} people in the first frame"
    places = [f"[{x:.2f}, {y:.2f}]" for x, y in standing(people.boxes_xyxy, (width, height)).tolist()]
    for which, where in (("standing at", ~ignored), ("to be ignored at", ignored)):
        if where.any():
            told += f", {which} {' '.join(place for place, there in zip(places, where, strict=True) if there)}"
    return told


def show_plans(built: "Sequence[Built]") -> None:
    """Plans that were built, and how fast they are."""
    from pipeline.build import TIMED_BATCHES

    keys = [one.plan.key for one in built]
    flavours = " and ".join(sorted({f"{key.flavour} {key.version}" for key in keys}))
    table = Table(box=SIMPLE, title=f"{flavours}, at most {keys[0].max_batch} at once", title_justify="left")
    for name in ("network", "in", "layers", "MB", "build s", *(f"ms b{batch}" for batch in TIMED_BATCHES)):
        table.add_column(name, justify="left" if name in ("network", "in") else "right", overflow="fold")
    for one in built:
        facts = (f"{one.plan.layers}", f"{one.plan.size / 1e6:.1f}", f"{one.plan.seconds:.1f}")
        latency = [f"{value:.2f}" for value in one.latency_ms] or ["-"] * len(TIMED_BATCHES)
        table.add_row(Path(one.name).stem, one.plan.key.precision, *facts, *latency)
    console.print(table)
    for one in built:
        console.print(f"{one.plan.path}{f': not timed, {one.untimed}' if one.untimed else ''}", soft_wrap=True)
