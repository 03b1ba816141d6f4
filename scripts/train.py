"""Train MSPF by a recipe; interrupt it at will and run it again to go on.

python scripts/train.py configs/train/mspf_x0_25_a.yaml --data market1501=DIR --data cuhk03=DIR --out runs/a
"""

import argparse
import logging
from pathlib import Path

import msgspec
import torch

from mspf.training import TrainConfig, Trainer, batches, load_sources


def main() -> None:
    """Read the recipe and the data, train, leave OUT/last.pt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=DIR", help="a folder of the recipe")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="start from this checkpoint's weights")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    config = msgspec.yaml.decode(options.recipe.read_bytes(), type=TrainConfig)
    folders = {name: Path(folder) for name, folder in (pair.split("=", 1) for pair in options.data)}
    sources = load_sources(config, folders)
    trainer = Trainer(config, classes=1 + max(int(source.labels.max()) for source in sources))
    checkpoint = options.out / "last.pt"
    if checkpoint.exists():
        trainer.resume(checkpoint)
    elif options.init:
        trainer.initialise(options.init)
    options.out.mkdir(parents=True, exist_ok=True)
    trainer.run(batches(config, sources, seed=config.seed + trainer.steps), checkpoint)


if __name__ == "__main__":
    main()
