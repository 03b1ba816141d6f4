"""Whether a new track may go on where another of its camera was lost. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32

_REACH_S = 2.0  # gaps longer than this say nothing
_SLACK = 0.3  # body heights a box may jump by itself
_PACE = 0.9  # body heights a second, a brisk walk


@dataclass(frozen=True, slots=True)
class Lost:
    """Where a camera saw an identity last."""

    identity_id: int
    box_xyxy: F32
    last_seen: float


def continuities(lost: Iterable[Lost], ids: NDArray[np.int64], new_box: F32, new_at: float) -> F32:
    """(N,) in 0..1: how well a box (4,) at `new_at` goes on where each of these identities was lost; 0 if not lost."""
    best = np.zeros(len(ids), np.float32)
    for one in lost:
        fit = continuity(one.box_xyxy, one.last_seen, new_box, new_at)
        best[ids == one.identity_id] = np.maximum(best[ids == one.identity_id], fit)
    return best


def continuity(lost_box: F32, lost_at: float, new_box: F32, new_at: float) -> float:
    """0..1: how well a box (4,) at `new_at` continues one last seen at `lost_at`, by place, size and time between."""
    gap_s = new_at - lost_at
    if not 0.0 < gap_s <= _REACH_S:
        return 0.0
    lost_height, new_height = lost_box[3] - lost_box[1], new_box[3] - new_box[1]
    height = max(float(lost_height + new_height) / 2, 1.0)
    moved = float(np.hypot(*(_feet(new_box) - _feet(lost_box)))) / height
    near = max(0.0, 1.0 - moved / (_SLACK + _PACE * gap_s))
    alike = float(min(lost_height, new_height)) / max(float(max(lost_height, new_height)), 1.0)
    return near * alike * (1.0 - 0.5 * gap_s / _REACH_S)


def _feet(box_xyxy: F32) -> F32:
    feet: F32 = np.array([(box_xyxy[0] + box_xyxy[2]) / 2, box_xyxy[3]], np.float32)
    return feet
