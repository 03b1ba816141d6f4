"""What a camera keeps of a track and when it wants more."""

import numpy as np
import pytest

from pipeline.config import QualityConfig, ReidConfig
from pipeline.datatypes import Track, TrackState
from pipeline.tracklets import Fit, TrackletBook
from tests.fakes import unit

BOX = np.array([0, 0, 40, 100], np.float32)


def track(at, track_id=1, state=TrackState.CONFIRMED):
    return Track(track_id, BOX, 0.9, state, 0.0, at)


def book(bank=4, refresh_s=1.0):
    return TrackletBook(ReidConfig(bank=bank, refresh_s=refresh_s), QualityConfig(min_quality=0.3), 2)


def test_a_track_without_embeddings_is_an_empty_snapshot():
    got = book().snapshot(track(2.0))
    assert (got.seq, got.first_seen, got.last_seen, got.closed) == (0, 0.0, 2.0, False)
    assert got.embeddings.shape == (0, 2)
    assert got.quality.shape == (0,)


@pytest.mark.parametrize(
    ("state", "quality", "wanted"),
    [
        (TrackState.CONFIRMED, 0.3, True),
        (TrackState.CONFIRMED, 0.29, False),
        (TrackState.TENTATIVE, 1.0, False),
        (TrackState.LOST, 1.0, False),
    ],
)
def test_only_good_crops_of_confirmed_tracks_are_wanted(state, quality, wanted):
    assert book().wants(track(0.0, state=state), quality) is wanted


def test_a_young_track_is_described_often_and_an_old_one_every_refresh_s():
    kept, described = book(refresh_s=1.0), []
    for index in range(100):
        now = index / 10
        if kept.wants(track(now), 1.0):
            kept.add(track(now), unit(1, 0), 1.0)
            described.append(now)
    gaps = np.diff(described)
    assert gaps[:2] == pytest.approx([0.1, 0.1])
    assert (np.diff(gaps) > -1e-6).all()
    assert gaps[-1] == pytest.approx(1.0)


def test_a_full_bank_drops_the_worse_of_its_two_most_similar_embeddings():
    kept = book(bank=2)
    for at, (embedding, quality) in enumerate([((1, 0), 0.5), ((0, 1), 0.4), ((1, 0.1), 0.9)]):
        kept.add(track(float(at)), unit(*embedding), quality)
    got = kept.snapshot(track(3.0))
    assert got.seq == 3
    assert got.quality == pytest.approx([0.4, 0.9])
    assert got.embeddings == pytest.approx(np.stack([unit(0, 1), unit(1, 0.1)]))


def test_a_bank_of_one_keeps_the_best():
    kept = book(bank=1)
    for quality in (0.5, 0.9, 0.4):
        kept.add(track(0.0), unit(quality, 1), quality)
    assert kept.snapshot(track(0.0)).quality == pytest.approx([0.9])


def test_a_snapshot_does_not_change_when_its_track_is_described_again():
    kept = book(bank=1)
    kept.add(track(0.0), unit(1, 0), 0.4)
    got = kept.snapshot(track(0.0))
    kept.add(track(1.0), unit(0, 1), 0.9)
    assert got.embeddings.tolist() == [[1, 0]]
    assert got.quality == pytest.approx([0.4])


def test_a_closed_track_is_forgotten_and_others_are_not():
    kept = book()
    for one in (1, 2):
        kept.add(track(0.0, one), unit(1, 0), 0.5)
    closed = kept.snapshot(track(0.0, 1), closed=True)
    assert (closed.closed, closed.seq) == (True, 1)
    assert kept.snapshot(track(0.0, 1)).seq == 0
    assert kept.snapshot(track(0.0, 2)).seq == 1


def test_two_embeddings_in_a_row_of_somebody_else_end_a_track():
    kept = book()
    me, other = unit(1, 0), unit(0, 1)
    assert [kept.add(track(at), me, 1.0) for at in (0.0, 0.1)] == [Fit.SAME, Fit.SAME]
    assert [kept.add(track(0.2), other, 1.0), kept.add(track(0.3), other, 1.0)] == [Fit.DOUBTFUL, Fit.ANOTHER]
    assert kept.snapshot(track(0.3)).embeddings.tolist() == [[1, 0], [1, 0]]


def test_one_strange_embedding_is_forgotten():
    kept = book()
    me, other = unit(1, 0), unit(0, 1)
    strange = [kept.add(track(number / 10), one, 1.0) for number, one in enumerate([me, me, other, me, other, me])]
    assert Fit.ANOTHER not in strange
    assert kept.snapshot(track(0.6)).seq == 4


def test_who_was_hidden_is_described_at_once():
    kept = book()
    for number in range(12):
        kept.add(track(number / 10), unit(1, 0), 1.0)
    assert not kept.wants(track(1.2), 1.0)
    assert not kept.wants(track(1.3), 0.1)
    assert kept.wants(track(1.4), 1.0)
