"""Pictures of retrieval: the first answers to some queries, and CMC curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mspf.datasets import F32, U8, Split, read_images
from mspf.metrics import Described, judge

RIGHT, WRONG = "tab:green", "tab:red"


def first_answers(
    query: Described, gallery: Described, row: int, distances: F32, count: int, ignore_cameras: bool = False
) -> NDArray[np.intp]:
    """Gallery rows (<= count,) nearest to one query, nearest first, of those that the protocol compares.

    Args:
        distances: (G,) of this query, by whatever they are ranked.
    """
    (kept,) = judge(query, gallery, slice(row, row + 1), ignore_cameras).kept
    order = np.argsort(distances, kind="stable")
    found: NDArray[np.intp] = order[kept[order]][:count]
    return found


def draw_rankings(
    path: Path,
    split: Split,
    query: Described,
    gallery: Described,
    distances: Mapping[int, F32],
    count: int = 10,
    ignore_cameras: bool = False,
) -> None:
    """Write a picture with a line for each of these queries: the query, then its first answers, matches framed green.

    False matches are framed red.

    Args:
        distances: of each query to be drawn, by its row, (G,).
    """
    figure = Figure(figsize=(0.7 * (count + 1), 1.5 * len(distances)), layout="constrained")
    axes = figure.subplots(len(distances), count + 1, squeeze=False)
    for line, (row, far) in zip(axes, distances.items(), strict=True):
        found = first_answers(query, gallery, row, far, count, ignore_cameras)
        pictures = read_images([split.query.paths[row], *(split.gallery.paths[i] for i in found)], (128, 64))
        colours = ["black"] + [RIGHT if gallery.pids[i] == query.pids[row] else WRONG for i in found]
        for axis in line:
            axis.set_axis_off()
        for axis, picture, colour in zip(line, pictures, colours, strict=False):
            axis.imshow(framed(picture, colour))
    axes[0, 0].set_title("query", fontsize=8)
    for place in range(1, count + 1):
        axes[0, place].set_title(str(place), fontsize=8)
    figure.savefig(path, dpi=120)


def framed(picture: U8, colour: str, width: int = 4) -> U8:
    """The picture (H, W, 3) inside a frame of one colour: (H + 2 width, W + 2 width, 3)."""
    height, length = picture.shape[:2]
    larger = np.empty((height + 2 * width, length + 2 * width, 3), np.uint8)
    larger[:] = np.round(255 * np.array(to_rgb(colour)))
    larger[width:-width, width:-width] = picture
    return larger


def draw_cmc(path: Path, curves: Mapping[str, Sequence[float]]) -> None:
    """Write a picture of CMC curves, per cent at rank 1, 2, ..., each under its label."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for label, cmc in curves.items():
        axis.plot(range(1, len(cmc) + 1), cmc, label=label)
    axis.set(xlabel="rank", ylabel="queries with a match so far, %", xlim=(1, None), ylim=(None, 100))
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=7)
    figure.savefig(path, dpi=120)
