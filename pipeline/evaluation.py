"""Tracking scores over all cameras at once, by TrackEval (Luiten et al., IJCV 2021; Ristani et al., ECCVW 2016).

Every frame of every camera is one time step of one sequence, so a person who changes number between cameras costs as
much as one who changes number within a camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.datatypes import F32
from pipeline.geometry import iou
from pipeline.matcher_state import survivors

_MIN_IOU = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes of one camera.

    Attributes:
        frame: (N,) int, from 1.
        identity: (N,) int, global.
        boxes_xywh: (N, 4) float32 pixels.
        consider: (N,) bool; False marks a person who is no error, found or not.
    """

    frame: NDArray[np.int64]
    identity: NDArray[np.int64]
    boxes_xywh: F32
    consider: NDArray[np.bool_]

    def at(self, rows: NDArray[np.bool_]) -> "Boxes":
        """The chosen rows."""
        return Boxes(self.frame[rows], self.identity[rows], self.boxes_xywh[rows], self.consider[rows])


class Scores(msgspec.Struct, frozen=True):
    """Cross-camera scores in 0..1 and how they came about."""

    idf1: float
    hota: float
    assa: float
    deta: float
    precision: float
    recall: float
    id_switches: int
    protocol: str


def merged(identity: NDArray[np.int64], became: Mapping[int, int]) -> NDArray[np.int64]:
    """Identities with every merge carried out.

    Raises:
        ValueError: a chain of merges leads back to its start.
    """
    final = survivors(became)
    known, place = np.unique(identity, return_inverse=True)
    return np.array([final.get(one, one) for one in known.tolist()], np.int64)[place]


def last_in_frame(frame: NDArray[np.int64], identity: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) which boxes of one camera are the last of their identity in their frame."""
    order = np.lexsort((identity, frame))  # stable
    last = np.ones(len(order), np.bool_)
    last[order[:-1]] = (np.diff(frame[order]) != 0) | (np.diff(identity[order]) != 0)
    return last


def score(truth: Mapping[str, Boxes], found: Mapping[str, Boxes], protocol: str) -> Scores:
    """IDF1, HOTA, AssA, DetA of global identities; precision and recall of boxes at IoU 0.5.

    Found boxes that match a person not to be considered are left out first, as MOTChallenge does; cameras without
    truth are left out. HOTA, AssA and DetA are means over IoU 0.05 to 0.95.
    """
    from trackeval.metrics import CLEAR, HOTA, Identity

    steps = [step for camera in sorted(truth) for step in _steps(truth[camera], found.get(camera, _nothing()))]
    sequence = _sequence(steps)
    quiet = {"PRINT_CONFIG": False}
    hota = HOTA().eval_sequence(sequence)
    clear = CLEAR(quiet).eval_sequence(sequence)
    return Scores(
        idf1=float(Identity(quiet).eval_sequence(sequence)["IDF1"]),
        hota=float(np.mean(hota["HOTA"])),
        assa=float(np.mean(hota["AssA"])),
        deta=float(np.mean(hota["DetA"])),
        precision=float(clear["CLR_Pr"]),
        recall=float(clear["CLR_Re"]),
        id_switches=int(clear["IDSW"]),
        protocol=protocol,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """People and found boxes of one frame of one camera; similarity (T, F) is IoU."""

    truth_ids: NDArray[np.int64]
    found_ids: NDArray[np.int64]
    similarity: NDArray[np.float64]


def _nothing() -> Boxes:
    none = np.zeros(0, np.int64)
    return Boxes(none, none, np.zeros((0, 4), np.float32), np.zeros(0, np.bool_))


def _steps(truth: Boxes, found: Boxes) -> list[_Step]:
    frames = np.union1d(truth.frame, found.frame)
    return [_step(truth.at(truth.frame == frame), found.at(found.frame == frame)) for frame in frames]


def _step(truth: Boxes, found: Boxes) -> _Step:
    similarity = iou(_xyxy(truth.boxes_xywh), _xyxy(found.boxes_xywh))
    rows, columns = linear_sum_assignment(np.where(similarity >= _MIN_IOU, -similarity, 0.0))
    ignored = [c for r, c in zip(rows, columns, strict=True) if similarity[r, c] >= _MIN_IOU and not truth.consider[r]]
    keep = np.ones(len(found.frame), np.bool_)
    keep[ignored] = False
    return _Step(
        truth.identity[truth.consider],
        found.identity[keep],
        np.ascontiguousarray(similarity[truth.consider][:, keep]),
    )


def _xyxy(boxes_xywh: F32) -> NDArray[np.float64]:
    corner, size = boxes_xywh[:, :2].astype(np.float64), boxes_xywh[:, 2:]
    return np.hstack([corner, corner + size])


def _sequence(steps: list[_Step]) -> dict[str, object]:
    """TrackEval's form of one sequence: ids counted from 0 without gaps."""
    truth_ids = np.unique(np.concatenate([step.truth_ids for step in steps] or [np.zeros(0, np.int64)]))
    found_ids = np.unique(np.concatenate([step.found_ids for step in steps] or [np.zeros(0, np.int64)]))
    return {
        "num_timesteps": len(steps),
        "num_gt_ids": len(truth_ids),
        "num_tracker_ids": len(found_ids),
        "num_gt_dets": sum(len(step.truth_ids) for step in steps),
        "num_tracker_dets": sum(len(step.found_ids) for step in steps),
        "gt_ids": [np.searchsorted(truth_ids, step.truth_ids) for step in steps],
        "tracker_ids": [np.searchsorted(found_ids, step.found_ids) for step in steps],
        "similarity_scores": [step.similarity for step in steps],
    }
