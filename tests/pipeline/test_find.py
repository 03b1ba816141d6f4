"""Who of a run looks like a photograph: pictures are plain colours, which a network of numpy describes."""

import json
from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest

from pipeline.config import CameraConfig, MatcherConfig, ReidConfig, Site
from pipeline.datatypes import TrackKey
from pipeline.detector import Detector
from pipeline.embedder import Crop, Embedder
from pipeline.errors import ConfigError, EngineFailure
from pipeline.find import alike, joins_from, read_picture, subject, write_found
from pipeline.people import by_person, is_page
from pipeline.portraits import portrait_path
from tests.fakes import bright_box_finder, colour_describer, picture
from tests.pipeline.test_people import shown
from tests.pipeline.test_visits import assigned, confirmed, ended

CAMERAS = (CameraConfig("a", "a.mp4"), CameraConfig("b", "b.mp4"))
AS_THEY_ARE = Site(cameras=CAMERAS, matcher=MatcherConfig(remove_camera_bias=False))
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


def found(folder, colours, colour, *, site=AS_THEY_ARE, heard=lambda *_: None, network=None):
    people = run_of(folder, colours)
    crop = Crop.whole(plain(colour))
    return alike(folder, people, crop, network or Embedder(colour_describer(), "fake"), site, heard)


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
    site = Site(cameras=CAMERAS, matcher=MatcherConfig(remove_camera_bias=remove_camera_bias))
    best, *_ = found(tmp_path, colours, (77, 77, 230), site=site)
    assert best.visits[0].camera_id == first
    assert (best.identity_id == 100) == remove_camera_bias


def test_progress_counts_pictures(tmp_path):
    told = []
    site = msgspec.structs.replace(AS_THEY_ARE, reid=ReidConfig(max_batch=16))
    reds = [("a", track, track, RED) for track in range(1, 41)]
    found(tmp_path, reds, RED, site=site, heard=lambda *done: told.append(done))
    assert told == [(16, 40), (32, 40), (40, 40)]


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


def test_pictures_that_are_missing_or_damaged_are_left_out(tmp_path, caplog):
    run_of(tmp_path, [("a", 1, 7, RED), ("a", 2, 8, RED), ("a", 3, 9, None), ("b", 4, 6, GREEN)])
    for track, content in ((1, b"\xff\xd8 cut"), (2, b"")):
        portrait_path(tmp_path, TrackKey("a", 1, track)).write_bytes(content)
    rest = (Crop.whole(plain(RED)), Embedder(colour_describer(), "fake"), AS_THEY_ARE, lambda *_: None)
    assert [one.identity_id for one in alike(tmp_path, by_person(tmp_path, 0.0), *rest)] == [6]
    assert [one.endswith("is no picture that can be read, left out") for one in caplog.messages] == [True, True]
    portrait_path(tmp_path, TrackKey("b", 1, 4)).unlink()
    with pytest.raises(ConfigError, match="holds a picture of nobody who was confirmed"):
        alike(tmp_path, by_person(tmp_path, 0.0), *rest)


@pytest.mark.parametrize("remove_camera_bias", [False, True])
def test_pictures_for_which_the_network_gives_no_numbers_are_left_out(tmp_path, remove_camera_bias):
    describer = colour_describer()

    def overflows_on_blue(crops):
        rows = describer.function(crops)
        return np.where(rows[:, 2:] > rows[:, :2].max(1, keepdims=True), np.nan, rows)

    network = Embedder(replace(describer, function=overflows_on_blue), "fake")
    site = Site(cameras=CAMERAS, matcher=MatcherConfig(remove_camera_bias=remove_camera_bias))
    colours = [("a", 1, 7, BLUE), ("a", 2, 8, RED), ("b", 3, 9, GREEN)]
    ranking = found(tmp_path, colours, RED, site=site, network=network)
    assert [one.identity_id for one in ranking] == [8, 9]
    assert np.isfinite([one.similarity for one in ranking]).all()
    with pytest.raises(EngineFailure, match="not finite for the photograph"):
        found(tmp_path, colours, BLUE, site=site, network=network)


def test_among_more_people_a_match_has_to_be_more_alike():
    few, many = (joins_from(MatcherConfig(), people) for people in (12, 2000))
    assert few == pytest.approx(0.55)
    assert many == pytest.approx(0.55 + 2 * MatcherConfig().crowd_penalty)


def test_what_is_no_picture_is_one_line(tmp_path):
    (tmp_path / "photo.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    for name in ("photo.jpg", "empty.jpg", "missing.jpg", ".", "x" * 300):
        with pytest.raises(ConfigError, match="is no picture that can be read; give a"):
            read_picture(tmp_path / name)
