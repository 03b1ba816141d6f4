"""Frames of several cameras to tracklets."""

from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest

from pipeline.config import CameraConfig, ReidConfig, Site
from pipeline.datatypes import TrackKey
from pipeline.detector import Detector
from pipeline.embedder import Embedder
from pipeline.portraits import Portraits, portrait_path
from pipeline.worker import Worker
from tests.fakes import bright_box_finder, colour_describer, frame, picture, unit

RED, BLUE = (20, 60, 250), (250, 60, 20)  # some green, since sharpness looks at that
SITE = Site(cameras=(CameraConfig("a", "a.mp4"), CameraConfig("b", "b.mp4")))


def made(site=SITE, epoch=3, portraits=None):
    finder, describer = bright_box_finder(), colour_describer()
    networks = Detector(finder, "finder"), Embedder(describer, "describer")
    return Worker(site, epoch, *networks, portraits), finder, describer


def stripes(colour, x, y=10, darker=(75, 18, 75)):
    """A sharp person: 32 x 80 pixels of a colour, striped so that quality sees detail."""
    image = picture((x, y, 32, 80, colour))
    image[y : y + 80, x + 1 : x + 31 : 3] = np.maximum(np.array(colour) - darker, 0)
    return image


def walk(worker, count=6, **cameras):
    """Updates of the last of `count` steps, a frame of each camera a step."""
    for index in range(count):
        frames = [frame(image, index, index / 10, camera_id) for camera_id, image in cameras.items()]
        updates = worker.step(frames)
    return updates


def test_a_step_of_several_cameras_is_one_call_of_each_network():
    worker, finder, describer = made()
    updates = walk(worker, a=stripes(RED, 20), b=stripes(BLUE, 60))
    assert [(one.camera_id, one.epoch, one.frame_index) for one in updates] == [("a", 3, 5), ("b", 3, 5)]
    assert finder.batch_sizes == [2] * 6
    assert set(describer.batch_sizes) == {2}
    for one, expected in zip(updates, [unit(25, 6, 2), unit(2, 6, 25)], strict=True):
        (tracklet,) = one.tracklets
        assert tracklet.seq == len(tracklet.embeddings) >= 3
        assert tracklet.embeddings @ expected == pytest.approx(np.ones(tracklet.seq), abs=1e-2)


def test_frames_without_people_are_empty_updates():
    worker, _, describer = made()
    (update,) = walk(worker, a=picture())
    assert update.tracklets == ()
    assert describer.batch_sizes == []


def test_a_step_of_no_frames_is_no_updates():
    assert made()[0].step([]) == []


def test_the_counts_are_those_of_the_last_step():
    worker, _, _ = made()
    walk(worker, count=3, a=stripes(RED, 20), b=picture())
    assert worker.counts.visible == {"a": 1, "b": 0}
    assert worker.counts.crops == {"a": 1, "b": 0}


def test_at_most_max_batch_crops_are_described_a_step():
    site = msgspec.structs.replace(SITE, reid=ReidConfig(max_batch=1))
    worker, _, describer = made(site)
    updates = walk(worker, count=10, a=stripes(RED, 20), b=stripes(BLUE, 60))
    assert set(describer.batch_sizes) == {1}
    assert all(one.tracklets[0].seq > 0 for one in updates)


def test_a_blurred_or_cut_person_is_followed_but_not_described():
    worker, _, describer = made()
    (update,) = walk(worker, a=picture((0, 0, 30, 80, RED)))  # plain, and cut at two sides
    assert [one.seq for one in update.tracklets] == [0]
    assert describer.batch_sizes == []


def test_who_stands_where_a_camera_ignores_everybody_is_seen_by_other_cameras_alone():
    left_half = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    cameras = (msgspec.structs.replace(SITE.cameras[0], ignore=(left_half,)), SITE.cameras[1])
    worker, _, describer = made(msgspec.structs.replace(SITE, cameras=cameras))
    image = np.maximum(stripes(RED, 20), stripes(BLUE, 110))
    ignoring, other = walk(worker, a=image, b=image)
    assert [one.box_xyxy[0] for one in ignoring.tracklets] == [pytest.approx(110, abs=2)]
    assert len(other.tracklets) == 2
    assert max(describer.batch_sizes) == 3


def test_a_person_who_left_is_closed_once_with_all_that_was_known():
    worker, _, _ = made()
    walk(worker, a=stripes(RED, 20))
    closed = [
        one
        for index in range(6, 30)
        for update in worker.step([frame(picture(), index, index / 10)])
        for one in update.tracklets
    ]
    assert [(one.track_id, one.closed, one.last_seen) for one in closed] == [(1, True, 0.5)]
    assert len(closed[0].embeddings) >= 3


def test_a_camera_that_ends_closes_its_tracks_and_leaves_the_others():
    worker, _, _ = made()
    walk(worker, a=stripes(RED, 20), b=stripes(BLUE, 60))
    (update,) = worker.finish("a")
    assert (update.camera_id, update.frame_index, [one.closed for one in update.tracklets]) == ("a", 5, [True])
    (update,) = worker.step([frame(stripes(BLUE, 60), 6, 0.6, "b")])
    assert [(one.track_id, one.closed) for one in update.tracklets] == [(1, False)]


def test_a_camera_that_never_delivered_has_nothing_to_close():
    assert made()[0].finish("a") == []


def test_a_descriptor_that_is_not_finite_is_left_out_and_told_once(caplog):
    worker, finder, describer = made()
    red = describer.function
    broken = replace(describer, function=lambda crops: np.where(crops.mean() > 0, np.nan, red(crops)))
    worker = Worker(SITE, 3, Detector(finder, "finder"), Embedder(broken, "describer"))
    (update,) = walk(worker, a=stripes(RED, 20))
    assert [len(one.embeddings) for one in update.tracklets] == [0]
    assert [record.message.split(":")[0] for record in caplog.records] == ["reid.model"]


def test_the_picture_of_a_track_shows_who_it_was_before_it_became_somebody_else(tmp_path):
    worker, _, _ = made(portraits=Portraits(tmp_path))
    dull, sharp = stripes(RED, 20, darker=(0, 1, 0)), stripes(BLUE, 20)
    for index, image in enumerate([*[dull] * 6, *[sharp] * 6]):  # at first of the same track
        worker.step([frame(image, index, index / 10)])
    before, after = (cv2.imread(str(portrait_path(tmp_path, TrackKey("a", 3, track)))) for track in (1, 2))
    assert before[..., 2].mean() > 2 * before[..., 0].mean()
    assert after[..., 0].mean() > 2 * after[..., 2].mean()


@pytest.mark.parametrize("end", ["lost", "finished", "split"])
def test_nothing_is_remembered_of_the_pictures_of_tracks_that_ended(tmp_path, end):
    class Recording(Portraits):
        def __init__(self):
            super().__init__(tmp_path)
            self.open = set()

        def offer(self, track, crop_bgr, quality):
            self.open.add(track.track_id)

        def forget(self, track):
            self.open.discard(track.track_id)

    portraits = Recording()
    worker, _, _ = made(portraits=portraits)
    walk(worker, a=stripes(RED, 20))
    assert portraits.open == {1}
    more = {"lost": [picture()] * 20, "finished": [], "split": [stripes(BLUE, 20)] * 6}[end]
    for index, image in enumerate(more, 6):
        worker.step([frame(image, index, index / 10)])
    if end == "finished":
        worker.finish("a")
    assert portraits.open == ({2} if end == "split" else set())
