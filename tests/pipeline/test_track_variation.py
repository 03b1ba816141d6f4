"""What varies within tracks: learnt from them, weighed down between people."""

import numpy as np
import pytest

from pipeline import track_variation
from pipeline.track_variation import TrackVariation

DIMENSION = 32
LOUD = 4  # the first axes, along which everybody changes


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def views_of(people, count=4, seed=0):
    """(N, count, D): each person seen `count` times, changing along the loud axes."""
    rng = np.random.default_rng(seed)
    views = np.repeat(people[:, None], count, axis=1)
    views[:, :, :LOUD] += 0.5 * rng.standard_normal((len(people), count, LOUD)).astype(np.float32)
    return unit(views)


def crowd(count, seed=1):
    return unit(np.random.default_rng(seed).standard_normal((count, DIMENSION)))


def learnt(tracks):
    variation = TrackVariation(DIMENSION)
    for views in tracks:
        variation.note(views)
    return variation


def recognised(rows):
    """Share of pairs of one person, (N, 2, D), that are above all but 1 % of those of two."""
    similarity = rows[:, 0] @ rows[:, 1].T
    strangers = similarity[~np.eye(len(rows), dtype=bool)]
    return float((np.diag(similarity) > np.quantile(strangers, 0.99)).mean())


def test_without_enough_views_nothing_is_changed():
    variation, rows = learnt(views_of(crowd(42))), crowd(3)  # 126 views
    assert variation.renew() is None
    assert variation.weigh(rows) is rows
    assert variation.undo(rows) is rows


def test_people_are_told_apart_by_what_does_not_vary():
    variation = learnt(views_of(crowd(1000)))
    variation.renew()
    strangers = views_of(crowd(200, seed=2), count=2, seed=3)
    weighed = variation.weigh(strangers.reshape(-1, DIMENSION)).reshape(strangers.shape)
    assert recognised(weighed) > recognised(strangers) + 0.1
    np.testing.assert_allclose(np.linalg.norm(weighed, axis=2), 1.0, atol=1e-5)


def test_what_is_undone_is_what_it_was():
    variation, rows = learnt(views_of(crowd(1000))), crowd(20, seed=5)
    variation.renew()
    assert np.abs(variation.weigh(rows) - rows).max() > 0.05
    np.testing.assert_allclose(variation.undo(variation.weigh(rows)), rows, atol=1e-5)


def test_earlier_rows_are_turned_into_later_ones():
    variation, rows = TrackVariation(DIMENSION), crowd(20, seed=5)
    weighed = rows
    for tracks in np.array_split(views_of(crowd(1000)), 20):
        for views in tracks:
            variation.note(views)
        change = variation.renew()
        weighed = weighed if change is None else unit(weighed @ change)
    np.testing.assert_allclose(weighed, variation.weigh(rows), atol=1e-5)


def test_it_is_weighed_anew_with_every_doubling():
    variation, at = TrackVariation(DIMENSION), []
    for number, views in enumerate(views_of(crowd(1000)), 1):
        variation.note(views)
        if variation.renew() is not None:
            at.append(3 * number)
    assert at == [129, 258, 516, 1032, 2064]


def test_open_tracks_count_without_being_learnt():
    tracks = [*views_of(crowd(60))]
    variation = TrackVariation(DIMENSION)
    assert variation.renew(tracks) is not None
    assert variation.take_new(1) is None
    for views in tracks:
        variation.note(views)
    assert variation.renew() is None  # nothing of them is new
    assert variation.take_new(1).changes == 180


def test_tracks_of_one_view_say_nothing():
    variation = learnt([crowd(1)] * 500)
    assert variation.take_new(1) is None
    assert variation.renew([crowd(1)] * 500) is None


def test_what_was_learnt_goes_on_where_it_stopped():
    before, rows = learnt(views_of(crowd(300))), crowd(20, seed=5)
    after = TrackVariation(DIMENSION, before.take_new(1))
    assert (before.renew() is None) == (after.renew() is None) is False
    np.testing.assert_allclose(after.weigh(rows), before.weigh(rows), atol=1e-4)


def test_a_site_may_change(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(track_variation, "_MEMORY", 1000)
    variation = learnt(views_of(crowd(2000)))
    variation.renew()
    assert variation.take_new().changes <= 1000 + 3 * 64
    quiet = np.eye(DIMENSION, dtype=np.float32)[-1:]
    before = float(np.linalg.norm(variation._weights @ quiet[0]))
    for views in views_of(crowd(2000))[:, :, ::-1]:  # now it is the last axes
        variation.note(np.ascontiguousarray(views))
        variation.renew()
    assert float(np.linalg.norm(variation._weights @ quiet[0])) < 0.7 * before


def test_what_is_new_is_told_once_there_is_enough():
    variation, tracks = TrackVariation(DIMENSION), views_of(crowd(200))
    told = []
    for views in tracks:
        variation.note(views)
        new = variation.take_new()
        told += [] if new is None else [new.changes]
    assert told == [258, 516]
    rest = variation.take_new(1)
    assert rest.changes == 600
    assert variation.take_new(1) is None
    apart = [views - views.mean(0) for views in tracks]
    np.testing.assert_allclose(rest.squares, sum(one.T @ one for one in apart), atol=1e-3)


def test_what_is_no_number_is_not_learnt():
    broken = np.full((4, DIMENSION), np.nan, np.float32)
    variation = learnt([*views_of(crowd(100)), broken])
    assert np.isfinite(variation.renew([broken])).all()
    assert variation.take_new(1).changes == 300
