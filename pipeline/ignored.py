"""Who stands in an area of the picture that its camera ignores."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import Area
from pipeline.datatypes import F32, Detections


def standing(boxes_xyxy: F32, size_wh: tuple[int, int]) -> F32:
    """(N, 2) where people stand, the middle of the box's lower edge, as shares of the picture's width and height."""
    middle = (boxes_xyxy[:, 0] + boxes_xyxy[:, 2]) / 2
    feet = np.stack([middle, boxes_xyxy[:, 3]], axis=1)
    return np.asarray(feet / size_wh, np.float32)


def in_areas(people: Detections, areas: Sequence[Area], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) who stands in one of the areas, borders included."""
    corners = [np.array(area, np.float32) for area in areas]
    places = standing(people.boxes_xyxy, size_wh).tolist()
    inside = [any(cv2.pointPolygonTest(area, place, measureDist=False) >= 0 for area in corners) for place in places]
    return np.array(inside, np.bool_)


def counted(people: Detections, areas: Sequence[Area], size_wh: tuple[int, int]) -> Detections:
    """Those who stand in none of the areas."""
    if not areas:
        return people
    outside = ~in_areas(people, areas, size_wh)
    return Detections(people.boxes_xyxy[outside], people.score[outside])
