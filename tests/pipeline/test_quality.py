"""Crop quality: in 0..1 for any boxes, and worse for what shows less of the person."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import QualityConfig
from pipeline.quality import box_quality, sharpness

SIZE_WH = (640, 360)
GOOD = (100.0, 100.0, 140.0, 200.0)  # 100 px high, 40 % as wide, alone and inside


def quality(*boxes, config=QualityConfig()):  # noqa: B008  frozen
    return box_quality(np.array(boxes, np.float32).reshape(-1, 4), SIZE_WH, config)


def test_a_high_whole_lone_upright_box_is_perfect():
    assert quality(GOOD).tolist() == [1.0]


def test_no_boxes_have_no_quality():
    assert quality().shape == (0,)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 100, 112, 139), 0.0),  # 39 px, below min_height_px
        ((100, 100, 116, 140), 0.5),  # 40 px
        ((100, 100, 128, 170), 0.75),  # half way to full_height_px
        ((100, 100, 180, 200), 0.3),  # as wide as two people
        ((100, 100, 115, 200), 0.3),  # a sliver
        ((0, 100, 40, 200), 0.5),  # cut at the side
        ((100, 260, 140, 360), 0.6),  # cut at the feet
        ((0, 0, 40, 100), 0.3),  # both
    ],
)
def test_quality_of_one_box(box, expected):
    assert quality(box)[0] == pytest.approx(expected, abs=1e-6)


def test_who_stands_behind_loses_what_is_covered_and_who_stands_in_front_a_third_of_it():
    behind, front = (100, 100, 140, 200), (120, 105, 160, 205)
    share = 20 * 95 / 4000
    assert quality(behind, front) == pytest.approx([1 - share, 1 - share / 3], abs=1e-6)


sides = st.floats(0, 400, width=32)
boxes = st.tuples(st.floats(-50, 700, width=32), st.floats(-50, 400, width=32), sides, sides).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(boxes, max_size=6))
def test_quality_of_any_boxes_is_in_0_to_1(found):
    got = quality(*found)
    assert got.shape == (len(found),)
    assert got.dtype == np.float32
    assert ((got >= 0) & (got <= 1)).all()


@given(st.lists(boxes, min_size=1, max_size=5), boxes)
def test_another_person_never_makes_a_crop_better(found, other):
    assert (quality(*found, other)[:-1] <= quality(*found) + 1e-6).all()


@given(st.lists(boxes, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_boxes_does_not_matter(found, random):
    order = list(range(len(found)))
    random.shuffle(order)
    assert np.array_equal(quality(*found)[order], quality(*[found[i] for i in order]))


def grid(period):
    """Vertical stripes, `period` pixels wide each."""
    columns = (np.arange(64) // period % 2 * 200).astype(np.uint8)
    return np.repeat(np.repeat(columns[None, :, None], 128, axis=0), 3, axis=2)


def test_fine_detail_is_sharper_than_coarse_and_a_plain_crop_least():
    assert sharpness(grid(2)) == 1.0
    assert sharpness(grid(64)) == pytest.approx(0.3)
    assert sharpness(grid(2) // 200) < sharpness(grid(2) // 100) < 1.0


@pytest.mark.parametrize("shape", [(1, 1), (2, 60), (100, 2), (0, 0)])
def test_a_crop_too_small_to_tell_has_no_sharpness(shape):
    assert sharpness(np.zeros((*shape, 3), np.uint8)) == 0.0
