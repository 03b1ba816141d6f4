"""Lines of the command line, word for word."""

import numpy as np
import pytest

from pipeline.config import CameraConfig
from pipeline.datatypes import Detections
from pipeline.screen import first_frame

PEOPLE = Detections(np.array([[100, 0, 300, 360], [0, 0, 64, 180]], np.float32), np.array([0.9, 0.8], np.float32))
CORNER = ((0.0, 0.4), (0.1, 0.4), (0.1, 0.6), (0.0, 0.6))


@pytest.mark.parametrize(
    ("scale", "ignore", "says"),
    [
        (0.75, (), "640x360, 2 people in the first frame, standing at [0.31, 1.00] [0.05, 0.50]"),
        (
            0.375,
            (CORNER,),
            "640x360 (the detector sees 240x135), 2 people in the first frame, standing at [0.31, 1.00], "
            "to be ignored at [0.05, 0.50]",
        ),
    ],
)
def test_a_first_frame_is_told_with_where_people_stand_and_what_the_detector_sees(scale, ignore, says):
    camera = CameraConfig("hall", "hall.mp4", ignore=ignore)
    assert first_frame(camera, np.zeros((360, 640, 3), np.uint8), PEOPLE, scale) == f"hall: ok, {says}"
