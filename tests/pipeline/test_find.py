"""Who of a run looks like a photograph: pictures are plain colours, which a network of numpy describes."""

import json

import cv2
import numpy as np
import pytest

from pipeline.datatypes import TrackKey
from pipeline.detector import Detector
from pipeline.embedder import Crop, Embedder
from pipeline.errors import ConfigError
from pipeline.find import alike, read_picture, subject, write_found
from pipeline.people import by_person, is_page
from pipeline.portraits import portrait_path
from tests.fakes import bright_box_finder, colour_describer, picture
from tests.pipeline.test_people import shown
from tests.pipeline.test_visits import assigned, confirmed, ended

BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour_bgr, height=40, width=20):
    return np.full((height, width, 3), colour_bgr, np.uint8)


def run_of(folder, colours):
    """A run of (camera, track, identity, colour or none where no picture was kept); tracks a second apart."""
    events = []
    for camera, track, who, colour in colours:
        events += [assigned(float(track), track, who, camera), ended(track, who, float(track), track + 0.5, camera)]
        if colour is not None:
            path = portrait_path(folder, TrackKey(camera, 1, track))
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), plain(colour))
    events += confirmed(*sorted({who for _, _, who, _ in colours}))
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return by_person(folder, 0.0)


def found(folder, colours, colour, *, remove_camera_bias=False, heard=lambda *_: None):
    people = run_of(folder, colours)
    crop = Crop.whole(plain(colour))
    network = Embedder(colour_describer(), "fake")
    return alike(folder, people, crop, network, remove_camera_bias=remove_camera_bias, on_progress=heard)


def test_everybody_with_a_picture_is_ranked_by_the_most_similar_one(tmp_path):
    colours = [("a", 1, 7, GREEN), ("a", 2, 8, (0, 200, 255)), ("b", 3, 7, RED), ("b", 4, 9, None), ("b", 5, 6, BLUE)]
    ranking = found(tmp_path, colours, RED)
    assert [one.identity_id for one in ranking] == [7, 8, 6]
    assert ranking[0].similarity == pytest.approx(1.0, abs=0.02)
    assert [visit.camera_id for visit in ranking[0].visits] == ["a", "b"]


@pytest.mark.parametrize(("remove_camera_bias", "first"), [(False, "b"), (True, "a")])
def test_what_cameras_add_to_everybody_does_not_decide(tmp_path, remove_camera_bias, first):
    """Camera a turns everybody green and camera b purple; the photograph is of the one in a who is less green."""
    green, less_green, purple = (51, 242, 51), (0, 204, 153), (153, 51, 191)
    colours = [("a", 0, 100, less_green)]
    for track in range(1, 41):
        colours += [("a", track, track, green), ("b", track, 50 + track, purple)]
    best, *_ = found(tmp_path, colours, (77, 77, 230), remove_camera_bias=remove_camera_bias)
    assert best.visits[0].camera_id == first
    assert (best.identity_id == 100) == remove_camera_bias


def test_progress_counts_pictures(tmp_path):
    told = []
    found(tmp_path, [("a", track, track, RED) for track in range(1, 41)], RED, heard=lambda *done: told.append(done))
    assert told == [(32, 40), (40, 40)]


def test_the_largest_person_of_a_photograph_is_looked_for():
    detector = Detector(bright_box_finder(), "fake")
    photo = picture((10, 10, 20, 40, (200, 200, 200)), (60, 10, 40, 80, (200, 200, 200)))
    crop, count = subject(detector, photo)
    assert count == 2
    assert crop.box_xyxy == pytest.approx([60, 10, 100, 90], abs=1.5)
    crop, count = subject(detector, picture())
    assert (count, crop.pixels().shape) == (0, picture().shape)


def test_a_page_shows_the_photograph_and_the_people_in_order(tmp_path):
    ranking = found(tmp_path, [("a", 1, 7, GREEN), ("a", 2, 8, RED)], RED)
    page = tmp_path / "found.html"
    write_found(tmp_path, page, Crop.whole(plain(RED)), ranking)
    text = page.read_text()
    assert shown(text) == [(8, ["pictures/a/1-2.jpg"]), (7, ["pictures/a/1-1.jpg"])]
    assert "<small>similarity 1.00</small>" in text
    assert text.index("data:image/jpeg;base64,") < text.index("<section")
    assert is_page(page)


@pytest.mark.parametrize("remove_camera_bias", [False, True])
def test_pictures_that_are_missing_or_damaged_do_no_harm(tmp_path, caplog, remove_camera_bias):
    colours = [("a", 1, 7, GREEN), ("a", 2, 8, RED), ("a", 3, 9, None)]
    run_of(tmp_path, colours)
    for track in (1, 2):
        portrait_path(tmp_path, TrackKey("a", 1, track)).write_bytes(b"\xff\xd8 cut")
    crop, network = Crop.whole(plain(RED)), Embedder(colour_describer(), "fake")
    people = by_person(tmp_path, 0.0)
    rest = {"remove_camera_bias": remove_camera_bias, "on_progress": lambda *_: None}
    assert alike(tmp_path, people, crop, network, **rest) == []
    assert [one.endswith("give a .jpg or .png: left out") for one in caplog.messages] == [True, True]


def test_what_is_no_picture_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"photo\.jpg: no such file"):
        read_picture(tmp_path / "photo.jpg")
    (tmp_path / "photo.jpg").write_text("no picture")
    with pytest.raises(ConfigError, match=r"photo\.jpg: cannot be read as a picture"):
        read_picture(tmp_path / "photo.jpg")
    with pytest.raises(ConfigError, match="no such file"):
        read_picture(tmp_path)
