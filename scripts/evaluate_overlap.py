"""Score re-identification between two cameras that see the same ground at once: where people stand says who is who.

python scripts/evaluate_overlap.py --weights W ... --clips A.mp4 B.mp4 --calibration calibration.json
python scripts/evaluate_overlap.py --run RUN --clips A.mp4 B.mp4 --calibration calibration.json

The first scores networks, the second the identities of a replay whose cameras are called like their clips: as first
written, and after merges. Boxes of people who never got an identity are not among those.

Nobody has to be labelled. Every tenth frame the people of both pictures are detected and their feet put on the ground;
two boxes are one person where each is the other's nearest, by less than --near metres, and nobody else stands within
--clear metres of either. Each of the two then asks which of all the other picture's people it is. The calibration is
what `mspf-pipeline simulate` writes: by the clip's name K, R and t (camera = R world + t, metres, the ground at z = 0),
for lenses that bend lines also `distortion`, OpenCV's k1, k2, p1, p2. The clips start at the same moment.
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
from mspf.descriptors import BATCH, describe_batches, without_camera_means
from mspf.errors import MSPFError
from mspf.ranges import at_least, rate
from pipeline.config import DetectorConfig
from pipeline.detector import Detector
from pipeline.errors import PipelineError
from pipeline.evaluation import last_in_frame, merged
from pipeline.events import read_merges
from pipeline.pictures import resized
from pipeline.results import read_boxes

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Row = tuple[float, float, float]
EDGE_PX = 2.0  # a box nearer to the frame's edge may be cut by it
MIN_SCORE = 0.4
MIN_HEIGHT_PX = 60.0


class Lens(msgspec.Struct, frozen=True):
    """One camera of a calibration file; other keys are left alone."""

    K: tuple[Row, Row, Row]
    R: tuple[Row, Row, Row]
    t: Row
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def ground(self, pixels_xy: F64) -> F64:
        """Where (N, 2) pixels lie on the ground: metres (N, 2); not a number above the horizon."""
        if not len(pixels_xy):
            return np.zeros((0, 2))
        rotation, bends = np.array(self.R), np.array(self.distortion)
        flat = cv2.undistortPoints(pixels_xy.reshape(-1, 1, 2), np.array(self.K), bends).reshape(-1, 2)
        rays = np.column_stack([flat, np.ones(len(flat))]) @ rotation
        eye = -np.array(self.t) @ rotation
        with np.errstate(divide="ignore"):
            along = -eye[2] / rays[:, 2]
        return np.asarray(eye[:2] + np.where(along > 0, along, np.nan)[:, None] * rays[:, :2])


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
            pairs of one person that is above it; strangers: how many pairs of two people there were.
    """

    queries: int
    candidates: float
    by_chance: float
    rank_1: float
    mean_reciprocal_rank: float
    threshold: float
    recognised: float
    strangers: int


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
            read, picture = capture.retrieve()
            if not read:
                raise ValueError(f"{clip}: frame {index} cannot be read")
            yield np.asarray(picture, np.uint8)
        index += 1
    if not index:
        raise ValueError(f"{clip}: no picture can be read")


def check_clips(clips: Sequence[Path]) -> None:
    """
    Raises:
        ValueError: the two cannot be of one time.
    """
    if clips[0].stem == clips[1].stem:
        raise ValueError(f"two clips of one camera, {clips[0].stem!r}; their names are those of the calibration")
    rates = [cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FPS) for clip in clips]
    if min(rates) > 0 and abs(rates[0] - rates[1]) > 0.01:
        raise ValueError(
            f"{clips[0]} has {rates[0]:g} frames a second, {clips[1]} {rates[1]:g}; give both the same rate"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """The people of a picture: boxes (N, 4) x1, y1, x2, y2, the ground (N, 2) below, and who is seen whole (N,)."""

    boxes: F64
    ground: F64
    whole: Mask


def feet(lens: Lens, boxes: F64) -> F64:
    """(N, 2) points of the ground below boxes (N, 4) x1, y1, x2, y2; not a number above the horizon."""
    return lens.ground(np.column_stack([boxes[:, [0, 2]].mean(1), boxes[:, 3]]))


def standing(detector: Detector, lens: Lens, image_bgr: U8) -> Standing:
    """Who is detected surely; whole are those whom the frame does not cut and who are large."""
    found = detector.detect([image_bgr])[0]
    boxes, size = found.boxes_xyxy.astype(np.float64), np.array(image_bgr.shape[1::-1], np.int64)
    ground = feet(lens, boxes)
    sure = (found.score >= MIN_SCORE) & np.isfinite(ground).all(1)
    return Standing(boxes[sure], ground[sure], seen_whole(boxes, size)[sure])


def seen_whole(boxes: F64, size_wh: I64) -> Mask:
    """(N,) who is not cut by the frame and large enough."""
    inside = (boxes[:, :2] > EDGE_PX).all(1) & (boxes[:, 2:] < size_wh - EDGE_PX).all(1)
    return np.asarray(inside & (boxes[:, 3] - boxes[:, 1] >= MIN_HEIGHT_PX))


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
    check_clips(options.clips)
    lenses = read_lenses(options.calibration, options.clips)
    for pictures in zip(*(frames(clip, options.every) for clip in options.clips), strict=False):
        sides = [standing(detector, lens, picture) for lens, picture in zip(lenses, pictures, strict=True)]
        first, second = sides
        pairs = same_people(first.ground, second.ground, options.near, options.clear)
        pairs = pairs[first.whole[pairs[:, 0]] & second.whole[pairs[:, 1]]]
        if len(pairs):
            places = [np.cumsum(side.whole) - 1 for side in sides]  # among those who are seen whole
            numbers = np.column_stack([places[0][pairs[:, 0]], places[1][pairs[:, 1]]])
            yield Moment(*(crops(picture, side) for picture, side in zip(pictures, sides, strict=True)), numbers)


def crops(image_bgr: U8, side: Standing) -> list[U8]:
    """(h, w, 3) of everybody who is seen whole."""
    corners = side.boxes[side.whole].round().astype(int)
    return [image_bgr[y1:y2, x1:x2].copy() for x1, y1, x2, y2 in corners]


def batches(people: Sequence[U8], size_hw: tuple[int, int]) -> Iterator[U8]:
    """RGB (n, H, W, 3) of BGR crops of any size."""
    for start in range(0, len(people), BATCH):
        images = [resized(crop, (size_hw[1], size_hw[0])) for crop in people[start : start + BATCH]]
        yield np.ascontiguousarray(np.stack(images)[..., ::-1], np.uint8)


def score(similarities: Sequence[F32], pairs: Sequence[I64], false_match_rate: float) -> Scores:
    """Scores of moments: similarities (N, M) of all that both cameras saw, and who of them are the same (P, 2)."""
    ranks, sizes, true, false = [], [], [], []
    for table, same in zip(similarities, pairs, strict=True):
        for row, column in same:
            for line, right in ((table[row], column), (table[:, column], row)):
                ranks.append(1 + (np.delete(line, right) >= line[right]).sum())
                sizes.append(len(line))
            true.append(table[row, column])
        false.append(table[strangers_of(same, table.shape)])
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
        strangers=len(strangers),
    )


class Agreement(NamedTuple):
    """Identities that a run gave to people of both cameras at one moment.

    Attributes:
        people: pairs of boxes of one person; agreed: the share of them with one identity, 0..1.
        strangers: pairs of boxes of two people; mistaken: the share of them with one identity.
        identities: how many the two cameras show.
    """

    people: int
    agreed: float
    strangers: int
    mistaken: float
    identities: int


class Shown(NamedTuple):
    """What a run wrote of one camera: frames (N,), identities (N,), ground points (N, 2), who is whole (N,)."""

    frame: I64
    identity: I64
    ground: F64
    whole: Mask


def shown(clip: Path, lens: Lens, run: Path) -> Shown:
    """
    Raises:
        ConfigError: the run has no boxes of that camera.
    """
    boxes, capture = read_boxes(run / "tracks" / f"{clip.stem}.txt", of_a_run=True), cv2.VideoCapture(str(clip))
    size = np.array([capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)], np.int64)
    corners = np.hstack([boxes.boxes_xywh[:, :2], boxes.boxes_xywh[:, :2] + boxes.boxes_xywh[:, 2:]]).astype(np.float64)
    ground = feet(lens, corners)
    below = np.isfinite(ground).all(1)
    rows = (boxes.frame, boxes.identity, ground, seen_whole(corners, size))
    return Shown(*(column[below] for column in rows))


def agreement(first: Shown, second: Shown, options: argparse.Namespace) -> Agreement:
    """
    Raises:
        ValueError: the two never show one person at one moment.
    """
    same, strange = [np.zeros(0, np.bool_)], [np.zeros(0, np.bool_)]
    for frame in np.intersect1d(first.frame, second.frame):
        if (frame - 1) % options.every:
            continue
        one, other = (np.flatnonzero(side.frame == frame) for side in (first, second))
        pairs = same_people(first.ground[one], second.ground[other], options.near, options.clear)
        pairs = pairs[first.whole[one[pairs[:, 0]]] & second.whole[other[pairs[:, 1]]]]
        equal = first.identity[one][:, None] == second.identity[other]
        others = strangers_of(pairs, equal.shape) & first.whole[one][:, None] & second.whole[other]
        same.append(equal[pairs[:, 0], pairs[:, 1]])
        strange.append(equal[others])
    of_one, of_two = np.concatenate(same), np.concatenate(strange)
    if not len(of_one):
        raise ValueError("nobody was seen by both cameras; are the clips of one moment and place?")
    people = len(np.union1d(first.identity, second.identity))
    return Agreement(len(of_one), float(of_one.mean()), len(of_two), float(of_two.sum() / max(len(of_two), 1)), people)


def strangers_of(pairs: I64, shape: tuple[int, int]) -> Mask:
    """Of a table (N, M) of all that both cameras saw, the pairs of two people: one of them is in `pairs` (P, 2)."""
    strange = np.zeros(shape, np.bool_)
    strange[pairs[:, 0]], strange[:, pairs[:, 1]] = True, True
    strange[pairs[:, 0], pairs[:, 1]] = False
    return strange


def report(name: str, scores: Scores, false_match_rate: float) -> str:
    """One line."""
    return (
        f"{name}: rank-1 {scores.rank_1:.1%}  mean reciprocal rank {scores.mean_reciprocal_rank:.3f}  "
        f"{scores.recognised:.1%} of pairs of one person above {scores.threshold:.3f}, "
        f"which {false_match_rate:g} of {scores.strangers} of two people's reach  "
        f"({scores.queries} queries, {scores.candidates:.1f} candidates, {scores.by_chance:.1%} by chance)"
    )


def metres(text: str) -> float:
    """A distance above 0."""
    if not 0 < (distance := float(text)) < np.inf:
        raise argparse.ArgumentTypeError(f"{text}; give metres above 0")
    return distance


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--weights", type=Path, nargs="+", action="extend", metavar="FILE")
    what.add_argument("--run", type=Path, metavar="DIR", help="what mspf-pipeline run --out wrote")
    parser.add_argument("--clips", type=Path, nargs=2, required=True, metavar="VIDEO")
    parser.add_argument("--calibration", type=Path, required=True, metavar="JSON")
    parser.add_argument(
        "--every", type=at_least(1), default=10, metavar="N", help="frames from one moment to the next (10)"
    )
    parser.add_argument(
        "--near", type=metres, default=0.5, metavar="M", help="metres between two views of one person, at most (0.5)"
    )
    parser.add_argument(
        "--clear", type=metres, default=1.0, metavar="M", help="metres to everybody else, at least (1.0)"
    )
    parser.add_argument(
        "--fmr", type=rate, default=1e-2, metavar="RATE", help="pairs of two people taken for one (0.01)"
    )
    parser.add_argument("--remove-camera-bias", action="store_true", help="take off the mean of each clip's people")
    parser.add_argument("--detector", default="default", metavar="FILE", help="as detector.model of a run")
    parser.add_argument("--normalise-outside", action="store_true", help="for foreign files: ImageNet mean and std")
    parser.add_argument("--threads", type=at_least(0), default=0, help="of torch; 0 for one a core")
    parser.set_defaults(parts=False, size=None, device="cpu")
    options = parser.parse_args()
    if options.run and (options.remove_camera_bias or options.normalise_outside or options.detector != "default"):
        parser.error("--remove-camera-bias, --normalise-outside and --detector are of --weights; a run has its own")
    return options


def once_in_a_frame(side: Shown) -> Shown:
    """Of several boxes of one identity in a frame the last, as `mspf-pipeline merge` keeps them."""
    kept = last_in_frame(side.frame, side.identity)
    return Shown(*(column[kept] for column in side))


def score_run(options: argparse.Namespace) -> None:
    """Print a line for the identities of a run as first written, and one for those after merges."""
    check_clips(options.clips)
    lenses = read_lenses(options.calibration, options.clips)
    sides = [shown(clip, lens, options.run) for clip, lens in zip(options.clips, lenses, strict=True)]
    became = read_merges(options.run / "events.jsonl")
    after = [once_in_a_frame(side._replace(identity=merged(side.identity, became))) for side in sides]
    for name, (first, second) in {"strictly online": sides, "after merges": after}.items():
        found = agreement(first, second, options)
        print(
            f"{options.run} {name}: {found.agreed:.1%} of {found.people} pairs of one person have one identity, "
            f"{found.mistaken:.1%} of {found.strangers} of two people  ({found.identities} identities)"
        )


def score_networks(options: argparse.Namespace) -> None:
    """Print a line for each descriptor of each network."""
    networks = {path: load(path, options) for path in options.weights}
    seen = list(moments(options, Detector.load(DetectorConfig(model=options.detector))))
    if not seen:
        raise ValueError("nobody was seen by both cameras; are the clips of one moment and place?")
    people = [crop for moment in seen for crop in (*moment.first, *moment.second)]
    sizes = [len(side) for moment in seen for side in (moment.first, moment.second)]
    ends, cameras = np.cumsum(sizes)[:-1], np.repeat(np.arange(len(sizes)) % 2, sizes)
    for path, network in networks.items():
        for name, rows in describe_batches(batches(people, network.size_hw), network.describe).items():
            sides = np.split(without_camera_means(rows, cameras) if options.remove_camera_bias else rows, ends)
            tables = [one @ other.T for one, other in zip(sides[::2], sides[1::2], strict=True)]
            scores = score(tables, [moment.pairs for moment in seen], options.fmr)
            print(report(f"{path.name} ({name}, {rows.shape[1]})", scores, options.fmr), flush=True)


def main() -> None:
    """Score, or say in one line what is in the way."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        if options.run:
            score_run(options)
        else:
            score_networks(options)
    except (MSPFError, PipelineError, OSError, ValueError, engines.EngineError) as error:
        sys.exit(f"evaluate_overlap: {error}")


if __name__ == "__main__":
    main()
