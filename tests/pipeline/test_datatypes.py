"""Types refuse arrays of the wrong shape, once, with what was expected."""

import msgspec
import numpy as np
import pytest

from pipeline.datatypes import CameraUpdate, Detections, TrackIdentity
from tests.fakes import tracklet


def test_detections_refuse_boxes_and_scores_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"expected boxes \(N, 4\) and scores \(N,\), got \(2, 4\), \(1,\)"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.float32))


def test_no_detections_have_length_zero():
    assert len(Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"embeddings": np.zeros(3, np.float32)},
        {"embeddings": np.zeros((2, 3), np.float32)},
        {"quality": np.zeros((3, 1), np.float32)},
        {"box_xyxy": np.zeros(3, np.float32)},
    ],
)
def test_a_tracklet_refuses_arrays_of_another_shape(wrong):
    facts = {**msgspec.structs.asdict(tracklet(1, (1, 0, 0), at=0.0, count=3)), **wrong}
    with pytest.raises(ValueError, match=r"expected embeddings \(K, D\), quality \(K,\) and box \(4,\), got"):
        type(tracklet(1, (1, 0), at=0.0))(**facts)


@pytest.mark.parametrize(
    "wrong",
    [
        {"embeddings": np.full((3, 3), np.nan, np.float32)},
        {"quality": np.full(3, np.inf, np.float32)},
        {"box_xyxy": np.full(4, np.nan, np.float32)},
        {"first_seen": float("nan")},
        {"last_seen": float("inf")},
    ],
)
def test_a_tracklet_refuses_numbers_that_are_not_finite(wrong):
    facts = {**msgspec.structs.asdict(tracklet(7, (1, 0, 0), at=0.0, count=3)), **wrong}
    with pytest.raises(ValueError, match="track 7 has numbers that are not finite"):
        type(tracklet(1, (1, 0), at=0.0))(**facts)


def test_an_update_refuses_a_time_that_is_none():
    with pytest.raises(ValueError, match="a frame of hall: captured_at is nan"):
        CameraUpdate("hall", 1, 0, float("nan"), 0.0, ())


def test_a_visible_track_refuses_a_box_of_another_shape():
    with pytest.raises(ValueError, match=r"expected box \(4,\), got \(2, 4\)"):
        TrackIdentity(1, None, np.zeros((2, 4), np.float32), 0.5)
