"""Turn a training checkpoint into the one file that the run needs, its compact head fitted to training images.

Beside network.onnx it writes network.safetensors, the same weights for torch (`mspf.weights.load_weights`).

python scripts/export.py runs/mspf/last.pt network.onnx --fit market1501=DIR --fit cuhk03=DIR
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from make_golden import make_golden
from torch import Tensor

from mspf.compact import with_compact_head
from mspf.datasets import list_images, read_images
from mspf.export import RunTimeNetwork, export_onnx, metadata
from mspf.training import normalise
from mspf.weights import load_weights, read_facts, save_weights

BATCH = 64


def sampled_batches(folders: list[Path], count: int, size_hw: tuple[int, int]) -> Iterator[Tensor]:
    """Normalised images, the same number drawn from every folder (all of a smaller one)."""
    rng = np.random.default_rng(0)
    for folder in folders:
        paths = list_images(folder).paths
        chosen = [paths[row] for row in rng.permutation(len(paths))[:count]]
        for start in range(0, len(chosen), BATCH):
            images = read_images(chosen[start : start + BATCH], size_hw)
            yield normalise(torch.from_numpy(images).permute(0, 3, 1, 2).float())


def main() -> None:
    """Fit the head, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("--fit", action="append", required=True, metavar="NAME=DIR", help="training images")
    parser.add_argument("--images", type=int, default=3000, help="drawn from each folder")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="store the .safetensors in float32, not half of it")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    names, folders = zip(*(pair.split("=", 1) for pair in options.fit), strict=True)
    size_hw = tuple(options.size)
    batches = sampled_batches([Path(folder) for folder in folders], options.images, size_hw)
    network = with_compact_head(load_weights(options.checkpoint), batches, options.length)
    trained = read_facts(options.checkpoint)
    facts = metadata(network, size_hw, trained["training_data"])
    facts |= {"seed": trained["seed"], "head_fitted_to": ", ".join(names)}
    export_onnx(network, options.onnx, size_hw, facts)
    save_weights(network, options.onnx.with_suffix(".safetensors"), facts, half=not options.float32)
    with torch.inference_mode():
        rows = RunTimeNetwork(network).eval()
        agreement = make_golden(options.onnx, lambda images: rows(torch.from_numpy(images)).numpy())
    print(f"against torch: {agreement}")
    print(f"{options.onnx}: {facts['descriptor_length']} numbers, weights {facts['weights_sha256']}")


if __name__ == "__main__":
    main()
