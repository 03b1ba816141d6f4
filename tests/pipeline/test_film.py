"""The film of a run."""

import av
import pytest

from pipeline.errors import StoreError
from pipeline.film import FilmClock, VideoWriter
from tests.fakes import picture
from tests.pipeline.clips import noise
from tests.pipeline.disk import full_disk


def test_a_film_waits_no_longer_than_three_seconds_where_no_camera_has_a_picture():
    clock = FilmClock()
    assert [clock.seconds(at) for at in (50.0, 52.5, 3652.5, 3652.5, 3653.0, 1.7e9)] == [0.0, 2.5, 5.5, 5.5, 6.0, 9.0]


def test_pictures_a_little_out_of_order_cut_nothing():
    clock = FilmClock()
    assert [clock.seconds(at) for at in (50.0, 49.0, 52.5)] == [0.0, -1.0, 2.5]


def test_a_film_holds_every_picture_at_its_time(tmp_path):
    with VideoWriter(tmp_path / "deep" / "film.mp4", (64, 48)) as film:
        for image, at in zip(noise(5), (0.0, 0.1, 0.1, 0.05, 1.0), strict=True):
            film.write(image, at)
    with av.open(str(tmp_path / "deep" / "film.mp4")) as container:
        times = [one.time for one in container.decode(video=0)]
    assert times == pytest.approx([0.0, 0.1, 1.0], abs=2e-3)


def test_a_film_that_fails_only_at_its_finish_is_told(tmp_path, caplog):
    with full_disk(100), VideoWriter(tmp_path / "film.mp4", (64, 48)) as film:
        for index, image in enumerate(noise(3)):
            film.write(image, index / 10)
    (told,) = caplog.messages
    assert told.startswith(f"{tmp_path / 'film.mp4'}: cannot write the video: ")
    assert told.endswith("its end is missing")


def test_a_film_of_nothing_is_closed_without_a_fuss(tmp_path):
    with VideoWriter(tmp_path / "film.mp4", (64, 48)):
        pass


def test_a_film_on_a_full_disk_is_one_clear_error(tmp_path):
    path = tmp_path / "film.mp4"
    with (
        full_disk(20_000),
        pytest.raises(StoreError, match=r"film\.mp4: cannot write the video: .*; free space there"),
        VideoWriter(path, (64, 48)) as film,
    ):
        for index, image in enumerate(noise(300)):
            film.write(image, index / 10)


@pytest.mark.parametrize("name", ["folder.mp4", "file/film.mp4"])
def test_a_film_that_cannot_be_opened_is_one_clear_error(tmp_path, name):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match=r"cannot write the video: .*; free space there"),
        VideoWriter(tmp_path / name, (64, 48)) as film,
    ):
        film.write(picture(size_wh=(64, 48)), 0.0)


def test_another_failure_is_not_hidden_by_that_of_the_film(tmp_path):
    with pytest.raises(KeyError), VideoWriter(tmp_path / "film.mp4", (64, 48)) as film:
        film.write(picture(size_wh=(64, 48)), 0.0)
        raise KeyError
