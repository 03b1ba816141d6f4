"""The command line: run, merge, regroup, visits, people, find, simulate, evaluate, build, check."""

import math
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from pipeline.config import Site, load_site
from pipeline.errors import ConfigError, PipelineError, SourceError, StoreError
from pipeline.results import Summary, evaluate_run, overlooked, write_merged
from pipeline.screen import (
    console,
    first_frame,
    progress,
    show_found,
    show_plans,
    show_scores,
    show_summary,
    show_visits,
)
from pipeline.sinks import locked, write_json

if TYPE_CHECKING:
    from pipeline.build import Wanted

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="From camera streams to cross-camera identities. Try: mspf-pipeline run --cams configs/demo.yaml",
)


def _folder(text: str) -> Path:
    if not text:
        raise ConfigError("--out is empty; give a folder")
    return Path(text)


def _show_version(asked: bool) -> None:
    if asked:
        console.print(f"mspf-pipeline {version('mspf-pipeline')}")
        raise typer.Exit


AWAY = "Seconds out of a camera's view that do not end a visit."
Cams = Annotated[Path, typer.Option("--cams", help="The site: a cams.yaml.")]


def main() -> None:
    """Entry point: failures a user can mend are one line, and exit status 2."""
    try:
        app()
    except PipelineError as error:
        Console(stderr=True, highlight=False, markup=False).print(str(error), style="bold red", soft_wrap=True)
        sys.exit(2)


@app.callback()
def _options(
    asked: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """What stands before a command."""


@app.command()
def run(
    cams: Cams,
    out: Annotated[
        Path | None, typer.Option(parser=_folder, metavar="<path>", help="Run directory; default runs/<date and time>.")
    ] = None,
    replay: Annotated[
        bool | None,
        typer.Option(
            "--replay/--live",
            help="Replay files as fast as they go, no frame dropped; or play them, like streams, at their own speed. "
            "Default: replay when every source is a file.",
        ),
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="Also write mosaic.mp4, all cameras annotated.")] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also keep a picture of every described track, for `people`.")
    ] = False,
    tracklets: Annotated[
        bool, typer.Option("--tracklets", help="Also keep every track and what it looked like, for `regroup`.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop a live run after so long; default: never.")] = None,
) -> None:
    """Follow people through all cameras of a site.

    Example: mspf-pipeline run --cams cams.yaml --video
    """
    site = load_site(cams)
    streams = [camera.id for camera in site.cameras if not camera.is_file]
    if replay and streams:
        raise ConfigError(f"--replay needs files; {', '.join(streams)} can only run --live")
    if seconds is not None and not 0 < seconds < math.inf:
        raise ConfigError(f"--seconds {seconds:g} is no length of time; give more than 0, or leave it out")
    replay = not streams if replay is None else replay
    if replay and seconds is not None:
        raise ConfigError(f"--seconds {seconds:g} stops a live run, this one replays files; add --live")
    out = out or Path("runs") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    _make(out)
    with locked(out):
        follow = _replay if replay else partial(_live, seconds=seconds)
        _follow(site, out, partial(follow, video=video, pictures=pictures, tracklets=tracklets))


def _follow(site: Site, out: Path, follow: Callable[[Site, Path], Summary]) -> None:
    """One run into its directory, up to the summary."""
    summary = follow(site, out)
    seen = any(camera.frames for camera in summary.cameras.values())
    try:
        if seen or not (out / "summary.json").exists():  # nothing must not replace something
            write_json(out / "summary.json", summary)
        if site.truth and seen and not summary.interrupted:
            summary.evaluation = evaluate_run(out, Path(site.truth))
            write_json(out / "summary.json", summary)
    finally:
        show_summary(summary, site, out)
    if summary.interrupted:
        raise typer.Exit(130)
    if not seen:
        raise SourceError(f"no camera delivered a frame in {summary.seconds:.0f} s; the lines above, if any, say why")


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{out}: cannot make the run directory: {error.strerror}; give another --out") from error


def _replay(site: Site, out: Path, *, video: bool, pictures: bool, tracklets: bool) -> Summary:
    from pipeline.processes import log_to
    from pipeline.replay import Replay

    log_to(out / "pipeline.log", "replay")
    with progress() as show:
        return Replay(site, out, video=video, pictures=pictures, tracklets=tracklets, on_progress=show).run()


def _live(site: Site, out: Path, *, video: bool, pictures: bool, tracklets: bool, seconds: float | None) -> Summary:
    from pipeline.build import prepare
    from pipeline.embedder import reid_digest
    from pipeline.export_detector import resolve_detector
    from pipeline.processes import log_to
    from pipeline.supervisor import Supervisor

    log_to(out / "pipeline.log", "supervisor")
    # Here, since every worker would export and build for itself, and be killed as silent when that takes long.
    detector = msgspec.structs.replace(site.detector, model=str(resolve_detector(site.detector.model)))
    site = msgspec.structs.replace(site, detector=detector)
    prepare(site, partial(log_to, out / "pipeline.log", "prepare"))
    with progress() as show:
        network = reid_digest(site.reid.model)
        return Supervisor(
            site,
            out,
            network=network,
            video=video,
            pictures=pictures,
            tracklets=tracklets,
            seconds=seconds,
            on_progress=show,
        ).run()


@app.command()
def simulate(
    out: Annotated[
        Path, typer.Option(parser=_folder, metavar="<path>", help="Folder for clips, cams.yaml, calibration and truth.")
    ],
    cameras: Annotated[int, typer.Option(help="Cameras, overlapping and disjoint.")] = 4,
    people: Annotated[int, typer.Option(help="Different people.")] = 12,
    seconds: Annotated[float, typer.Option(help="Length of the clips.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Same seed, same world.")] = 7,
    fps: Annotated[int, typer.Option(help="Frames a second.")] = 10,
    size: Annotated[str, typer.Option(metavar="<width>x<height>", help="Pixels of the pictures.")] = "640x360",
    supersampling: Annotated[int, typer.Option(help="2 looks better and takes three times as long.")] = 1,
    everyday: Annotated[bool, typer.Option("--everyday", help="Clothes as in streets, much of them dark.")] = False,
) -> None:
    """Render a site of walking people with exact ground truth.

    Example: mspf-pipeline simulate --cameras 4 --people 12 --seconds 60 --seed 7 --out site
    """
    from pipeline.simulator.simulate import Simulation
    from pipeline.simulator.simulate import simulate as render

    with Progress(*Progress.get_default_columns(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("rendering", total=None)
        plan = Simulation(
            cameras, people, seconds, seed, fps, _size_wh(size), supersampling=supersampling, everyday=everyday
        )
        render(plan, out, lambda done, total: bar.update(task, completed=done, total=total))
    console.print(f"wrote {out}; next: mspf-pipeline run --cams {out / 'cams.yaml'}", soft_wrap=True)


def _size_wh(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"--size {size!r} is no size; give width and height, as in 1920x1080")
    return int(width), int(height)


@app.command()
def evaluate(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
    truth: Annotated[Path, typer.Option(help="Folder of MOT truth, <camera id>.txt each.")],
) -> None:
    """Score a run against ground truth.

    IDF1 and HOTA of global identities over all cameras.

    Example: mspf-pipeline evaluate runs/20260131-120000 --truth site/truth
    """
    scores = evaluate_run(run_dir, truth)
    write_json(run_dir / "evaluation.json", scores)
    show_scores(scores)
    for hint in overlooked(run_dir, truth):
        console.print(f"hint         {hint}", soft_wrap=True)


@app.command()
def merge(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
    out: Annotated[
        Path | None,
        typer.Option(parser=_folder, metavar="<path>", help="Folder to write to; default RUN_DIR/tracks_merged."),
    ] = None,
) -> None:
    """Write a run's tracks again, merges carried out.

    One number a person, also before the merge, and no number twice in a frame.

    Example: mspf-pipeline merge runs/20260131-120000
    """
    out = out or run_dir / "tracks_merged"
    for one in write_merged(run_dir, out):
        told = f"{one.boxes} boxes, {one.changed} of them under another identity than before"
        twice = f"; {one.left_out} left out, whose identity has a later box in the frame" if one.left_out else ""
        console.print(f"{one.camera_id}: {told}{twice}", soft_wrap=True)
    console.print(f"wrote {out}", soft_wrap=True)


@app.command()
def regroup(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a run with --tracklets.")],
    cams: Cams,
    out: Annotated[
        Path | None, typer.Option(parser=_folder, metavar="<path>", help="Folder to write; default RUN_DIR/regrouped.")
    ] = None,
) -> None:
    """Decide once more who was who, with everybody in view.

    A run decides while people come; afterwards every track is compared with every other. What comes of it is a run
    directory of its own, for people, visits, find and evaluate.

    Example: mspf-pipeline regroup runs/20260131-120000 --cams cams.yaml
    """
    from pipeline.regroup import FOLDER
    from pipeline.regroup import regroup as gather

    config, out = load_site(cams, None).matcher, out or run_dir / FOLDER
    with console.status("comparing all tracks"):
        found = gather(run_dir, out, config)
    console.print(
        f"people {found.people}, where the run had {found.before}; "
        f"{found.changed} of {found.tracks} tracks have another number"
    )
    console.print(f"wrote {out}; next: mspf-pipeline people {out}", soft_wrap=True)


@app.command()
def visits(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
    out: Annotated[
        Path | None, typer.Option(metavar="<path>", help="CSV file to write; default RUN_DIR/visits.csv.")
    ] = None,
    away: Annotated[float, typer.Option(help=AWAY)] = 10.0,
) -> None:
    """Tell who was at which camera from when to when, and who went from where to where.

    Everybody who was confirmed, merges carried out.

    Example: mspf-pipeline visits runs/20260131-120000
    """
    from pipeline.visits import read_visits, write_visits

    found, out = read_visits(run_dir, _length_of_time(away)), out or run_dir / "visits.csv"
    write_visits(found, out)
    show_visits(found)
    console.print(f"wrote {out}", soft_wrap=True)


@app.command()
def people(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a run with --pictures.")],
    out: Annotated[
        Path | None, typer.Option(metavar="<path>", help="HTML file to write; default RUN_DIR/people.html.")
    ] = None,
    away: Annotated[float, typer.Option(help=AWAY)] = 10.0,
) -> None:
    """Show everybody on one page, with pictures.

    A row for everybody who was confirmed, merges carried out, with each of their visits.

    Example: mspf-pipeline people runs/20260131-120000
    """
    from pipeline.people import PAGE, write_everybody

    page = out or run_dir / PAGE
    write_everybody(run_dir, page, _length_of_time(away))
    console.print(f"wrote {page}; open it in a browser", soft_wrap=True)


@app.command()
def find(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a run with --pictures.")],
    photo: Annotated[Path, typer.Argument(help="A photograph; of several people in it the largest is looked for.")],
    cams: Cams,
    out: Annotated[
        Path | None, typer.Option(metavar="<path>", help="HTML file to write; default RUN_DIR/found.html.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="People to show.")] = 10,
    away: Annotated[float, typer.Option(help=AWAY)] = 10.0,
) -> None:
    """Find who looks like somebody in a photograph.

    Everybody of a run is compared by their pictures, and those who are most similar are shown.

    Example: mspf-pipeline find runs/20260131-120000 photo.jpg --cams cams.yaml
    """
    from pipeline.find import alike, joins_from, read_picture, subject, write_found
    from pipeline.networks import load_networks
    from pipeline.people import FOUND, by_person, check_replaceable

    site, picture, page = load_site(cams, None), read_picture(photo), out or run_dir / FOUND
    people = by_person(run_dir, _length_of_time(away))
    check_replaceable(page)
    networks = load_networks(site, replay=True)
    crop, count = subject(networks.detector, picture)
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bar:
        task = bar.add_task("comparing", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        found = alike(run_dir, people, crop, networks.embedder, site, show)[:most]
    show_found(found, count, joins_from(site.matcher, len(people)))
    write_found(run_dir, page, crop, found)
    console.print(f"wrote {page}; open it in a browser", soft_wrap=True)


def _length_of_time(away: float) -> float:
    if not away >= 0:
        raise ConfigError(f"--away {away:g} is no length of time; give 0 or more")
    return away


@app.command()
def build(
    models: Annotated[list[str] | None, typer.Argument(help="Networks: .onnx files, or a YOLO .pt.")] = None,
    cams: Annotated[Path | None, typer.Option("--cams", help="A site, whose two networks are built.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="f16 (or fp16), f32 (fp32), int8 (of a quantised file), or auto; default: the site's, else auto."
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option(help="Most pictures in one call.")] = 64,
    engine_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where plans (and exports of .pt) are kept; default $MSPF_PIPELINE_CACHE, or ~/.cache/mspf-pipeline."
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="tensorrt or tensorrt-rtx; default: the site's, else what is installed.")
    ] = None,
) -> None:
    """Build TensorRT plans ahead of the first run, and time them.

    Example: mspf-pipeline build --cams cams.yaml
    """
    from pipeline.build import build_plan

    if not models and not cams:
        raise ConfigError("nothing to build; give network files, or --cams cams.yaml")
    if engine_dir:
        os.environ["MSPF_PIPELINE_CACHE"] = str(engine_dir)
    wanted = _wanted(models or (), cams, backend, precision)
    if not wanted:
        return
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(phase: str, done: int, steps: int) -> None:
            bar.update(task, description=phase, completed=done, total=steps)

        built = [build_plan(one, max_batch, show) for one in wanted]
    show_plans(built)
    if any(one.untimed for one in built):
        console.print(
            "plans that were not timed on a GPU are for trying only: a machine with one builds its own", soft_wrap=True
        )
    elif engine_dir:
        console.print(f"runs find them with MSPF_PIPELINE_CACHE={engine_dir}", soft_wrap=True)


def _wanted(models: Sequence[str], cams: Path | None, backend: str | None, precision: str | None) -> "list[Wanted]":
    """The networks to build plans of: those named, and a site's, but for those that it runs on a CPU; it says which."""
    from pipeline.build import Wanted, site_networks
    from pipeline.export_detector import resolve_detector

    wanted = [Wanted(resolve_detector(model)) for model in models]
    for one in site_networks(load_site(cams)) if cams else ():
        if one.on_cpu and not backend:
            how = f"backend {one.backend}, precision {one.precision}"
            console.print(f"{one.path.name}: nothing to build, the site runs it on a CPU ({how})", soft_wrap=True)
        else:
            wanted.append(one)
    chosen = {"fp16": "f16", "fp32": "f32"}.get(precision or "", precision)
    return [Wanted(one.path, backend or one.backend, chosen or one.precision) for one in wanted]


@app.command()
def check(cams: Cams) -> None:
    """Try a site without running it.

    Read the settings, load both networks, read a frame of every camera.

    Example: mspf-pipeline check --cams cams.yaml
    """
    from pipeline.networks import core_ms, load_networks, timed_batches
    from pipeline.sources import read_video

    site = load_site(cams)
    networks = load_networks(site, replay=all(camera.is_file for camera in site.cameras))
    detector, reid = networks.detector, networks.embedder.engine
    for name, engine, facts in (("detector", detector.engine, detector.metadata), ("re-ID", reid, reid.metadata)):
        took = core_ms(engine, facts)
        speed = "" if took is None else f", {took:.1f} ms of a core a picture in batches of {timed_batches(engine)}"
        console.print(f"{name:9}{engine.backend}, {engine.precision}{speed}", soft_wrap=True)
    failed = 0
    for camera in site.cameras:
        try:
            picture = next(read_video(camera)).picture.bgr()
            (found,) = detector.detect([picture])
            console.print(first_frame(camera, picture, found, detector.scale(picture)), soft_wrap=True)
        except (SourceError, StopIteration) as error:
            failed += 1
            console.print(str(error) or f"{camera.id}: holds no frame", style="bold red", soft_wrap=True)
    if failed:
        raise SourceError(f"{failed} of {len(site.cameras)} cameras do not answer")
