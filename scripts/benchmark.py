"""Speed, side by side in one run: python scripts/benchmark.py [--site configs/demo.yaml] [--json FILE]

Absolute times drift on shared machines; compare the ratios. Every figure is the median of several rounds in which the
candidates take turns.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

import engines
from pipeline.config import DetectorConfig, load_site
from pipeline.datatypes import CameraUpdate, Identity, Tracklet
from pipeline.detector import Detector
from pipeline.embedder import DEFAULT_REID
from pipeline.export_detector import DEFAULT_DETECTOR
from pipeline.gallery import Gallery
from pipeline.replay import Replay
from pipeline.sources import read_video
from pipeline.wire import decode, encode

ROUNDS = 7
Row = dict[str, str | float]


def main() -> None:
    """Prints a table a part and writes all of them as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--site", type=Path, default=Path("configs/demo.yaml"))
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    parts = {
        "networks": networks(),
        "gallery (16 queries, 512 numbers)": gallery(),
        "wire (update of 8 tracklets)": wire(),
        "decode": decoding(given.site),
        "replay, everything on but the film": replay(given.site),
    }
    for title, rows in parts.items():
        show(title, rows)
    if given.json:
        given.json.write_text(json.dumps(parts, indent=2))


def networks() -> list[Row]:
    """Milliseconds an image of both shipped networks, by back end, precision and batch."""
    calls: dict[tuple[str, str, int], Callable[[], object]] = {}
    rng = np.random.default_rng(0)
    sizes = {"detector": (DEFAULT_DETECTOR, (3, 256, 416)), "re-ID": (DEFAULT_REID, None)}
    for name, (path, shape) in sizes.items():
        for backend, precision in (("onnxruntime", "f32"), ("openvino", "f32"), ("openvino", "auto")):
            engine = engines.load(path, backend, precision)
            image = shape or tuple(int(side or 0) for side in engine.inputs[0].shape[1:])
            for batch in (1, 4, 8):
                images = rng.random((batch, *image), np.float32) * (1 if name == "detector" else 255)
                calls[name, f"{engine.backend} {engine.precision}", batch] = lambda e=engine, x=images: e(x)
    seconds = in_turn(calls)
    return [
        {
            "network": name,
            "back end": backend,
            "batch": batch,
            "ms an image": 1000 * taken / batch,
            "× onnxruntime f32 batch 1": seconds[name, "onnxruntime f32", 1] * batch / taken,
        }
        for (name, backend, batch), taken in seconds.items()
    ]


def gallery() -> list[Row]:
    """One search of galleries of different size, two prototypes an identity."""
    rng = np.random.default_rng(0)
    queries = unit(rng.standard_normal((16, 512), np.float32))
    calls: dict[int, Callable[[], object]] = {}
    for size in (100, 1_000, 10_000):
        people = Gallery(512, 8)
        for number in range(size):
            prototypes = unit(rng.standard_normal((2, 512), np.float32))
            people.add(Identity(number, prototypes, 0.0, 0.0, frozenset(), True))
        calls[size] = lambda g=people: g.similarity(queries)
    return [{"identities": size, "ms": 1000 * taken} for size, taken in in_turn(calls).items()]


def wire() -> list[Row]:
    """Messages a second, encoded and decoded."""
    rng = np.random.default_rng(0)
    embeddings = unit(rng.standard_normal((4, 512), np.float32))
    box = np.array([0, 0, 40, 100], np.float32)
    tracklet = Tracklet(1, 4, 0.0, 1.0, embeddings, np.ones(4, np.float32), box, 0.9)
    message = CameraUpdate("camera", 1, 0, 0.0, 0.0, (tracklet,) * 8)
    taken = in_turn({"": lambda: [decode(encode(message)) for _ in range(100)]})[""]
    return [{"messages/s": 100 / taken, "bytes": len(encode(message)[1])}]


def decoding(site: Path) -> list[Row]:
    """Frames a second of the site's first file, decoded to BGR by one thread."""
    camera = load_site(site).cameras[0]
    started = time.perf_counter()
    frames = sum(timed.picture.bgr() is not None for timed in itertools.islice(read_video(camera), 300))
    return [{"frames/s": frames / (time.perf_counter() - started)}]


def replay(site: Path) -> list[Row]:
    """The whole path over a site of files, and what the detector alone would reach on the same frames."""
    plan = msgspec.structs.replace(load_site(site), truth=None)
    with tempfile.TemporaryDirectory() as out:
        summary = Replay(plan, Path(out)).run()
    crops = sum(camera.crops for camera in summary.cameras.values())
    detector = Detector.load(DetectorConfig())
    image = next(read_video(plan.cameras[0])).picture.bgr()
    alone = in_turn({"": lambda: detector.detect([image] * len(plan.cameras))})[""]
    return [
        {
            "cameras": len(summary.cameras),
            "frames/s": summary.fps,
            "crops/s": crops / summary.seconds,
            "detector alone, frames/s": len(plan.cameras) / alone,
            "p95 ms a step": summary.latency_ms["p95"],
            "rss MB": summary.rss_mb,
        }
    ]


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def in_turn(calls: dict[Any, Callable[[], object]]) -> dict[Any, float]:
    """Median seconds of each call, all of them once a round after one warm-up."""
    seconds: dict[Any, list[float]] = {key: [] for key in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for key, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[key].append(time.perf_counter() - started)
    return {key: statistics.median(taken) for key, taken in seconds.items()}


def show(title: str, rows: list[Row]) -> None:
    """One table."""
    table = Table(box=SIMPLE, title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            *(value if isinstance(value, str) else f"{value:,.2f}".rstrip("0").rstrip(".") for value in row.values())
        )
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
