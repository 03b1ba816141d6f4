"""Make a network at home on your cameras, from pictures that nobody labelled; the same command goes on.

mspf-pipeline run --cams cams.yaml --out RUN --pictures       a day or two
python scripts/adapt.py --weights mspf_x0_5.safetensors --data RUN/pictures --out adapted
torchrun --nproc-per-node 4 scripts/adapt.py ...              one process a GPU
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from progress import counting, hush, make_bar, say, stop, training
from rich.console import Console

from mspf.adaptation import PEOPLE, AdaptConfig, Listeners, adapt, round_folder, thresholds_after
from mspf.clusters import LEAST, NEIGHBOURS, WITHIN
from mspf.datasets import unlabelled_images
from mspf.errors import MSPFError
from mspf.processes import Interrupts, joined_processes
from mspf.ranges import at_least, rate
from mspf.recipe import parse_changes, read_recipe
from mspf.run import Place
from pipeline.config import MatcherConfig, thresholds_of

THRESHOLDS = ("new_below", "min_similarity", "sure_similarity", "merge_similarity")  # of the matcher
RECIPE = Path(__file__).parents[1] / "configs" / "train" / "adapt.yaml"


def report(options: argparse.Namespace, place: Place, size_hw: tuple[int, int], console: Console) -> None:
    """What comes next, and which thresholds the weights want: as many strangers are above them as before."""
    last = round_folder(options.out, options.rounds)
    usual = {name: getattr(MatcherConfig(), name) for name in THRESHOLDS} | thresholds_of(options.weights.stem)
    found = thresholds_after([*usual.values()], options.weights, last / "last.pt", last / PEOPLE, place)
    thresholds = ", ".join(f"{name}: {value:.2f}" for name, value in zip(usual, found, strict=True))
    height, width = size_hw
    steps = f"{last / 'last.pt'} adapted.onnx --size {height} {width} --fit {last / PEOPLE} --steps 0"
    console.print(f"finished; next: python scripts/export.py {steps}", soft_wrap=True)
    console.print(f"cams.yaml:\nreid: {{model: adapted.onnx}}\nmatcher: {{{thresholds}}}", soft_wrap=True)


def main() -> None:
    """Read the command line, adapt, say what to do with the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="to start from: .safetensors, or a run's last.pt")
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR", help="pictures; repeatable")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rounds", type=at_least(1), default=4, help="of gathering people and training on them")
    parser.add_argument(
        "--neighbours", type=at_least(2), default=NEIGHBOURS, help="about as many as each person has pictures"
    )
    parser.add_argument("--within", type=rate, default=WITHIN, help="Jaccard distance up to which pictures are near")
    parser.add_argument("--least", type=at_least(2), default=LEAST, help="pictures near each other that make a person")
    parser.add_argument("--held-out", type=at_least(0), default=0, help="of data sets, last people left out, to score")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="of each round's training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=at_least(1), help="of the CPU; as many as torch likes if left out")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console(stderr=True)
    say(console)
    bar, interrupts = make_bar(console), Interrupts()
    try:
        with joined_processes(options.device) as place:
            if place.share.rank > 0:
                hush(bar)
            recipe = read_recipe(options.recipe, parse_changes(options.set))
            config = AdaptConfig(recipe, options.rounds, options.neighbours, options.within, options.least)
            images = unlabelled_images(options.data, options.held_out)
            describing, learning = partial(counting, bar, note="describing"), partial(training, bar)
            listeners = Listeners(describing, learning, interrupts)
            done = adapt(config, images, options.weights, options.out, place, listeners)
            if done and place.share.rank == 0:
                stop(bar)
                report(options, place, recipe.size_hw, console)
    except MSPFError as error:
        sys.exit(str(error))
    finally:
        stop(bar)
    if not done:
        console.print(f"stopped; all is saved in {options.out}: the same command goes on")
        sys.exit(128 + interrupts.received if interrupts.received else 1)


if __name__ == "__main__":
    main()
