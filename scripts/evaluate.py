"""Score re-identification networks: checkpoints (.pt), .safetensors, or exported files (.onnx), on any data set.

python scripts/evaluate.py --weights W --data DIR                        a data set's query against its gallery
python scripts/evaluate.py --weights W --data DIR --split held-out       the last 150 people of its training part
python scripts/evaluate.py --weights W --data DIR --split everyone       each image of a folder against the others
python scripts/evaluate.py --weights W --clip VIDEO MOT_TRUTH            a clip: its first third against its last

Several weights, and several folders or clips (--data DIR DIR, --clip A A.txt --clip B B.txt), give every pair of them.
Of checkpoints and .safetensors the full descriptor is scored beside the compact one; --parts scores what it is made of
(f_G, f_M, f_L) alone and together.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np
import torch
from progress import counting, make_bar, stop
from rich.console import Console
from rich.progress import Progress

import engines
from mspf.datasets import Split, list_images
from mspf.descriptors import Describe, exported_describer, part_describer, torch_describer
from mspf.errors import MSPFError
from mspf.figures import draw_cmc, draw_rankings
from mspf.metrics import Described, rows_of
from mspf.ranges import at_least, rate
from mspf.reranking import reranked_distances
from mspf.scoring import PROTOCOLS, Result, Settings, Stamp, choose_split, describe_split, score_described
from mspf.weights import UNKNOWN, file_sha256, load_weights, read_facts


class Network(NamedTuple):
    """A network ready to describe, and what its file says."""

    describe: Describe
    facts: Mapping[str, str]
    size_hw: tuple[int, int]


def load(path: Path, options: argparse.Namespace) -> Network:
    """The network of any file that can be scored.

    Raises:
        ValueError: a file or a size that does not go with the options.
    """
    parts, normalised = options.parts, options.normalise_outside
    if path.suffix in {".pt", ".safetensors"}:
        network = load_weights(path).to(options.device)
        facts, describe = read_facts(path), (part_describer if parts else torch_describer)(network)
        if options.size:
            network.config.check_size(options.size)
    elif parts:
        raise ValueError(f"{path}: has no parts any more; --parts takes .pt and .safetensors")
    else:
        engine = engines.load(path)
        if engine.metadata.get("kind", "reid") != "reid":
            raise ValueError(f"{path}: is a {engine.metadata['kind']}, no network that describes people")
        if normalised and "inside" in engine.metadata.get("normalisation", ""):
            raise ValueError(f"{path}: normalises its images itself; leave --normalise-outside out")
        facts, describe = UNKNOWN | engine.metadata, exported_describer(engine, normalised)
        height, width = engine.inputs[0].shape[2:]
        if height and width:
            facts |= {"input_height": str(height), "input_width": str(width)}
    size_hw = tuple(options.size or (int(facts["input_height"]), int(facts["input_width"])))
    return Network(describe, facts, size_hw)


def clip_split(video: Path, truth: Path, folder: Path, every: int = 2, min_height: int = 60) -> Split:
    """Crops of a clip with MOT ground truth: people in its first third, to be found in its last third.

    Crops are taken of every second frame and at least 60 pixels high; the middle third is left out, so that no match
    is of about the same moment.
    """
    rows = np.loadtxt(truth, delimiter=",", ndmin=2)
    capture, last = cv2.VideoCapture(str(video)), int(rows[:, 0].max())
    for frame in range(1, last + 1):
        read, image = capture.read()
        if not read:
            raise ValueError(f"{video}: frame {frame} of {last} cannot be read; is it the clip of {truth}?")
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


def report(result: Result) -> str:
    """One line of scores and one for each threshold."""
    stamp, settings = result.stamp, result.settings
    options = [name for name in ("flip", "remove_camera_bias", "rerank", "ignore_cameras") if getattr(settings, name)]
    weights = "/".join(Path(stamp.weights).parts[-2:])
    head = f"{weights} ({result.descriptor}, {result.descriptor_length}) on {stamp.data} {stamp.split}"
    scores = f"rank-1 {result.rank_1:.1f}  rank-5 {result.rank_5:.1f}  rank-10 {result.rank_10:.1f}"
    lines = [
        f"{' '.join([head, *options])}: {scores}  mAP {result.mean_ap:.1f}  mINP {result.mean_inp:.1f}"
        f"  ({result.queries} queries, {result.gallery_images} gallery images)"
    ]
    lines += [
        f"  same person from similarity {found.min_similarity:.3f}: {found.false_match_rate:g} of "
        f"{found.false_pairs:,} pairs of two people, {found.true_match_rate:.1%} of {found.true_pairs:,} of one"
        + (" (less than one pair: too few to say)" if found.false_match_rate * found.false_pairs < 1 else "")
        for found in result.thresholds
    ]
    return "\n".join(lines)


def draw(path: Path, split: Split, query: Described, gallery: Described, settings: Settings) -> None:
    """The first answers to eight queries, spread evenly over those there are, in the order that is scored."""
    rows = np.unique(np.linspace(0, len(query) - 1, 8).astype(int)).tolist()
    if settings.rerank:
        distances = rows_of(reranked_distances(query, gallery), rows)
    else:
        distances = dict(zip(rows, -query.embeddings[rows] @ gallery.embeddings.T, strict=True))
    draw_rankings(path, split, query, gallery, distances, ignore_cameras=settings.ignore_cameras)


def picture_name(number: int, result: Result) -> str:
    """Of a picture of first answers; results have numbers, since their files may be called the same."""
    weights, data, descriptor = Path(result.stamp.weights), Path(result.stamp.data), result.descriptor.replace(" ", "")
    return f"{number}_{weights.parent.name}_{weights.name}_{descriptor}_on_{data.parent.name}_{data.name}.png"


def warn_of_training_people(path: Path, data: str, ids: int, held_out: str) -> None:
    """Say that a held-out split may be none."""
    if held_out.isdecimal() and int(held_out) < ids:
        whom = f"all but the last {held_out}" if int(held_out) else "all"
        told = f"{path} was trained on {whom} of the people of its data sets, {ids} are asked for"
        print(f"evaluate: {told}; if {data} is one of these, the score flatters", file=sys.stderr)


def label(number: int, result: Result) -> str:
    """Of a curve, with the number of its picture of first answers."""
    return f"{number}: {'/'.join(Path(result.stamp.weights).parts[-2:])} ({result.descriptor}) on {result.stamp.data}"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, nargs="+", action="extend", required=True, metavar="FILE")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, nargs="+", action="extend", metavar="DIR")
    source.add_argument("--clip", type=Path, nargs=2, action="append", metavar=("VIDEO", "MOT_TRUTH"))
    parser.add_argument("--split", choices=("test", "held-out", "everyone"), default="test")
    parser.add_argument("--ids", type=at_least(1), default=150, help="people of the held-out split")
    parser.add_argument(
        "--size", type=at_least(16), nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: what the file says"
    )
    parser.add_argument("--flip", action="store_true", help="describe images together with their mirror images")
    parser.add_argument("--remove-camera-bias", action="store_true", help="take off the mean of each camera's images")
    parser.add_argument("--rerank", action="store_true", help="by k-reciprocal neighbours")
    parser.add_argument("--ignore-cameras", action="store_true", help="for sets of one camera")
    parser.add_argument("--parts", action="store_true", help="score what the full descriptor is made of")
    parser.add_argument(
        "--fmr", type=rate, nargs="+", action="extend", default=[], metavar="RATE", help="same-person thresholds there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every result, stamped")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write first answers and CMC curves as PNG")
    parser.add_argument("--normalise-outside", action="store_true", help="for foreign files: ImageNet mean and std")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of .pt and .safetensors")
    parser.add_argument("--threads", type=at_least(0), default=0, help="of torch; 0 for one a core")
    options = parser.parse_args()
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    return options


def splits(options: argparse.Namespace, scratch: Path) -> Iterator[tuple[str, str, Split]]:
    """Name, protocol and images of everything to be scored on."""
    for number, (video, truth) in enumerate(options.clip or ()):
        crops = scratch / str(number)
        crops.mkdir()
        yield str(video), "thirds", clip_split(video, truth, crops)
    name = f"held-out {options.ids}" if options.split == "held-out" else options.split
    for folder in options.data or ():
        yield str(folder), name, choose_split(folder, options.split, options.ids)


def run(options: argparse.Namespace, bar: Progress) -> list[Result]:
    """Score every network on every set, printing as it goes."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as scratch:
        chosen = list(splits(options, Path(scratch)))
        for path in options.weights:
            network = load(path, options)
            asked = (options.flip, options.remove_camera_bias, options.rerank, options.ignore_cameras)
            settings = Settings(network.size_hw, *asked, tuple(options.fmr))
            for data, name, split in chosen:
                if options.split == "held-out":
                    warn_of_training_people(path, data, options.ids, network.facts["held_out_ids"])
                stamp = Stamp(
                    weights=str(path),
                    sha256=file_sha256(path),
                    trained_on=network.facts["training_data"],
                    seed=network.facts["seed"],
                    data=data,
                    split=name,
                    protocol=PROTOCOLS[settings.ignore_cameras],
                )
                images = len(split.query) + (len(split.gallery) if split.gallery is not split.query else 0)
                watch = counting(bar, images, f"{path.name} describes {data}")
                for descriptor, query, gallery in describe_split(split, network.describe, settings, watch):
                    results.append(score_described(descriptor, query, gallery, settings, stamp))
                    print(report(results[-1]), flush=True)
                    if options.figures:
                        picture = options.figures / picture_name(len(results), results[-1])
                        draw(picture, split, query, gallery, settings)
    return results


def main() -> None:
    """Print the scores, and write them and the pictures where asked."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    bar = make_bar(Console(stderr=True), passing=True)
    try:
        for folder in filter(None, (options.figures, options.json and options.json.parent)):
            folder.mkdir(parents=True, exist_ok=True)
        results = run(options, bar)
        if options.json:
            options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
        if options.figures:
            draw_cmc(options.figures / "cmc.png", {label(number, r): r.cmc for number, r in enumerate(results, 1)})
    except (MSPFError, OSError, ValueError, engines.EngineError) as error:
        sys.exit(f"evaluate: {error}")
    finally:
        stop(bar)


if __name__ == "__main__":
    main()
