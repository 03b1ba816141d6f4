"""The benchmark's picture: a panel for each of the parts that can be drawn and were measured."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmark_timing import Row
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Draw = Callable[[Axes, Sequence[Row]], None]


def plot(measured: Mapping[str, Sequence[Row]], path: Path) -> bool:
    """Write the picture; False, and nothing, where no part that can be drawn was measured."""
    drawn = [panel for name, rows in measured.items() if name in PANELS and rows for panel in panels(name, rows)]
    if not drawn:
        return False
    tallest = max(len(rows) for _, _, rows in drawn)
    figure = Figure(figsize=(7 * len(drawn), max(7, tallest / 8)), layout="constrained")  # inches
    for axes, (title, draw, rows) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        axes.set_title(title)
        draw(axes, rows)
    figure.savefig(path, dpi=120)
    return True


def panels(name: str, rows: Sequence[Row]) -> list[tuple[str, Draw, Sequence[Row]]]:
    """Title, drawing and rows of each panel of a part: one, of `threads` one a network, as their speeds differ much."""
    if name != "threads":
        return [(name, PANELS[name], rows)]
    names = dict.fromkeys(row["network"] for row in rows)
    return [(f"{name}: {own}", threads, [row for row in rows if row["network"] == own]) for own in names]


def networks(axes: Axes, rows: Sequence[Row]) -> None:
    """Core time of every network, way and batch on a CPU, but for torch, beside which the others could not be seen."""
    rows = [row for row in rows if "core ms" in row and not str(row["way"]).startswith("torch")]
    labels = [f"{row['network']}, {row['way']}, batch {row['batch']}" for row in rows]
    bars(axes, labels, [float(row["core ms"]) for row in rows], "core ms an image")


def layers(axes: Axes, rows: Sequence[Row]) -> None:
    """Where each network's time goes."""
    rows = [row for row in rows if row["layer"] != "whole run"]
    labels = [f"{row['network']}: {row['layer']}" for row in rows]
    bars(axes, labels, [float(row["share"]) for row in rows], "share of its network's run")


def threads(axes: Axes, rows: Sequence[Row]) -> None:
    """What all processes together do in each setting, batch by batch; named by processes x threads of each."""
    rows = sorted(rows, key=lambda row: float(row["batch"]))
    labels = [f"batch {r['batch']}: {r['processes']} x {r['threads of each']}, {r['back end']}" for r in rows]
    bars(axes, labels, [float(row["images/s"]) for row in rows], "images/s of all processes")


def stages(axes: Axes, rows: Sequence[Row]) -> None:
    """Where a frame's time goes."""
    rows = [row for row in rows if row["stage"] != "whole run"]
    labels = [str(row["stage"]) for row in rows]
    bars(axes, labels, [float(row["core ms a frame"]) for row in rows], "core ms a frame")


def gallery(axes: Axes, rows: Sequence[Row]) -> None:
    """Time of a search over the number of identities, where all of them are dressed differently."""
    rows = [row for row in rows if row.get("dressed", "freely") == "freely"]
    for name in ("one thread, ms", "all cores, ms", "exact, ms"):
        points = [(float(row["identities"]), float(row[name])) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="identities", ylabel="ms for 16 queries")
    axes.legend()


def bars(axes: Axes, labels: Sequence[str], lengths: Sequence[float], unit: str) -> None:
    """Lying bars from the top down."""
    axes.barh(labels, lengths)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.tick_params(labelsize=7)


PANELS: dict[str, Draw] = {
    "networks": networks,
    "layers": layers,
    "threads": threads,
    "stages": stages,
    "gallery": gallery,
}
