"""What of a live run gets into its film."""

import av
import msgspec
import numpy as np
import pytest

from pipeline.annotate import view
from pipeline.datatypes import CameraIdentities, CameraState, TrackIdentity
from pipeline.film import Film
from pipeline.live_mosaic import Editor
from tests.fakes import frame, picture


def seen(index):
    return CameraIdentities("a", 1, index, index / 10, 0.0, 0.0, ())


def down(reason="a: no frame for 10 s from rtsp://cam/; check it or raise max_age_s"):
    return CameraState("a", 99.0, up=False, reason=reason)


def brightness(path):
    """Mean of the lower half of every picture of a film."""
    with av.open(str(path)) as film:
        return [one.to_ndarray(format="gray")[180:].mean() for one in film.decode(video=0)]


def bright(index):
    return view(frame(picture((0, 0, 160, 120, (255, 255, 255))), index, index / 10))


def views(count):
    return [view(frame(picture((index, 0, 9, 9, (255, 255, 255))), index, index / 10)) for index in range(count)]


def film_of(path, *messages, finish=True):
    """Seconds of every picture of a film of one camera."""
    with Film(path, {"a": 10.0}) as film:
        editor = Editor(film, 1)
        for some in messages:
            editor.take(some)
        if finish:
            editor.finish()
    with av.open(str(path)) as film:
        return [one.time for one in film.decode(video=0)]


def test_a_view_waits_for_its_people(tmp_path):
    shown = film_of(tmp_path / "film.mp4", views(5), [seen(2)], finish=False)
    assert np.diff(shown) == pytest.approx([0.1, 0.1], abs=2e-3)


def test_closing_tracks_after_the_last_frame_takes_no_box_out_of_the_film(tmp_path):
    box = np.array([0, 0, 160, 120], np.float32)
    with_people = msgspec.structs.replace(seen(0), tracks=(TrackIdentity(1, 7, box, 0.9),))
    film_of(tmp_path / "a.mp4", [with_people, seen(0)], [bright(0)])
    film_of(tmp_path / "b.mp4", [with_people], [bright(0)])
    assert brightness(tmp_path / "a.mp4") == brightness(tmp_path / "b.mp4")
    film_of(tmp_path / "c.mp4", [seen(0)], [bright(0)])
    assert brightness(tmp_path / "a.mp4") != brightness(tmp_path / "c.mp4")


def test_too_many_views_wait_for_nobody(tmp_path):
    assert len(film_of(tmp_path / "film.mp4", views(20), finish=False)) == 12


def test_as_many_more_views_wait_as_there_are_cameras(tmp_path):
    with Film(tmp_path / "film.mp4", {"a": 10.0, "b": 10.0}) as film:
        Editor(film, 2).take(views(20))
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert len([*film.decode(video=0)]) == 4


def test_the_last_views_are_in_the_film_though_nobody_named_their_people(tmp_path):
    assert np.diff(film_of(tmp_path / "film.mp4", [*views(5), seen(1)])) == pytest.approx([0.1] * 4, abs=2e-3)


def test_a_camera_that_is_down_is_dark_at_once_and_bright_again_when_it_is_back(tmp_path):
    path = tmp_path / "film.mp4"
    up = CameraState("a", 99.5, up=True)
    shown = film_of(path, [bright(0), seen(0)], [down()], [down("still"), up, bright(30), seen(30)])
    assert np.diff(shown) == pytest.approx([0.1, 2.9], abs=2e-3)
    first, dark, last = brightness(path)
    assert dark == pytest.approx(first / 4, abs=5)
    assert last == pytest.approx(first, abs=2)


def test_a_camera_is_dark_only_after_the_pictures_that_wait_for_their_people(tmp_path):
    film_of(tmp_path / "film.mp4", [bright(0), bright(1), down("end of file")], [seen(1)])
    first, second, dark = brightness(tmp_path / "film.mp4")
    assert second == pytest.approx(first, abs=2)
    assert dark == pytest.approx(first / 4, abs=5)


def test_cameras_that_go_down_at_one_moment_are_all_dark(tmp_path):
    path = tmp_path / "film.mp4"
    with Film(path, {"a": 10.0, "b": 10.0}) as film:
        editor = Editor(film, 2)
        for one in "ab":
            answer = msgspec.structs.replace(seen(0), camera_id=one)
            editor.take([view(frame(picture((0, 0, 160, 120, (255, 255, 255))), 0, 0.0, one)), answer])
        editor.take([msgspec.structs.replace(down(), camera_id=one) for one in "ab"])
    with av.open(str(path)) as film:
        *_, last = (one.to_ndarray(format="gray")[180:360].mean() for one in film.decode(video=0))
    assert last < 60


def test_a_camera_that_is_silent_for_long_is_dark_though_nobody_says_that_it_is_down(tmp_path):
    path = tmp_path / "film.mp4"
    with Film(path, {"a": 10.0, "b": 2.0}) as film:
        editor = Editor(film, 2)
        for one, index in (("b", 0), ("a", 1), ("a", 21)):
            answer = msgspec.structs.replace(seen(index), camera_id=one)
            shown = view(frame(picture((0, 0, 160, 120, (255, 255, 255))), index, index / 10, one))
            editor.take([shown, answer])
    with av.open(str(path)) as film:
        rights = [one.to_ndarray(format="gray")[180:360, 640:].mean() for one in film.decode(video=0)]
    assert rights[-1] == pytest.approx(rights[0] / 4, abs=5)


def test_hours_in_which_all_cameras_are_down_take_seconds_of_the_film(tmp_path):
    shown = film_of(tmp_path / "film.mp4", [bright(0), seen(0), down(), bright(72000), seen(72000)])
    assert np.diff(shown) == pytest.approx([0.1, 3.0], abs=2e-3)


def test_a_site_that_gave_no_picture_has_no_film(tmp_path):
    with Film(tmp_path / "film.mp4", {"a": 10.0}) as film:
        Editor(film, 1).take([down()])
    assert (tmp_path / "film.mp4").stat().st_size < 2000
