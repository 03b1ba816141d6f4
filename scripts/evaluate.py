"""Score a re-identification network: a training checkpoint (.pt) or an exported file (.onnx).

python scripts/evaluate.py network.onnx --test DIR               query/ against bounding_box_test/
python scripts/evaluate.py network.onnx --held-out DIR           the last 150 people of a training folder
python scripts/evaluate.py network.onnx --clip VIDEO MOT_TRUTH   a one-camera clip: its first third against its last
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

import engines
from mspf.datasets import F32, U8, ImageList, Split, held_out_split, list_images, read_images, test_split
from mspf.export import load_network
from mspf.metrics import Described, Scores, score
from mspf.training import MEAN, STD, normalise

Describe = Callable[[U8], F32]  # RGB (N, H, W, 3) -> unit rows (N, D)
BATCH = 64


def torch_describer(checkpoint: Path, full: bool) -> Describe:
    """The averaged network of a checkpoint; `full` leaves out the compact head."""
    network = load_network(checkpoint)

    @torch.inference_mode()
    def describe(images: U8) -> F32:
        tensor = normalise(torch.from_numpy(images).permute(0, 3, 1, 2).float())
        return unit_rows((network.describe if full else network)(tensor).numpy())

    return describe


def engine_describer(path: Path, normalise_outside: bool) -> Describe:
    """An exported network; a foreign one may want its input already normalised by ImageNet's mean and deviation."""
    engine = engines.load(path)
    mean, std = (np.float32(values)[:, None, None] * 255 for values in (MEAN, STD))

    def describe(images: U8) -> F32:
        batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        return unit_rows(engine((batch - mean) / std if normalise_outside else batch)[0])

    return describe


def unit_rows(rows: F32) -> F32:
    """The rows at unit length, float32."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def describe_all(images: ImageList, describe: Describe, size_hw: tuple[int, int]) -> Described:
    """Embeddings of every image, in batches."""
    parts = [images.paths[start : start + BATCH] for start in range(0, len(images), BATCH)]
    rows = [describe(read_images(part, size_hw)) for part in parts]
    return Described(np.concatenate(rows), images.pids, images.camids)


def clip_split(video: Path, truth: Path, folder: Path, every: int = 2, min_height: int = 60) -> Split:
    """Crops of a clip with MOT ground truth: people in its first third, to be found in its last third.

    Crops are taken of every second frame and at least 60 pixels high; the middle third is left out, so that no match
    is of about the same moment.
    """
    rows = np.loadtxt(truth, delimiter=",")
    capture, last = cv2.VideoCapture(str(video)), int(rows[:, 0].max())
    for frame in range(1, last + 1):
        _, image = capture.read()
        third = 1 + 3 * (frame - 1) // last
        if third == 2 or frame % every:
            continue
        for _, person, *box in rows[rows[:, 0] == frame, :6]:
            left, top, right, bottom = np.round([box[0], box[1], box[0] + box[2], box[1] + box[3]]).astype(int)
            crop = image[max(top, 0) : bottom, max(left, 0) : right]
            if box[3] >= min_height and crop.size:
                cv2.imwrite(str(folder / f"{int(person):04d}_c{third}_{frame}.png"), crop)
    images = list_images(folder)
    return Split(images.where(images.camids == 1), images.where(images.camids == 3))


def report(scores: Scores) -> str:
    """One line, per cent."""
    percent = [100 * value for value in (scores.cmc[0], scores.cmc[4], scores.mean_ap, scores.mean_inp)]
    return "rank-1 {:.1f}  rank-5 {:.1f}  mAP {:.1f}  mINP {:.1f}".format(*percent) + f"  ({scores.queries} queries)"


def main() -> None:
    """Read the images, describe them, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    layout = parser.add_mutually_exclusive_group(required=True)
    layout.add_argument("--test", type=Path, metavar="DIR")
    layout.add_argument("--held-out", type=Path, metavar="DIR")
    layout.add_argument("--clip", type=Path, nargs=2, metavar=("VIDEO", "MOT_TRUTH"))
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--full", action="store_true", help="of a checkpoint: without the compact head")
    parser.add_argument("--ignore-cameras", action="store_true", help="keep matches seen by the query's own camera")
    parser.add_argument("--normalise-outside", action="store_true", help="for foreign files: ImageNet mean and std")
    options = parser.parse_args()

    if options.weights.suffix == ".pt":
        describe = torch_describer(options.weights, options.full)
    else:
        describe = engine_describer(options.weights, options.normalise_outside)
    with tempfile.TemporaryDirectory() as scratch:
        if options.test:
            split = test_split(options.test)
        elif options.held_out:
            split = held_out_split(list_images(options.held_out))
        else:
            split = clip_split(*options.clip, Path(scratch))
        query, gallery = (describe_all(images, describe, tuple(options.size)) for images in split)
    print(report(score(query, gallery, options.ignore_cameras)))


if __name__ == "__main__":
    main()
