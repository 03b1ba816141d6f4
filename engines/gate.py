"""Proof before service: a loaded network agrees with reference outputs at batch 1, 3 and its largest, or is refused.

A network that is exported wrongly still returns numbers of the right shape. So reference inputs and outputs stand
beside the network file (`net.onnx`, `net.golden.npz`), and every back end and precision is held to them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from engines.cache import write_atomically
from engines.engine import Array, Engine, EngineError

MIN_COSINE = {"int8": 0.99}  # of a descriptor to its reference; other precisions:
MIN_COSINE_FLOAT = 0.999
MIN_IOU = 0.95  # of a box and its reference
MAX_SCORE_GAP = 0.02
SURE_SCORE = 0.1  # less sure boxes are not compared
# The share of all boxes, and of each picture's, that must be within so many times what MIN_IOU and MAX_SCORE_GAP leave.
BOXES_WITHIN = {"bf16": ((0.75, 1.0), (1.0, 5.0)), "int8": ((0.5, 2.0), (0.5, 10.0))}  # docs/engines.md says why
BOXES_WITHIN_FLOAT = ((1.0, 1.0), (1.0, 1.0))  # other precisions: every box
MAX_ERROR = 0.02  # of any other output, as a share of its reference's largest magnitude
PROTOCOL = [sorted(MIN_COSINE.items()), MIN_COSINE_FLOAT, MIN_IOU, MAX_SCORE_GAP, SURE_SCORE, MAX_ERROR, 3]
PROTOCOL += [sorted(BOXES_WITHIN.items()), BOXES_WITHIN_FLOAT]


class GateError(EngineError):
    """The network runs, but does not compute what its reference says."""


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Inputs of a network and what comes out when all is right.

    Attributes:
        inputs: (N, ...) as the network takes them.
        outputs: (N, ...) of the network's first output.
        compare: "rows" by cosine, "boxes" (N, K, 6) and "heads" (N, 4 + C, A) by overlap and score, "values" by the
            largest difference.
        origin: where it comes from, for messages.
    """

    inputs: Array
    outputs: Array
    compare: str
    origin: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """The worst of the outputs that count: whether it is good enough, and a clause that says which and how good."""

    ok: bool
    worst: str


def golden_path(network: Path) -> Path:
    """Where the reference of a network file stands."""
    return network.with_suffix(".golden.npz")


def write_golden(path: Path, pictures: NDArray[np.uint8], divisor: float, outputs: Array, compare: str) -> None:
    """Store pictures (N, ...) as uint8; the network takes them as float32, divided by `divisor`."""
    buffer = BytesIO()
    np.savez_compressed(buffer, pictures=pictures, divisor=divisor, outputs=outputs, compare=compare)
    write_atomically(path, buffer.getvalue())


def read_golden(path: Path) -> Golden:
    """The reference in the file.

    Raises:
        EngineError: it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            inputs = file["pictures"].astype(np.float32) / np.float32(file["divisor"])
            golden = Golden(inputs, file["outputs"], str(file["compare"]), path.name)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise EngineError(f"{path}: not a reference ({error}); make it again by scripts/make_golden.py") from error
    if golden.compare not in COMPARISONS or len(inputs) != len(golden.outputs) or not len(inputs):
        raise EngineError(
            f"{path}: {len(inputs)} inputs, {len(golden.outputs)} outputs compared by {golden.compare!r}; "
            "make it again by scripts/make_golden.py"
        )
    return golden


def prove(engine: Engine, golden: Golden, largest: int) -> str:
    """Hold the engine to its reference at batch 1, 3 and `largest`; the worst agreement, as a clause.

    Args:
        largest: most samples in one call; a network of fixed batch size is tried at that alone.

    Raises:
        GateError: an output is worse than its precision allows.
        EngineError: the network does not take the reference's inputs.
    """
    precision = engine.metadata.get("precision", engine.precision)
    wanted = engine.inputs[0].shape[1:]
    if any(want not in (None, got) for want, got in zip(wanted, golden.inputs.shape[1:], strict=False)):
        raise GateError(
            f"{engine.name}: {golden.origin} is for pictures {golden.inputs.shape[1:]}, the network takes {wanted}; "
            "run scripts/make_golden.py"
        )
    fixed, said, found = engine.inputs[0].shape[0], [], []
    calls = batches(len(golden.inputs), fixed, largest)
    for rows in calls:
        found.append(engine(np.ascontiguousarray(golden.inputs[rows]))[0])
        said.append(_held(engine, golden, rows, found[-1], precision))
    if fixed:  # where that is 1, no call has shown more than one picture
        said.append(_held(engine, golden, np.concatenate(calls), np.concatenate(found), precision))
    return "; ".join(said[-2:])


def _held(engine: Engine, golden: Golden, rows: NDArray[np.intp], outputs: Array, precision: str) -> str:
    """How well the outputs agree with these rows of the reference, as a clause.

    Raises:
        GateError: worse than the precision allows.
    """
    expected = golden.outputs[rows]
    if outputs.shape != expected.shape:
        agreement = Agreement(False, f"an output of shape {outputs.shape} where {expected.shape} is right")
    else:
        agreement = COMPARISONS[golden.compare](outputs, expected, precision)
    said = f"batch {len(rows)}: {agreement.worst}"
    if not agreement.ok:
        raise GateError(
            f"{engine.name} on {engine.backend} in {precision} disagrees with {golden.origin}, {said}; "
            "set another backend or precision, or, if the file itself is new, run scripts/make_golden.py"
        )
    return said


def batches(samples: int, fixed: int | None, largest: int) -> list[NDArray[np.intp]]:
    """Rows of the reference to run together: every sample alone, then three, then `largest`, repeated as needed.

    Where the file fixes the batch size, as many batches of it as there are samples, each from another one on.
    """
    sizes = [fixed] * samples if fixed else [*[1] * samples, 3, largest]
    return [(np.arange(size) + start) % samples for start, size in enumerate(sizes)]


def compare_rows(rows: Array, expected: Array, precision: str) -> Agreement:
    """By the least cosine between (N, ...) and their reference."""
    flat, reference = (array.reshape(len(array), -1).astype(np.float64) for array in (rows, expected))
    norms = np.linalg.norm(flat, axis=1) * np.linalg.norm(reference, axis=1)
    cosine = (flat * reference).sum(1) / np.where(norms > 0, norms, np.nan)
    worst = int(np.argmin(np.where(np.isnan(cosine), -np.inf, cosine)))
    least = MIN_COSINE.get(precision, MIN_COSINE_FLOAT)
    return Agreement(
        bool(cosine[worst] >= least), f"row {worst} has cosine {cosine[worst]:.5f} (at least {least:g} wanted)"
    )


def compare_boxes(found: Array, expected: Array, precision: str) -> Agreement:
    """By (N, K, 6) boxes x1, y1, x2, y2, score, class, each beside the one most like it on the other side.

    Boxes of either side count, so one too many is as wrong as one too few.
    """
    pairs = np.concatenate(
        [
            _most_alike(ours[~(ours[:, 4] < SURE_SCORE + MAX_SCORE_GAP)], theirs, image)  # a NaN score stays
            for image, sides in enumerate(zip(found, expected, strict=True))
            for ours, theirs in (sides, sides[::-1])
        ]
    )
    return _judged_pairs(pairs, len(found), precision if not np.isnan(found[..., 4]).any() else "")


def compare_heads(found: Array, expected: Array, precision: str) -> Agreement:
    """By raw heads (N, 4 + C, A), centre, size and a score for each class: each of A anchors beside itself.

    An anchor counts where either side is sure of a class; its gap is that of the class that differs most.
    """
    sides = [side.transpose(0, 2, 1) for side in (found, expected)]
    sure = np.any([~(side[..., 4:].max(2) < SURE_SCORE + MAX_SCORE_GAP) for side in sides], 0)
    (boxes, scores), (true_boxes, true_scores) = (_corners_and_scores(side[sure].astype(np.float64)) for side in sides)
    overlap, apart = _overlap(boxes, true_boxes), np.abs(scores - true_scores).max(1)
    badness, image = _badness(overlap, apart), np.nonzero(sure)[0]
    pairs = np.column_stack([badness, overlap, apart, image, true_boxes, true_scores.max(1)])
    return _judged_pairs(pairs, len(found), precision if not np.isnan(found).any() else "")


def _corners_and_scores(anchors: Array) -> tuple[Array, Array]:
    """(P, 4 + C) centre, size, scores -> (P, 4) corners, (P, C) scores."""
    centre, half, scores = anchors[:, :2], anchors[:, 2:4] / 2, anchors[:, 4:]
    return np.hstack([centre - half, centre + half]), scores


def _judged_pairs(pairs: Array, images: int, precision: str) -> Agreement:
    """The first share of boxes that is worse than its precision allows, else the worst box of the whole batch's share.

    Args:
        pairs: (P, 9) badness, IoU, score gap, image, corners and score.
    """
    if not len(pairs):
        return Agreement(True, f"no box above {SURE_SCORE:g} on either side, which proves little")
    whole, each = BOXES_WITHIN.get(precision, BOXES_WITHIN_FLOAT)
    said = [_judged(pairs[pairs[:, 3] == image], *each, "its") for image in np.unique(pairs[:, 3])]
    if images > 1:  # the few boxes of one picture have no steady share
        said.insert(0, _judged(pairs, *whole, "all"))
    return next((agreement for agreement in said if not agreement.ok), said[0])


def compare_values(values: Array, expected: Array, precision: str) -> Agreement:
    """By the largest difference in any sample of (N, ...), as a share of its largest magnitude."""
    del precision
    flat, reference = (array.reshape(len(array), -1).astype(np.float64) for array in (values, expected))
    scale = np.maximum(np.abs(reference).max(1), 1e-12)
    error = np.abs(flat - reference).max(1) / scale
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    return Agreement(
        bool(error[worst] <= MAX_ERROR), f"sample {worst} is off by {error[worst]:.2%} (at most {MAX_ERROR:.0%} wanted)"
    )


COMPARISONS: dict[str, Callable[[Array, Array, str], Agreement]] = {
    "rows": compare_rows,
    "boxes": compare_boxes,
    "heads": compare_heads,
    "values": compare_values,
}


def _judged(pairs: Array, share: float, leeway: float, whose: str) -> Agreement:
    """Whether this share of the pairs (1: the worst, too) is within `leeway` times what is allowed of one."""
    order = np.argsort(np.nan_to_num(pairs[:, 0], nan=np.inf))
    badness, overlap, apart, image, *corners, score = pairs[order[round(share * (len(pairs) - 1))]]
    least, most = 1 - leeway * (1 - MIN_IOU), leeway * MAX_SCORE_GAP
    says = (
        f"image {image:.0f}, box {np.round(corners, 1)} of score {score:.3f}: IoU {overlap:.3f}, score off by "
        f"{apart:.3f} (at least {least:g} and at most {most:g} wanted)"
    )
    which = f"{1 - share:.0%} of {whose} boxes are worse than " if share < 1 else ""
    return Agreement(bool(badness <= leeway), which + says)


def _most_alike(boxes: Array, others: Array, image: int) -> Array:
    """(P, 9) for (P, 6) boxes: badness (1 is just allowed), IoU and score gap to the other most like it; the box."""
    table = np.zeros((len(boxes), 9))
    table[:, 3], table[:, 4:8], table[:, 8] = image, boxes[:, :4], boxes[:, 4]
    table[:, :3] = np.inf, 0, 1
    if not len(boxes) or not len(others):
        return table
    overlap = _overlap(boxes[:, None, :4], others[None, :, :4])
    apart = np.abs(boxes[:, None, 4] - others[None, :, 4])
    badness = _badness(overlap, apart)
    badness[boxes[:, None, 5] != others[None, :, 5]] = np.inf
    best = np.arange(len(boxes)), badness.argmin(1)
    table[:, :3] = np.column_stack([badness[best], overlap[best], apart[best]])
    return table


def _overlap(boxes: Array, others: Array) -> Array:
    """IoU of corners (..., 4), broadcast."""
    shared = np.clip(np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2]), 0, None)
    area, other_area = ((some[..., 2:] - some[..., :2]).prod(-1) for some in (boxes, others))
    inner: Array = shared.prod(-1)
    return np.asarray(inner / np.maximum(area + other_area - inner, 1e-12))


def _badness(overlap: Array, apart: Array) -> Array:
    """1 is just allowed."""
    badness: Array = np.maximum((1 - overlap) / (1 - MIN_IOU), apart / MAX_SCORE_GAP)
    return badness
