"""Speed, side by side in one run, as tables, JSON and a plot.

python scripts/benchmark.py                                         everything, the gallery up to 100,000 people
python scripts/benchmark.py --part networks --network NAME=FILE     an exported network beside them
python scripts/benchmark.py --part networks --int8 --threads 1 --batches 1 4 8     "Fewer bits" in docs/engines.md
python scripts/benchmark.py --part networks --int8 --only detector --only "MSPF x0.5 as shipped"     these two alone
python scripts/benchmark.py --part gallery --largest 1000000        takes 6 GB and minutes
python scripts/benchmark.py --json FILE --plot FILE

Absolute times drift on shared machines; compare ratios. Every figure is the median of several rounds in which the
candidates take turns. "core" times add up all threads, and hardly change when others use the machine.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in a run (pipeline/__main__.py); read when numpy is loaded

import numpy as np
from benchmark_gallery import DIMENSION, gallery, matching, unit
from benchmark_timing import Row, in_turn
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from engines import cuda
from engines.loading import BACKENDS, processor, version
from pipeline.datatypes import CameraUpdate, Tracklet
from pipeline.wire import decode, encode


def main() -> None:
    """Prints a table a part and writes all of them as JSON and as a plot."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--part", action="append", help="one of " + ", ".join(parts(argparse.Namespace())))
    arguments.add_argument("--site", type=Path, default=Path("configs/demo.yaml"))
    arguments.add_argument("--network", action="append", default=[], metavar="NAME=FILE", help="timed, too")
    only = "in networks, layers and cuda this network alone; may be given again"
    arguments.add_argument("--only", action="append", default=[], metavar="NAME", help=only)
    arguments.add_argument("--int8", action="store_true", help="quantise, and time, copies in fewer bits")
    arguments.add_argument(
        "--batches", type=int, nargs="+", action="extend", help="of networks and threads; by default 1 8 and 1 4 16"
    )
    arguments.add_argument("--threads", type=int, default=0, help="of a network; 0 for one a core")
    arguments.add_argument("--largest", type=int, default=100_000, help="identities of the largest gallery")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--plot", type=Path)
    given = arguments.parse_args()
    known = parts(given)
    if unknown := set(given.part or ()) - set(known):
        arguments.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if given.plot:
        from benchmark_plot import PANELS, plot

        if not set(given.part or known) & set(PANELS):
            arguments.error(f"--plot draws {', '.join(PANELS)}; measure one of them, or leave it out")
    measured = {"machine": machine()}
    show("machine", measured["machine"])
    for name in given.part or known:
        measured[name] = known[name]()
        show(name, measured[name])
    if given.json:
        given.json.write_text(json.dumps(measured, indent=2))
    if given.plot and not plot(measured, given.plot):
        print(f"{given.plot}: not written, what was measured has no rows to draw")


def machine() -> list[Row]:
    """What it was measured on; `load` is how many others wanted a core in the last minute."""
    packages = {name: metadata.version(name) for name in ("numpy", "onnxruntime", "openvino")}
    row: Row = {"cpu": processor(), "cores": os.cpu_count() or 0, "load": os.getloadavg()[0], **packages}
    if (gpu := cuda.gpu_or_none()) != cuda.NO_GPU:
        builders = {backend.package: version(backend.package) for backend in BACKENDS.values() if backend.on_gpu}
        row |= {"gpu": gpu.name, **{name: found for name, found in builders.items() if found != "unknown"}}
    return [row]


def parts(given: argparse.Namespace) -> dict[str, Callable[[], list[Row]]]:
    """What can be measured, by name; torch is imported only for those that need it."""

    def of_networks(part: str) -> list[Row]:
        import benchmark_networks as those

        files = {name: Path(path) for name, _, path in (pair.partition("=") for pair in given.network)}
        if part == "layers":
            return those.layers(files, given.only)
        if part == "networks":
            return those.networks(files, given.only, given.int8, tuple(given.batches or (1, 8)), given.threads)
        return those.roof(given.threads) if part == "roof" else those.cuda(files, given.only)

    def of_threads() -> list[Row]:
        from benchmark_threads import BATCHES, threads

        return threads(tuple(given.batches or BATCHES))

    def of_pipeline(part: str) -> list[Row]:
        import benchmark_pipeline as path

        return {"decode": path.decoding, "replay": path.replay, "stages": path.stages}[part](given.site)

    return {
        "roof": lambda: of_networks("roof"),
        "networks": lambda: of_networks("networks"),
        "layers": lambda: of_networks("layers"),
        "threads": of_threads,
        "cuda": lambda: of_networks("cuda"),
        "gallery": lambda: gallery(given.largest),
        "matching": lambda: matching(given.largest),
        "wire": wire,
        "decode": lambda: of_pipeline("decode"),
        "replay": lambda: of_pipeline("replay"),
        "stages": lambda: of_pipeline("stages"),
    }


def wire() -> list[Row]:
    """Messages a second, encoded and decoded: an update of 8 tracklets."""
    rng = np.random.default_rng(0)
    embeddings = unit(rng.standard_normal((4, DIMENSION), np.float32))
    box = np.array([0, 0, 40, 100], np.float32)
    tracklet = Tracklet(1, 4, 0.0, 1.0, embeddings, np.ones(4, np.float32), box, 0.9)
    message = CameraUpdate("camera", 1, 0, 0.0, 0.0, (tracklet,) * 8)
    taken = in_turn({"": lambda: [decode(encode(message)) for _ in range(100)]})[""]
    return [{"messages/s": 100 / taken.wall_s, "a core second": 100 / taken.core_s, "bytes": len(encode(message)[1])}]


def show(title: str, rows: Sequence[Row]) -> None:
    """One table; what has no value is a dash."""
    if not rows:
        print(f"{title}: nothing here that it could measure")
        return
    table = Table(box=SIMPLE, title=title, title_justify="left")
    names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(cell(row.get(name, float("nan"))) for name in names))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def cell(value: str | float) -> str:
    """A value as the table shows it."""
    if isinstance(value, str):
        return value
    return "-" if np.isnan(value) else f"{value:,.2f}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    main()
