"""Labelled people passing cameras: what a track is, in what order they pass, when they truly passed."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mspf.datasets import ImageList

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("passages")


def images_of(pids: list[int], camids: list[int]) -> ImageList:
    return ImageList(tuple(Path(f"{row}.jpg") for row in range(len(pids))), np.array(pids), np.array(camids))


def test_a_track_is_what_one_camera_shows_of_a_person_and_distractors_are_left_out(script):
    images = images_of([1, 1, 1, 2, 0, 1], [1, 1, 1, 1, 1, 2])
    kept, tracks = script.passages(images, np.zeros(6), views=2)
    assert sorted(zip(kept.pids, kept.camids, strict=True)) == [(1, 1), (1, 1), (1, 2), (2, 1)]
    assert [(one.person, one.camera, len(one.rows)) for one in tracks] == [(1, 1, 2), (1, 2, 1), (2, 1, 1)]
    for one in tracks:
        assert {(one.person, one.camera)} == {(kept.pids[row], kept.camids[row]) for row in one.rows}


def test_who_comes_back_later_than_a_minute_is_another_track(script):
    images = images_of([1] * 5 + [2], [3] * 5 + [3])
    times = np.array([200.0, 0.0, 50.0, np.nan, 100.0, 7.0])
    kept, tracks = script.passages(images, times, views=4)
    assert [(one.person, one.first, one.last, len(one.rows)) for one in tracks] == [
        (1, 0.0, 100.0, 3),
        (1, 200.0, 200.0, 1),
        (2, 7.0, 7.0, 1),
    ]
    assert [kept.paths[row].name for row in tracks[1].rows] == ["0.jpg"]


def test_a_track_lasts_from_its_first_to_its_last_image_however_few_are_kept(script):
    _, (track,) = script.passages(images_of([1] * 5, [1] * 5), np.arange(5.0), views=1)
    assert (track.first, track.last, len(track.rows)) == (0.0, 4.0, 1)


def test_where_nobody_is_left_there_are_no_tracks(script):
    kept, tracks = script.passages(images_of([0, 1], [1, 1]), np.array([1.0, np.nan]), views=4)
    assert (len(kept), tracks) == (0, [])


def test_a_crowd_is_of_so_many_people_with_all_their_tracks_and_drawn_by_its_seed(script):
    tracks = [script.Passage(person, camera, 0.0, 0.0, (0,)) for person in range(1, 11) for camera in (1, 2)]
    crowd = script.crowd(tracks, 4, seed=0)
    chosen = [(one.person, one.camera) for one in crowd]
    assert len({person for person, _ in chosen}) == 4
    assert len(chosen) == len(set(chosen)) == 8
    assert [one.last for one in crowd] == [script.APART_S * at for at in range(8)]
    assert crowd == script.crowd(tracks, 4, seed=0)
    assert crowd != script.crowd(tracks, 4, seed=1)


def test_names_tell_when_an_image_was_taken_by_clocks_that_agree(script):
    names = ["0002_c1s1_000451_03.jpg", "0002_c3s2_000025_00.jpg", "0007_c6s2_000050_01.jpg", "0007_c1s2_000050_01.jpg"]
    paths = [Path(name) for name in names]
    np.testing.assert_allclose(script.seconds(paths, 1), [451 / 25, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(script.seconds(paths, 2), [np.nan, 1 - 105, 2 + 150, np.nan])


def test_a_name_that_tells_no_time_is_told(script):
    with pytest.raises(ValueError, match=r"0001_c1_1\.png: expected a name of Market-1501, .*; leave --sequence out"):
        script.seconds([Path("0001_c1_1.png")], 1)
