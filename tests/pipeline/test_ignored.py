"""Areas of a picture in which nobody counts."""

import numpy as np
import pytest

from pipeline.datatypes import Detections
from pipeline.ignored import counted, standing

SIZE_WH = (200, 100)
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
ARROW = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.5), (0.9, 0.9), (0.1, 0.9))  # dented from the right


def people(*feet):
    """Boxes 10 pixels wide and 20 high of people who stand there (pixels); the score tells which one it is."""
    boxes = np.array([(x - 5, y - 20, x + 5, y) for x, y in feet], np.float32).reshape(-1, 4)
    return Detections(boxes, np.arange(len(feet), dtype=np.float32))


def left(found):
    return found.score.tolist()


def test_people_stand_where_their_box_ends():
    assert standing(people((50, 40), (200, 100)).boxes_xyxy, SIZE_WH).tolist() == [[0.25, pytest.approx(0.4)], [1, 1]]
    assert standing(people().boxes_xyxy, SIZE_WH).shape == (0, 2)


def test_who_stands_in_an_area_does_not_count():
    found = counted(people((20, 50), (150, 50), (99, 99), (101, 30)), [LEFT_HALF], SIZE_WH)
    assert left(found) == [1, 3]
    assert found.boxes_xyxy.tolist() == [[145, 30, 155, 50], [96, 10, 106, 30]]


def test_who_reaches_into_an_area_with_more_than_the_feet_counts():
    above = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))
    assert left(counted(people((100, 60)), [above], SIZE_WH)) == [0]


def test_who_is_cut_by_the_edge_of_the_picture_stands_on_the_border_of_an_area_that_ends_there():
    assert left(counted(people((20, 100), (0, 50), (0, 100)), [LEFT_HALF], SIZE_WH)) == []


def test_an_area_may_be_dented():
    assert left(counted(people((60, 50), (160, 50), (160, 15), (160, 85)), [ARROW], SIZE_WH)) == [1]


def test_there_may_be_several_areas_or_none():
    right = ((0.75, 0.0), (1.0, 0.0), (1.0, 1.0))
    everybody = people((20, 50), (120, 50), (190, 20))
    assert left(counted(everybody, [LEFT_HALF, right], SIZE_WH)) == [1]
    assert left(counted(everybody, [], SIZE_WH)) == [0, 1, 2]


def test_nobody_is_nobody():
    nobody = counted(people(), [LEFT_HALF], SIZE_WH)
    assert (len(nobody), nobody.boxes_xyxy.shape) == (0, (0, 4))
