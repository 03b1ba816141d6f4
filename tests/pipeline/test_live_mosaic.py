"""What of a live run gets into its film."""

import av
import numpy as np
import pytest

from pipeline.annotate import VideoWriter, view
from pipeline.datatypes import CameraIdentities
from pipeline.live_mosaic import Editor
from tests.fakes import frame, picture


def seen(index):
    return CameraIdentities("a", 1, index, index / 10, 0.0, 0.0, ())


def views(count):
    return [view(frame(picture((index, 0, 9, 9, (255, 255, 255))), index, index / 10)) for index in range(count)]


def film_of(path, *messages, finish=True):
    """Seconds of every picture of a film of one camera."""
    with VideoWriter(path, (640, 360)) as writer:
        editor = Editor(["a"], writer)
        for some in messages:
            editor.take(some)
        if finish:
            editor.finish()
    with av.open(str(path)) as film:
        return [one.time for one in film.decode(video=0)]


def test_a_view_waits_for_its_people(tmp_path):
    shown = film_of(tmp_path / "film.mp4", views(5), [seen(2)], finish=False)
    assert np.diff(shown) == pytest.approx([0.1, 0.1], abs=2e-3)


def test_too_many_views_wait_for_nobody(tmp_path):
    assert len(film_of(tmp_path / "film.mp4", views(20), finish=False)) == 12


def test_the_last_views_are_in_the_film_though_nobody_named_their_people(tmp_path):
    assert np.diff(film_of(tmp_path / "film.mp4", [*views(5), seen(1)])) == pytest.approx([0.1] * 4, abs=2e-3)
