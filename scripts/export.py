"""Turn a training checkpoint into the one file that the run needs, its compact head learnt on training people.

Beside network.onnx it writes network.safetensors, the same weights for torch (`mspf.weights.load_weights`).

python scripts/export.py runs/mspf/last.pt network.onnx --fit market1501=DIR --fit cuhk03=DIR
python scripts/export.py network.safetensors again.onnx    exported again, with the head that it has
"""

import argparse
import sys
from pathlib import Path

import msgspec
import numpy as np
import torch
from make_golden import make_golden

from engines import EngineError
from mspf.compact import HeadConfig, People, fit_head, with_compact_head
from mspf.datasets import ImageList, named_folders, training_images, without_last
from mspf.descriptors import describe_all, torch_describer
from mspf.errors import MSPFError, RecipeError
from mspf.export import RunTimeNetwork, export_onnx, metadata
from mspf.network import MSPF
from mspf.ranges import at_least
from mspf.weights import fewer, load_weights, read_facts, save_weights
from pipeline.errors import PipelineError

IMAGES = 10_000  # that a head is fitted to, of each data set


def describe_people(network: MSPF, images: ImageList, count: int, size_hw: tuple[int, int]) -> People:
    """Full descriptors of people drawn at random until they have `count` images."""
    order = np.random.default_rng(0).permutation(np.unique(images.pids))
    sizes = np.array([(images.pids == pid).sum() for pid in order])
    chosen = images.where(np.isin(images.pids, order[np.cumsum(sizes) - sizes < count]))
    full = describe_all(chosen, torch_describer(network), size_hw)["full"]
    return People(torch.from_numpy(full.embeddings), full.pids)


def check(trunk: MSPF, options: argparse.Namespace, size_hw: tuple[int, int]) -> None:
    """
    Raises:
        RecipeError: these weights cannot be exported by these options.
    """
    try:
        trunk.config.check_size(size_hw)
    except ValueError as error:
        raise RecipeError(f"--size: {error}") from error
    if not options.onnx.absolute().parent.is_dir():
        raise RecipeError(f"{options.onnx.parent}: no such folder; make it first")
    of_the_head = (options.length, options.steps, options.images, options.held_out)
    if not options.fit and any(given is not None for given in of_the_head):
        raise RecipeError("--length, --steps, --images and --held-out are of a head that is fitted; give --fit, too")
    if not options.fit and trunk.compact is None:
        raise RecipeError(f"{options.checkpoint} has no compact head; name training people with --fit [NAME=]DIR")


def fitted(trunk: MSPF, options: argparse.Namespace, size_hw: tuple[int, int]) -> MSPF:
    """The network with a head learnt on the people of `--fit`."""
    images = [
        without_last(training_images(folder), options.held_out or 0) for folder in named_folders(options.fit).values()
    ]
    people = [describe_people(trunk, listed, options.images or IMAGES, size_hw) for listed in images]
    given = {"length": options.length, "steps": options.steps}
    config = msgspec.structs.replace(HeadConfig(), **{key: n for key, n in given.items() if n is not None})
    return with_compact_head(trunk, fit_head(people, config))


def export(options: argparse.Namespace) -> None:
    """Fit the head, write network, weights and reference.

    Raises:
        MSPFError: see mspf/errors.py.
        EngineError, EngineFailure: the exported file cannot be run, or does not compute what torch does.
    """
    trained = read_facts(options.checkpoint)
    size_hw = tuple(options.size or (int(trained["input_height"]), int(trained["input_width"])))
    trunk = load_weights(options.checkpoint)
    check(trunk, options, size_hw)
    network = fitted(trunk, options, size_hw) if options.fit else trunk
    facts = metadata(network, size_hw, trained["training_data"])
    held_out_ids = trained["held_out_ids"]
    if options.fit:
        held_out_ids = fewer(held_out_ids, str(options.held_out or 0))
    head_fitted_to = ", ".join(named_folders(options.fit)) or trained.get("head_fitted_to", "unknown")
    facts |= {"seed": trained["seed"], "head_fitted_to": head_fitted_to, "held_out_ids": held_out_ids}
    export_onnx(network, options.onnx, size_hw, facts)
    save_weights(network, options.onnx.with_suffix(".safetensors"), facts, half=not options.float32)
    with torch.inference_mode():
        rows = RunTimeNetwork(network).eval()
        agreement = make_golden(options.onnx, lambda images: rows(torch.from_numpy(images)).numpy())
    print(f"against torch: {agreement}")
    print(f"{options.onnx}: {facts['descriptor_length']} numbers, weights {facts['weights_sha256']}")


def main() -> None:
    """Read the command line, export, say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("onnx", type=Path)
    parser.add_argument(
        "--fit", action="append", default=[], metavar="[NAME=]DIR", help="people; default: keep the head"
    )
    head = HeadConfig()
    parser.add_argument("--images", type=at_least(1), help=f"of each data set, person by person (default: {IMAGES})")
    parser.add_argument("--length", type=at_least(1), help=f"of the descriptor (default: {head.length})")
    parser.add_argument(
        "--steps", type=at_least(0), help=f"that the head learns, 0: a projection (default: {head.steps})"
    )
    parser.add_argument("--held-out", type=at_least(0), metavar="IDS", help="last people of each set left out")
    parser.add_argument("--size", type=at_least(16), nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: as trained")
    parser.add_argument("--threads", type=at_least(1), default=1)
    parser.add_argument("--float32", action="store_true", help="store the .safetensors in float32, not half of it")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    try:
        export(options)
    except (MSPFError, EngineError, PipelineError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
