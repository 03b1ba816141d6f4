"""Train a re-identification network by a recipe; interrupt it at will, the same command goes on.

python scripts/train.py --recipe configs/train/best.yaml --data photos/ --out runs/mine
python scripts/train.py --recipe R --data market1501=DIR --data cuhk03=DIR --out RUN --set network.width=0.25
torchrun --nproc-per-node 4 scripts/train.py ...      one process a GPU
"""

import argparse
import sys
from pathlib import Path

import torch
from progress import hush, make_bar, say, stop, training
from rich.console import Console

from mspf.datasets import named_folders
from mspf.errors import MSPFError
from mspf.processes import Interrupts, joined_processes
from mspf.ranges import at_least
from mspf.recipe import parse_changes, read_recipe
from mspf.run import train


def main() -> None:
    """Read the command line, train, say how to go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", action="append", required=True, metavar="[NAME=]DIR", help="repeat to join data sets")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    parser.add_argument("--init", type=Path, help="start from these weights: a run's last.pt, or torchreid's OSNet")
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
            config = read_recipe(options.recipe, parse_changes(options.set))
            folders = named_folders(options.data)
            done = train(config, folders, options.out, place, options.init, interrupts, training(bar))
    except MSPFError as error:
        sys.exit(str(error))
    finally:
        stop(bar)
    if done and place.share.rank == 0:
        console.print(f"finished: the averaged weights are in {options.out / 'last.pt'}; scripts/export.py takes them")
    if not done:
        console.print(f"stopped; all is saved in {options.out}: the same command goes on")
        sys.exit(128 + interrupts.received if interrupts.received else 1)


if __name__ == "__main__":
    main()
