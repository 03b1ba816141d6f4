"""Pictures as a detector takes them, and what a network without a reference is compared and timed on."""

import cv2
import numpy as np
import pytest

from engines.plans import Profile
from engines.tensorrt_builder import shapes
from pipeline.config import DetectorConfig
from pipeline.detector import Detector
from pipeline.pictures import detector_input, example_pictures, letterbox, resized
from tests.fakes import colour_describer, picture, picture_spec

OPEN = picture_spec(None, None)


def test_letterbox_scales_to_fit_and_pads_with_grey() -> None:
    boxed, scales = letterbox([np.full((20, 40, 3), 255, np.uint8)], (64, 64))
    assert scales == [1.6]
    assert (boxed[0, :32] == 255).all()
    assert (boxed[0, 32:] == 114).all()


def test_a_much_larger_picture_is_shrunk_by_means_not_by_passing_over_pixels() -> None:
    striped = np.zeros((96, 128, 3), np.uint8)
    striped[:, 1::4] = striped[:, 2::4] = 255  # at once, a quarter of the size would be all white
    out = resized(striped, (32, 24))
    assert np.abs(out.astype(int) - 127.5).max() <= 1


@pytest.mark.parametrize("hw", [(47, 63), (24, 64), (10, 10)])
def test_a_picture_less_than_twice_as_large_is_scaled_bilinearly(hw: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    out = resized(noise, (32, 24))
    np.testing.assert_array_equal(out, cv2.resize(noise, (32, 24)))


def test_a_picture_of_odd_sides_stays_in_its_place() -> None:
    corners = np.zeros((203, 101, 3), np.uint8)
    corners[:50, :25] = corners[153:, 76:] = 255
    out = resized(corners, (25, 50))
    bright = out[..., 0] > 127
    assert bright[:12, :6].all()
    assert bright[-12:, -6:].all()
    assert bright.sum() == pytest.approx(2 * 12.3 * 6.2, rel=0.05)


def test_a_detector_without_a_reference_is_compared_on_rendered_people() -> None:
    shipped = Detector.load(DetectorConfig(backend="onnxruntime")).engine
    people = example_pictures(shipped.inputs, shipped.metadata)
    assert people is not None
    assert (shipped(people)[0][:, 0, 4] > 0.5).all()  # the surest box of every picture


@pytest.mark.parametrize("long_side", [320, 448, 480, 640, 1280])
def test_examples_have_the_size_at_which_a_run_detects_in_frames_of_16_to_9(long_side: int) -> None:
    metadata = {"kind": "detector", "imgsz": f"[{long_side}, {long_side}]"}
    frames, _ = detector_input([picture(size_wh=(1920, 1080))], OPEN, metadata)
    people = example_pictures((OPEN,), metadata)
    assert people is not None
    assert people.shape[1:] == frames.shape[1:]
    least, best, most = shapes((-1, 3, -1, -1), Profile(1, 4, 8), long_side)  # of a TensorRT plan
    assert people.shape[2:] == best[2:]
    assert all(low <= side <= high for low, side, high in zip(least, people.shape, most, strict=True))


def test_examples_are_in_the_size_of_a_file_that_fixes_it() -> None:
    small = example_pictures((picture_spec(96, 128),), {"imgsz": "[640, 640]"})
    assert small is not None
    assert small.shape == (2, 3, 96, 128)


def test_a_re_id_network_gets_patches_and_what_takes_no_pictures_nothing() -> None:
    engine = colour_describer()
    patches = example_pictures(engine.inputs, engine.metadata)
    assert patches is not None
    assert patches.shape[1:] == (3, 16, 8)
    assert example_pictures(engine.outputs, {}) is None
