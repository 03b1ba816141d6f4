"""Train the rows of the paper's tables, or of what it leaves open, and print them beside its own gains.

python scripts/reproduce.py --table 5 --data market1501=DIR --seeds 3 --out runs/tables
python scripts/reproduce.py --parts --data DIR --out runs/tables --recipe configs/train/small.yaml     on a CPU

Every run is a folder of its own, trained as scripts/train.py does and scored on the last people of the training set,
which it never sees; stopped at any time, the same command goes on. Tables share the runs that they both need.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import torch
from progress import make_bar, say, stop, training
from rich.console import Console
from rich.table import Table

from mspf.checkpoint import read_checkpoint
from mspf.datasets import named_folders
from mspf.errors import MSPFError
from mspf.network import MSPF
from mspf.photographs import load_collection
from mspf.processes import Interrupts, joined_processes
from mspf.ranges import at_least
from mspf.recipe import TrainConfig, parse_changes, read_recipe
from mspf.run import Place, train
from mspf.run_directory import RunDirectory
from mspf.studies import STUDIES, Study, Variant, changes_of, chosen_rows, markdown, run_name, tabulate
from mspf.validation import Score, validate

BEST = Path(__file__).parents[1] / "configs" / "train" / "best.yaml"
CONSOLE = Console(stderr=True)


def configure(recipe: Path, variant: Variant, seed: int, changes: Mapping[str, str]) -> TrainConfig:
    """The recipe of one run: scored once, at its end."""
    config = read_recipe(recipe, {**changes, **variant.changes, "seed": str(seed)})
    return read_recipe(recipe, {**changes, **variant.changes, "seed": str(seed), "validate_every": str(config.epochs)})


def without_repeats(study: Study, recipe: Path, changes: Mapping[str, str]) -> Study:
    """The table without rows that this recipe makes the same as a row above.

    Raises:
        RecipeError: a row that this recipe cannot have.
    """
    rows: dict[TrainConfig, Variant] = {}
    for variant in study.variants:
        first = rows.setdefault(configure(recipe, variant, 0, changes), variant)
        if first is not variant:
            CONSOLE.print(f"{variant.name}: is the same as {first.name} by {recipe.name}, left out")
    return msgspec.structs.replace(study, variants=tuple(rows.values()))


def scores_of(
    folder: Path, config: TrainConfig, folders: Mapping[str, Path], one_camera: bool, device: torch.device
) -> Sequence[Score]:
    """What a finished run scored at its end, or scores as a set of one camera."""
    if not one_camera:
        return RunDirectory(folder).metrics()[-1].scores
    network = MSPF(config.network)
    network.load_state_dict(read_checkpoint(folder / "last.pt")["averaged"])
    collection = load_collection(msgspec.structs.replace(config, one_camera=True), folders, device)
    return validate(network.to(device), collection.held_out)


def show(study: Study, scores: Mapping[str, Sequence[Sequence[Score]]], protocol: str, out: Path) -> None:
    """Print the table as it stands, and keep it as Markdown."""
    header, *rows = tabulate(study, scores)
    table = Table(*header, title=study.title, caption=protocol)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    out.with_suffix(".md").write_text(f"{study.title}. {protocol}\n\n" + markdown([header, *rows]))


def run_all(options: argparse.Namespace, place: Place, stopped: Callable[[], bool]) -> bool:
    """Every seed of every variant, seeds outermost, so that a table is whole early; False when stopped."""
    folders = named_folders(options.data)
    given = changes_of(STUDIES[options.study], parse_changes(options.set))
    changes = {"validation_ids": str(options.validation_ids), **given}
    study = chosen_rows(STUDIES[options.study], options.row)
    base = read_recipe(options.recipe, changes)
    changed = ", ".join(f"{key} {value}" for key, value in given.items())
    protocol = f"Last {options.validation_ids} people of {', '.join(folders)} held out; {options.recipe.name}"
    protocol += f" with {changed}" if changed else ""
    protocol += f", from {options.init}" if options.init else ""
    protocol += f"; seeds {options.first_seed} and on" if options.first_seed else ""
    study = without_repeats(study, options.recipe, changes)
    scores: dict[str, list[Sequence[Score]]] = {variant.name: [] for variant in study.variants}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for variant in study.variants:
            config = configure(options.recipe, variant, seed, changes)
            folder = options.out / f"{run_name(base, config)}_seed{seed}"
            CONSOLE.print(f"{variant.name}, seed {seed}: {folder}")
            bar = make_bar(CONSOLE, passing=True)
            bar.disable = place.share.rank > 0
            try:
                done = train(config, folders, folder, place, options.init, stopped, training(bar))
            finally:
                stop(bar)
            if not done:
                return False
            if place.share.rank == 0:
                scores[variant.name].append(scores_of(folder, config, folders, study.one_camera, place.device))
                show(study, scores, protocol, options.out / options.study)
    return True


def main() -> None:
    """Read the command line, run what is not there yet, print the table after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--table", choices=("5", "6", "7"))
    which.add_argument("--parts", action="store_true", help="OSNet, OSFA only, MPF only, MSPF")
    which.add_argument("--open-choices", action="store_true", help="what the paper leaves open")
    which.add_argument("--recipe-choices", action="store_true", help="pooling, losses, averaging, erasing")
    parser.add_argument("--data", action="append", required=True, metavar="[NAME=]DIR")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=BEST)
    parser.add_argument("--row", action="append", default=[], metavar="NAME", help="beside the first row, only these")
    parser.add_argument("--init", type=Path, help="weights that every run starts from")
    parser.add_argument("--seeds", type=at_least(1), default=1, help="how many")
    parser.add_argument(
        "--first-seed", type=at_least(0), default=0, metavar="N", help="begin there: others run elsewhere"
    )
    parser.add_argument("--validation-ids", type=at_least(1), default=150)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=at_least(1))
    options = parser.parse_args()

    named = {"parts": options.parts, "open-choices": options.open_choices, "recipe": options.recipe_choices}
    options.study = f"table{options.table}" if options.table else next(name for name in named if named[name])
    if options.threads:
        torch.set_num_threads(options.threads)
    say(CONSOLE)
    interrupts = Interrupts()
    try:
        with joined_processes(options.device) as place:
            done = run_all(options, place, interrupts)
    except MSPFError as error:
        sys.exit(str(error))
    if not done:
        CONSOLE.print(f"stopped; all is saved in {options.out}: the same command goes on")
        sys.exit(128 + interrupts.received)


if __name__ == "__main__":
    main()
