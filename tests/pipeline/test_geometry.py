"""How boxes overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.geometry import area, iou, shared_area


def test_overlap_of_known_boxes():
    a = np.array([(0, 0, 10, 10), (0, 0, 0, 0)], np.float32)
    b = np.array([(0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 25, 25)], np.float32)
    assert area(b).tolist() == [100, 100, 25]
    assert shared_area(a, b).tolist() == [[100, 50, 0], [0, 0, 0]]
    assert iou(a, b) == pytest.approx(np.array([[1, 1 / 3, 0], [0, 0, 0]]))
    assert iou(a[:0], b).shape == (0, 3)


sizes = st.floats(0.125, 500, width=32)
place = st.floats(-500, 500, width=32)
rectangles = st.lists(st.tuples(place, place, sizes, sizes), max_size=4)


@given(rectangles, rectangles)
def test_iou_is_symmetric_in_0_to_1_and_1_with_itself(first, second):
    a, b = (np.array([(x, y, x + w, y + h) for x, y, w, h in one]).reshape(-1, 4) for one in (first, second))
    got = iou(a, b)
    assert got.shape == (len(a), len(b))
    assert ((got >= 0) & (got <= 1 + 1e-6)).all()
    assert got == pytest.approx(iou(b, a).T)
    assert np.diag(iou(a, a)) == pytest.approx(np.ones(len(a)), abs=1e-4)
