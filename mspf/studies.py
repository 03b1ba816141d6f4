"""The paper's tables and its open choices as variants of one recipe, and what several seeds of each came to."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

import msgspec

from mspf.errors import RecipeError
from mspf.recipe import TrainConfig
from mspf.validation import Score

UNKNOWN = "–"
OVER_OSFA = "+1.2/+0.9 Market-1501, +2.8/+1.2 CUHK03-NP labeled"


class Variant(msgspec.Struct, frozen=True):
    """One row: its name, what it changes in the recipe (dotted key -> YAML value), and the paper's own gain.

    Attributes:
        paper: rank-1/mAP gained over the first row in the paper, where it is known here.
    """

    name: str
    changes: dict[str, str]
    paper: str = UNKNOWN


class Study(msgspec.Struct, frozen=True):
    """One table; gains are over its first row.

    Attributes:
        one_camera: its networks are scored as on a set of one camera: matches in a query's own camera count.
    """

    title: str
    variants: tuple[Variant, ...]
    one_camera: bool = False


TAKEN = {  # keys of the recipe that no --set of a table changes
    "seed": "every row is trained with seeds 0, 1, ...; say how many with --seeds, and from which on with --first-seed",
    "validation_ids": "say it with --validation-ids",
    "validate_every": "every run is scored once, at its end",
}


def _vary(key: str, *values: str, paper: Mapping[str, str] | None = None) -> tuple[Variant, ...]:
    return tuple(Variant(value, {key: f'"{value}"'}, (paper or {}).get(value, UNKNOWN)) for value in values)


OSNET = {"network.whole": "osnet", "network.patches": "none"}
OSFA = {"network.patches": "none"}
MPF = {"network.whole": "none"}
STUDIES = {
    "table5": Study(
        "Table 5: patch levels", _vary("network.patches", "none", "2", "2-4", "2-4-8", paper={"2-4": OVER_OSFA})
    ),
    "table6": Study(
        "Table 6: attention",
        _vary("network.attention", "none", "spatial", "channel", "spatial-channel", "channel-spatial"),
    ),
    "table7": Study(
        "Table 7: one camera, its rule ignored",
        (Variant("OSFA only", OSFA), Variant("OSNet", OSNET), Variant("MSPF", {})),
        one_camera=True,
    ),
    "parts": Study(
        "Parts",
        (
            Variant("OSFA only", OSFA),
            Variant("OSNet", OSNET),
            Variant("MPF only", MPF),
            Variant("MSPF", {}, OVER_OSFA),
        ),
    ),
    "recipe": Study(
        "What a recipe may change, one at a time",
        (
            Variant("as given", {}),
            Variant("GeM pooling", {"network.pool": "gem"}),
            Variant("cosine classifier", {"losses.classifier": "cosine", "classifier_lr": "1.0"}),
            Variant("circle loss", {"losses.metric": "circle", "losses.triplet_on": "necked"}),
            Variant("multi-similarity loss", {"losses.metric": "multi-similarity", "losses.triplet_on": "necked"}),
            Variant("centre loss", {"losses.centre": "0.0007"}),
            Variant("instance norm", {"network.instance_norm": "true"}),
            Variant("last weights, not averaged", {"ema": "0"}),
            Variant("no erasing", {"augment.erase": "0"}),
        ),
    ),
    "open-choices": Study(
        "What the paper leaves open, one at a time",
        (
            Variant("as by default", {}),
            Variant("4 patches: stripes", {"network.four_patch_grid": "stripes"}),
            Variant("levels added as maps", {"network.add": "map"}),
            Variant("one body for all", {"network.shared_bodies": "true"}),
            Variant("stripes of plain conv3", {"network.aggregate_attended": "false"}),
            Variant("stripes of 3 scales", {"network.aggregate_scales": "3"}),
            Variant("attention after conv2", {"network.attention_after": "conv2"}),
            Variant("attention after both", {"network.attention_after": "both"}),
        ),
    ),
}


def changes_of(study: Study, given: Mapping[str, str]) -> Mapping[str, str]:
    """Changes of the recipe that hold for a whole table, as they were given.

    Raises:
        RecipeError: one that its rows, seeds or options set themselves.
    """
    for key in given:
        if key in TAKEN:
            raise RecipeError(f"--set {key}={given[key]}: {TAKEN[key]}")
        if all(key in variant.changes for variant in study.variants):
            raise RecipeError(f"--set {key}={given[key]}: is what the rows of {study.title} differ in")
    return given


def chosen_rows(study: Study, names: Sequence[str]) -> Study:
    """The first row and those named; all without names.

    Raises:
        RecipeError: no row has that name.
    """
    known = [variant.name for variant in study.variants]
    if unknown := [name for name in names if name not in known]:
        raise RecipeError(f"--row {unknown[0]}: {study.title} has {', '.join(known)}")
    kept = [variant for variant in study.variants if not names or variant.name in (known[0], *names)]
    return msgspec.structs.replace(study, variants=tuple(kept))


def run_name(base: TrainConfig, config: TrainConfig) -> str:
    """What a variant changes in the recipe, as a folder's name; the network's changes first, and without its name.

    Tables share the runs that they both need.
    """
    before, now = (msgspec.to_builtins(each) for each in (base, config))
    parts = []
    for section, prefix in {"network": "", "losses": "losses-", "augment": "augment-"}.items():
        then, here = before.pop(section), now.pop(section)
        parts += [f"{prefix}{key}-{here[key]}" for key in here if here[key] != then[key]]
    single = {key for key in now if now[key] != before[key]} - TAKEN.keys()
    return "_".join(parts + [f"{key}-{now[key]}" for key in sorted(single)]) or "as_given"


class Cell(msgspec.Struct, frozen=True):
    """Rank-1 or mAP over seeds, per cent."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        """Mean and sample deviation; one seed has none."""
        spread = f" ± {stdev(self.values):.1f}" if len(self.values) > 1 else ""
        return f"{mean(self.values):.1f}{spread}"

    def over(self, other: "Cell") -> str:
        """The difference of the means, signed."""
        return f"{mean(self.values) - mean(other.values):+.1f}"


def tabulate(study: Study, scores: Mapping[str, Sequence[Sequence[Score]]]) -> list[list[str]]:
    """Rows of text, the header first; a variant without a finished seed shows that.

    Args:
        scores: variant -> one list of scores (a data set each) a finished seed.
    """
    sets = next((seed for seeds in scores.values() for seed in seeds), [])
    header = ["variant", "seeds"]
    for part in sets:
        header += [f"{part.name} rank-1", "mAP", "gain"]
    rows = [[*header, "the paper's gain"]]
    first: list[tuple[Cell, Cell]] = []
    for variant in study.variants:
        seeds = scores.get(variant.name, ())
        cells = [_cells(seeds, number) for number in range(len(sets))] if seeds else []
        first = first or cells
        texts = [[str(r), str(m), f"{r.over(r0)}/{m.over(m0)}"] for (r, m), (r0, m0) in zip(cells, first, strict=False)]
        texts = texts or [[UNKNOWN, UNKNOWN, UNKNOWN] for _ in sets]
        rows.append([variant.name, str(len(seeds)), *(text for group in texts for text in group), variant.paper])
    return rows


def _cells(seeds: Sequence[Sequence[Score]], number: int) -> tuple[Cell, Cell]:
    """Rank-1 and mAP of one data set."""
    parts = [seed[number] for seed in seeds]
    return Cell(tuple(100 * part.rank1 for part in parts)), Cell(tuple(100 * part.mean_ap for part in parts))


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"
