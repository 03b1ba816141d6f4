"""Score re-identification between two cameras that see the same ground at once: where people stand says who is who.

python scripts/evaluate_overlap.py --weights W ... --clips A.mp4 B.mp4 --calibration calibration.json

Nobody has to be labelled. Every tenth frame the people of both pictures are detected and their feet put on the ground;
two boxes are one person where each is the other's nearest, by less than --near metres, and nobody else stands within
--clear metres of either. Each of the two then asks which of all the other picture's people it is. The calibration is
what `mspf-pipeline simulate` writes: by the clip's name K, R and t (camera = R world + t, metres), for lenses that bend
lines also `distortion` as OpenCV has it. The clips start at the same moment and have the same frame rate.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np
import torch
from evaluate import load
from numpy.typing import NDArray

import engines
from mspf.descriptors import BATCH, Describe, unit_rows
from mspf.errors import MSPFError
from mspf.ranges import at_least, rate
from pipeline.config import DetectorConfig
from pipeline.detector import Detector
from pipeline.errors import PipelineError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
EDGE_PX = 2.0  # a box nearer to the frame's edge may be cut by it
MIN_SCORE = 0.4
MIN_HEIGHT_PX = 60.0


class Lens(msgspec.Struct, frozen=True):
    """One camera of a calibration file; other keys are left alone."""

    K: tuple[tuple[float, float, float], ...]
    R: tuple[tuple[float, float, float], ...]
    t: tuple[float, float, float]
    distortion: tuple[float, ...] = ()

    def ground(self, pixels_xy: F64) -> F64:
        """Where (N, 2) pixels lie on the ground: metres (N, 2); not a number above the horizon."""
        if not len(pixels_xy):
            return np.zeros((0, 2))
        rotation, bends = np.array(self.R), np.array(self.distortion or (0.0, 0.0, 0.0, 0.0))
        flat = cv2.undistortPoints(pixels_xy.reshape(-1, 1, 2), np.array(self.K), bends).reshape(-1, 2)
        rays = np.column_stack([flat, np.ones(len(flat))]) @ rotation
        eye = -np.array(self.t) @ rotation
        along = np.where(rays[:, 2] < 0, -eye[2] / rays[:, 2], np.nan)
        return np.asarray(eye[:2] + along[:, None] * rays[:, :2])


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """The people (h, w, 3) BGR that both cameras saw at one time, and which of them are the same: rows of `pairs`."""

    first: list[U8]
    second: list[U8]
    pairs: I64


class Scores(NamedTuple):
    """Shares in 0..1.

    Attributes:
        queries: how many boxes asked; candidates: how many answers each had, on average.
        by_chance: rank-1 of guesses.
        threshold, recognised: the similarity that the wanted share of pairs of two people reaches, and the share of
            pairs of one person that reaches it.
    """

    queries: int
    candidates: float
    by_chance: float
    rank_1: float
    mean_reciprocal_rank: float
    threshold: float
    recognised: float


def read_lenses(path: Path, clips: Sequence[Path]) -> list[Lens]:
    """The clips' cameras.

    Raises:
        ValueError: no calibration, or none of a clip.
    """
    try:
        lenses = msgspec.json.decode(path.read_bytes(), type=dict[str, Lens])
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error
    if missing := [clip.stem for clip in clips if clip.stem not in lenses]:
        raise ValueError(f"{path}: no camera {missing[0]!r}, which is the clip's name; it has {', '.join(lenses)}")
    return [lenses[clip.stem] for clip in clips]


def frames(clip: Path, every: int) -> Iterator[U8]:
    """Every n-th picture (H, W, 3) BGR.

    Raises:
        ValueError: there is none.
    """
    capture, index = cv2.VideoCapture(str(clip)), 0
    while capture.grab():
        if index % every == 0:
            yield np.asarray(capture.retrieve()[1], np.uint8)
        index += 1
    if not index:
        raise ValueError(f"{clip}: no picture can be read")


def whole_boxes(detector: Detector, image_bgr: U8) -> F64:
    """(N, 4) x1, y1, x2, y2 of people that the frame does not cut, surely and large."""
    found = detector.detect([image_bgr])[0]
    boxes, size = found.boxes_xyxy.astype(np.float64), np.array(image_bgr.shape[1::-1])
    inside = (boxes[:, :2] > EDGE_PX).all(1) & (boxes[:, 2:] < size - EDGE_PX).all(1)
    return boxes[inside & (found.score >= MIN_SCORE) & (boxes[:, 3] - boxes[:, 1] >= MIN_HEIGHT_PX)]


def standing(detector: Detector, lens: Lens, image_bgr: U8) -> tuple[F64, F64]:
    """Boxes (N, 4) of the people of a picture, and the ground (N, 2) on which they stand."""
    boxes = whole_boxes(detector, image_bgr)
    ground = lens.ground(np.column_stack([boxes[:, [0, 2]].mean(1), boxes[:, 3]]))
    below_horizon = np.isfinite(ground).all(1)
    return boxes[below_horizon], ground[below_horizon]


def same_people(first: F64, second: F64, near: float, clear: float) -> I64:
    """(P, 2) rows of ground points (N, 2) and (M, 2) that are surely of one person."""
    if not (len(first) and len(second)):
        return np.zeros((0, 2), np.int64)
    across = np.linalg.norm(first[:, None] - second, axis=2)
    pairs = np.column_stack([np.arange(len(first)), across.argmin(1)])
    mutual = across.argmin(0)[pairs[:, 1]] == pairs[:, 0]
    within = (across < clear).sum(1)[pairs[:, 0]] + (across < clear).sum(0)[pairs[:, 1]]
    crowded = (_others(first) < clear)[pairs[:, 0]] | (_others(second) < clear)[pairs[:, 1]]
    return np.asarray(pairs[mutual & (within == 2) & ~crowded & (across.min(1) < near)])


def _others(points: F64) -> F64:
    """(N,) distance of each point to the nearest of the others."""
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    return np.asarray((apart + np.diag(np.full(len(points), np.inf))).min(1))


def moments(options: argparse.Namespace, detector: Detector) -> Iterator[Moment]:
    """All times at which somebody is seen by both cameras."""
    lenses = read_lenses(options.calibration, options.clips)
    for pictures in zip(*(frames(clip, options.every) for clip in options.clips), strict=False):
        sides = [standing(detector, lens, picture) for lens, picture in zip(lenses, pictures, strict=True)]
        (_, first), (_, second) = sides
        pairs = same_people(first, second, options.near, options.clear)
        if len(pairs):
            crops = [
                [picture[int(y1) : round(y2), int(x1) : round(x2)].copy() for x1, y1, x2, y2 in found]
                for picture, (found, _) in zip(pictures, sides, strict=True)
            ]
            yield Moment(crops[0], crops[1], pairs)


def describe(crops: Sequence[U8], describe_rgb: Describe, size_hw: tuple[int, int]) -> dict[str, F32]:
    """Unit rows (N, D) of BGR crops, for each descriptor by its name."""
    batches: dict[str, list[F32]] = {}
    for start in range(0, len(crops), BATCH):
        images = np.stack([cv2.resize(crop, size_hw[::-1]) for crop in crops[start : start + BATCH]])
        for name, rows in describe_rgb(np.ascontiguousarray(images[..., ::-1])).items():
            batches.setdefault(name, []).append(unit_rows(rows))
    return {name: np.concatenate(rows) for name, rows in batches.items()}


def score(similarities: Sequence[F32], pairs: Sequence[I64], false_match_rate: float) -> Scores:
    """Scores of moments: similarities (N, M) of all that both cameras saw, and who of them are the same (P, 2)."""
    ranks, sizes, true, false = [], [], [], []
    for table, same in zip(similarities, pairs, strict=True):
        for row, column in same:
            for line, right in ((table[row], column), (table[:, column], row)):
                others = np.delete(line, right)
                ranks.append(1 + (others >= line[right]).sum())
                sizes.append(len(line))
                false.append(others)
            true.append(table[row, column])
    strangers = -np.sort(-np.concatenate(false)) if false else np.zeros(0, np.float32)
    if not len(strangers):
        raise ValueError("whoever both cameras saw was alone; there is nobody to be taken for")
    threshold = float(strangers[int(false_match_rate * len(strangers))])
    place = np.array(ranks)
    return Scores(
        queries=len(ranks),
        candidates=float(np.mean(sizes)),
        by_chance=float(np.mean(1 / np.array(sizes))),
        rank_1=float((place == 1).mean()),
        mean_reciprocal_rank=float((1 / place).mean()),
        threshold=threshold,
        recognised=float((np.array(true) > threshold).mean()),
    )


def report(name: str, scores: Scores, false_match_rate: float) -> str:
    """One line."""
    return (
        f"{name}: rank-1 {scores.rank_1:.1%}  mean reciprocal rank {scores.mean_reciprocal_rank:.3f}  "
        f"{scores.recognised:.1%} of pairs of one person above {scores.threshold:.3f}, "
        f"which {false_match_rate:g} of two people's reach  "
        f"({scores.queries} queries, {scores.candidates:.1f} candidates, {scores.by_chance:.1%} by chance)"
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--clips", type=Path, nargs=2, required=True, metavar="VIDEO")
    parser.add_argument("--calibration", type=Path, required=True, metavar="JSON")
    parser.add_argument("--every", type=at_least(1), default=10, help="frames from one moment to the next")
    parser.add_argument("--near", type=float, default=0.5, help="metres between two views of one person, at most")
    parser.add_argument("--clear", type=float, default=1.0, help="metres to everybody else, at least")
    parser.add_argument("--fmr", type=rate, default=1e-2, metavar="RATE", help="share of pairs of two people")
    parser.add_argument("--detector", default="default", metavar="FILE")
    parser.add_argument("--normalise-outside", action="store_true", help="for foreign files: ImageNet mean and std")
    parser.add_argument("--threads", type=at_least(0), default=0, help="of torch; 0 for one a core")
    parser.set_defaults(parts=False, size=None, device="cpu")
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Print a line for each descriptor of each network."""
    seen = list(moments(options, Detector.load(DetectorConfig(model=options.detector))))
    if not seen:
        raise ValueError("nobody was seen by both cameras; are the clips of one moment and place?")
    crops = [crop for moment in seen for crop in (*moment.first, *moment.second)]
    ends = np.cumsum([len(side) for moment in seen for side in (moment.first, moment.second)])[:-1]
    for path in options.weights:
        network = load(path, options)
        for name, rows in describe(crops, network.describe, network.size_hw).items():
            sides = np.split(rows, ends)
            tables = [one @ other.T for one, other in zip(sides[::2], sides[1::2], strict=True)]
            scores = score(tables, [moment.pairs for moment in seen], options.fmr)
            print(report(f"{path.name} ({name}, {rows.shape[1]})", scores, options.fmr), flush=True)


def main() -> None:
    """Score, or say in one line what is in the way."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        run(options)
    except (MSPFError, PipelineError, OSError, ValueError, engines.EngineError) as error:
        sys.exit(f"evaluate_overlap: {error}")


if __name__ == "__main__":
    main()
