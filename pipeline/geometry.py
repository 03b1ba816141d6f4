"""How boxes overlap. Boxes are (N, 4) x1, y1, x2, y2. Pure numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating[Any]]


def area(boxes_xyxy: Boxes) -> Boxes:
    """(N,) of each box."""
    size: Boxes = np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1)
    return size


def shared_area(a_xyxy: Boxes, b_xyxy: Boxes) -> Boxes:
    """(A, B) that each pair has in common; empty where A or B is 0."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    shared: Boxes = np.prod(np.clip(high - low, 0, None), axis=2)
    return shared


def iou(a_xyxy: Boxes, b_xyxy: Boxes) -> Boxes:
    """(A, B) intersection over union, 0 for boxes of no area; empty where A or B is 0."""
    shared = shared_area(a_xyxy, b_xyxy)
    union = area(a_xyxy)[:, None] + area(b_xyxy)[None] - shared
    share: Boxes = shared / np.maximum(union, 1e-9)
    return share
