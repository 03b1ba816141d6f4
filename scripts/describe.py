"""Print what MSPF is at a width: parameters, multiply-adds, and the shape of every tensor that the paper names.

python scripts/describe.py --width 1.0 [--figure docs/img/mspf.svg]
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mspf.complexity import count_macs, count_parameters, trace_rows
from mspf.network import MSPF, MSPFConfig
from mspf.osnet import OSNet
from mspf.ranges import at_least

WIDTH, HEIGHT, INK = 0.86, 0.46, "#555555"
FILLS = {"image": "#eeeeee", "body": "#cfe2f3", "attention": "#fce5cd", "pool": "#d9ead3", "feature": "#fff2cc"}


Point = tuple[float, float]


class Box(NamedTuple):
    """One box of the figure: column and row of its centre, kind (colour), text."""

    column: float
    row: float
    kind: str
    text: str


BOXES = {  # {name} stands for the shape of that tensor
    "image": Box(0, 2.2, "image", "image\n{image}"),
    "conv2": Box(1.1, 1.4, "body", "stem, conv2\n{conv2}"),
    "conv3": Box(2.2, 1.4, "body", "conv3\n{conv3}"),
    "attention": Box(3.3, 1.4, "attention", "attention\nchannel → spatial"),
    "conv5": Box(4.4, 1.4, "body", "conv4, conv5\n{conv5}"),
    "f_G": Box(5.5, 1.4, "pool", "max pool, Linear\nf_G {f_G}"),
    "smooth2": Box(3.3, 0, "pool", "1x1 conv\n{smooth 2}"),
    "smooth3": Box(3.3, 0.7, "pool", "1x1 conv\n{smooth 3}"),
    "f_L": Box(4.4, 0.35, "pool", "4 stripes, means\nf_L {f_L}"),
    "halves": Box(1.1, 2.6, "image", "2 halves\n{P1 patches} each"),
    "osnet1": Box(2.2, 2.6, "body", "OSNet body 1\ntiled {P1 maps}"),
    "pool1": Box(3.3, 2.6, "pool", "max pool\n{f_M}"),
    "quarters": Box(1.1, 3.3, "image", "4 quadrants\n{P2 patches} each"),
    "osnet2": Box(2.2, 3.3, "body", "OSNet body 2\ntiled {P2 maps}"),
    "pool2": Box(3.3, 3.3, "pool", "max pool\n{f_M}"),
    "f_M": Box(4.4, 2.95, "pool", "sum\nf_M {f_M}"),
    "g": Box(5.5, 2.1, "feature", "g = [f_G, f_M]\n{g}"),
    "local": Box(6.6, 0.35, "feature", "BatchNorm\nunit length"),
    "fused": Box(6.6, 2.1, "feature", "BatchNorm\nf_G, f_M each\nof unit length"),
    "descriptor": Box(7.7, 1.2, "feature", "descriptor\n{descriptor}"),
    "embedding": Box(7.7, 2.1, "feature", "compact head\nunit row {embedding}"),
}
ARROWS = (
    "image conv2|conv2 conv3|conv3 attention|attention conv5|conv5 f_G|f_G g|conv2 smooth2|attention smooth3|"
    "smooth2 f_L|smooth3 f_L|f_L local|image halves|image quarters|halves osnet1|osnet1 pool1|quarters osnet2|"
    "osnet2 pool2|pool1 f_M|pool2 f_M|f_M g|g fused|local descriptor|fused descriptor|descriptor embedding"
)


def draw(path: Path, shapes: dict[str, str]) -> None:
    """Write the network as boxes and arrows, every box with its shape."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.5, 8.2), ylim=(3.65, -0.35))
    axes.set_axis_off()
    for box in BOXES.values():
        corner = (box.column - WIDTH / 2, box.row - HEIGHT / 2)
        axes.add_patch(Rectangle(corner, WIDTH, HEIGHT, facecolor=FILLS[box.kind], edgecolor=INK))
        axes.text(box.column, box.row, box.text.format(**shapes), ha="center", va="center", fontsize=8)
    for pair in ARROWS.split("|"):
        start, end = (BOXES[name] for name in pair.split())
        axes.annotate("", *arrow(start, end), arrowprops={"arrowstyle": "->", "color": INK, "shrinkA": 0, "shrinkB": 0})
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mspf"}):
        figure.savefig(path, metadata={"Date": None})


def arrow(start: Box, end: Box) -> tuple[Point, Point]:
    """Head and tail: from right edge to left edge, or straight up or down within a column."""
    if start.column == end.column:
        edge = HEIGHT / 2 if end.row > start.row else -HEIGHT / 2
        return (end.column, end.row - edge), (start.column, start.row + edge)
    return (end.column - WIDTH / 2, end.row), (start.column + WIDTH / 2, start.row)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, choices=(1.0, 0.75, 0.5, 0.25), default=1.0)
    parser.add_argument("--size", type=at_least(16), nargs=2, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--figure", type=Path, metavar="SVG", help="also draw the network")
    options = parser.parse_args()

    config = MSPFConfig(width=options.width, compact=0)
    try:
        config.check_size(options.size)
        if options.figure:
            options.figure.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        sys.exit(f"describe: {error}")
    images = torch.zeros(1, 3, *options.size)
    osnet = OSNet(options.width)
    network = MSPF(config)
    run_time = MSPF(MSPFConfig(width=options.width, pool_first=True))
    named = {"OSNet": osnet, "MSPF": network, "MSPF at run time (stripes pooled first, compact head)": run_time}
    for name, module in named.items():
        print(f"{name}: {count_parameters(module):,} parameters, {count_macs(module, images):,} multiply-adds")
    shapes = {row.name: "x".join(map(str, row.shape)) for row in trace_rows(run_time, images)}
    for name, shape in shapes.items():
        print(f"  {name:16} {shape}")
    if options.figure:
        draw(options.figure, shapes | {"image": "3x{}x{}".format(*options.size)})


if __name__ == "__main__":
    main()
