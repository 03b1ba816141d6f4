"""Pictures of tracks on disk."""

import cv2
import numpy as np

from pipeline.datatypes import TrackKey
from pipeline.portraits import Portraits, portrait_path
from tests.pipeline.disk import full_disk

TRACK = TrackKey("hall", 3, 7)


def view(grey, height=100):
    return np.full((height, 40, 3), grey, np.uint8)


def grey(run, track=TRACK):
    return cv2.imread(str(portrait_path(run, track))).mean()


def test_the_best_view_is_kept_but_not_for_a_little(tmp_path):
    portraits = Portraits(tmp_path)
    shown = []
    for level, quality in enumerate((0.4, 0.3, 0.45, 0.6, 0.5)):
        portraits.offer(TRACK, view(20 * level), quality)
        shown.append(round(grey(tmp_path) / 20))
    assert shown == [0, 0, 0, 3, 3]
    assert [one.name for one in tmp_path.rglob("*.*")] == ["3-7.jpg"]


def test_tracks_have_pictures_of_their_own(tmp_path):
    portraits = Portraits(tmp_path)
    others = [TrackKey("hall", 3, 8), TrackKey("hall", 4, 7), TrackKey("door", 3, 7)]
    for level, track in enumerate((TRACK, *others)):
        portraits.offer(track, view(60 * level), 0.5)
    assert [round(grey(tmp_path, track) / 60) for track in (TRACK, *others)] == [0, 1, 2, 3]


def test_nothing_is_remembered_of_a_track_that_ended(tmp_path):
    portraits = Portraits(tmp_path)
    portraits.offer(TRACK, view(200), 0.9)
    portraits.forget(TRACK)
    assert grey(tmp_path) == 200
    portraits.offer(TRACK, view(100), 0.1)
    assert grey(tmp_path) == 100


def test_a_large_view_is_made_smaller(tmp_path):
    Portraits(tmp_path).offer(TRACK, view(50, height=960), 0.9)
    assert cv2.imread(str(portrait_path(tmp_path, TRACK))).shape == (320, 13, 3)


def test_a_full_disk_is_told_once_and_tried_again(tmp_path, caplog):
    portraits = Portraits(tmp_path)
    with full_disk(10):
        for quality in (0.5, 0.9):
            portraits.offer(TRACK, view(100), quality)
    assert [record.message.split(": ")[1] for record in caplog.records] == ["cannot write"]
    assert not [*tmp_path.rglob("*.*")]
    portraits.offer(TRACK, view(100), 0.4)
    assert grey(tmp_path) == 100
    assert caplog.messages[-1].endswith("3-7.jpg: writing again")


def test_a_view_of_one_pixel_is_kept(tmp_path):
    Portraits(tmp_path).offer(TRACK, np.full((960, 1, 3), 50, np.uint8), 0.9)
    assert cv2.imread(str(portrait_path(tmp_path, TRACK))).shape == (320, 1, 3)


def test_pictures_that_are_moved_away_do_not_end_those_to_come(tmp_path):
    portraits = Portraits(tmp_path)
    portraits.offer(TRACK, view(200), 0.5)
    (tmp_path / "pictures").rename(tmp_path / "kept")
    portraits.offer(TRACK, view(100), 0.9)
    assert grey(tmp_path) == 100


def test_a_run_directory_that_takes_none_does_not_end_the_run(tmp_path, caplog):
    (tmp_path / "pictures").write_text("")
    Portraits(tmp_path).offer(TRACK, view(100), 0.5)
    assert "cannot write: Not a directory; pictures are left out until it can be" in caplog.text
