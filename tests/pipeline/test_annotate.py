"""Pictures of what the pipeline believes."""

import cv2
import numpy as np
import pytest

from pipeline.annotate import Mosaic, colour_bgr, draw, view
from pipeline.datatypes import CameraIdentities, TrackIdentity
from tests.fakes import frame, picture


def seen(*box_xyxy, identity_id=1):
    box = np.array(box_xyxy, np.float32)
    return CameraIdentities("a", 1, 0, 0.0, 0.0, 0.0, (TrackIdentity(1, identity_id, box, 0.9),))


def test_an_identity_has_one_colour_and_the_first_fifty_differ():
    assert colour_bgr(7) == colour_bgr(7)
    assert len({colour_bgr(one) for one in range(1, 51)}) == 50
    assert colour_bgr(None) == (160, 160, 160)


@pytest.mark.parametrize("identity_id", [3, None])
def test_a_box_is_drawn_in_the_colour_of_its_identity_on_a_copy(identity_id):
    image = picture()
    got = draw(image, seen(40, 50, 80, 110, identity_id=identity_id), "a", (160, 120))
    assert got.shape == (120, 160, 3)
    assert got[80, 40].tolist() == list(colour_bgr(identity_id))
    assert got[80, 60].tolist() == [0, 0, 0]
    assert not image.any()


def test_boxes_of_the_whole_frame_fit_its_shrunk_picture_in_a_cell_of_another_shape():
    got = draw(picture(size_wh=(80, 60)), seen(40, 50, 80, 110), "", (320, 120), shrunk=0.5)
    assert got[80, 80 + 40].tolist() == list(colour_bgr(1))


def test_boxes_over_the_edge_are_drawn_as_far_as_they_go():
    assert draw(picture(), seen(-50, -50, 500, 500), "", (160, 120)).shape == (120, 160, 3)


def test_a_picture_nobody_was_seen_in_has_its_title():
    assert draw(picture(), None, "hall", (160, 120)).any()


@pytest.mark.parametrize(("size_wh", "scale"), [((160, 120), 1.0), ((1280, 720), 0.5), ((1000, 1440), 0.25)])
def test_a_view_is_a_jpeg_no_larger_than_a_cell(size_wh, scale):
    got = view(frame(picture((0, 0, *size_wh, (0, 0, 250)), size_wh=size_wh), 7, 1.5))
    image = cv2.imdecode(np.frombuffer(got.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert (got.camera_id, got.frame_index, got.captured_at, got.scale) == ("a", 7, 1.5, scale)
    assert image.shape == (size_wh[1] * scale, size_wh[0] * scale, 3)
    assert image[0, 0].tolist() == pytest.approx([0, 0, 250], abs=6)


@pytest.mark.parametrize(
    ("cameras", "size_wh"),
    [(1, (640, 360)), (2, (1280, 360)), (4, (1280, 720)), (5, (1920, 720)), (9, (1920, 1080)), (100, (1920, 1080))],
)
def test_a_mosaic_is_a_grid_of_even_size_no_larger_than_full_hd(cameras, size_wh):
    mosaic = Mosaic({str(one): 10.0 for one in range(cameras)})
    assert mosaic.size_wh == size_wh
    mosaic.show(str(cameras - 1), picture((0, 0, 160, 120, (9, 9, 9))), None, 0.0)
    assert mosaic.image_bgr.any()


GREY = (160, 160, 160)


def tiles(mosaic):
    """The cells of a mosaic of two, side by side."""
    return mosaic.image_bgr[:, :640], mosaic.image_bgr[:, 640:]


def has_label(part):
    return (part == GREY).all(axis=2).sum() > 100


def test_a_camera_that_never_gave_a_picture_has_a_dark_cell_with_its_name_and_that():
    for cell in tiles(Mosaic({"a": 10.0, "b": 10.0})):
        assert has_label(cell[:25, :40])
        assert has_label(cell[160:200, 250:390])
        assert not cell[30:150].any()


def test_a_camera_that_is_gone_keeps_its_last_picture_dark_with_its_name_and_why():
    mosaic = Mosaic({"a": 10.0, "b": 10.0})
    for one in "ab":
        mosaic.show(one, picture((0, 0, 640, 360, (100, 200, 80)), size_wh=(640, 360)), seen(40, 50, 80, 110), 0.0)
    before = mosaic.image_bgr.copy()
    mosaic.lose("b", ended=True)
    a, b = tiles(mosaic)
    assert (a == before[:, :640]).all()
    assert b[300, 300].tolist() == [25, 50, 20]
    assert b[80, 40].tolist() == [value // 4 for value in colour_bgr(1)]
    assert has_label(b[:25, :40])
    assert has_label(b[160:200, 280:360])
    ended = b.copy()
    mosaic.lose("b")  # not darker still
    assert (b == ended).all()
    mosaic.show("b", picture((0, 0, 640, 360, (100, 200, 80)), size_wh=(640, 360)), seen(40, 50, 80, 110), 0.0)
    assert (mosaic.image_bgr == before).all()
    mosaic.lose("b")
    assert (b[:160] == ended[:160]).all()
    assert (b[160:200] != ended[160:200]).any()


def test_a_name_longer_than_its_cell_is_cut_off():
    mosaic = Mosaic({f"{one:064}": 10.0 for one in range(100)})
    assert mosaic.size_wh == (1920, 1080)
