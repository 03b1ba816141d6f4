"""Scores agree with an independent, naive implementation and with tables of tiny rankings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mspf.metrics import Described, score


def described(embeddings: list[list[float]], pids: list[int], camids: list[int]) -> Described:
    return Described(np.array(embeddings, np.float32), np.array(pids), np.array(camids))


def angles(degrees: list[float]) -> list[list[float]]:
    """Unit rows whose similarity to 0 degrees falls with the angle."""
    return [[float(np.cos(np.radians(a))), float(np.sin(np.radians(a)))] for a in degrees]


@pytest.mark.parametrize(
    ("pids", "camids", "rank1", "mean_ap", "mean_inp"),
    [
        ([1, 2, 3], [2, 2, 2], 1.0, 1.0, 1.0),
        ([2, 1, 1], [2, 2, 2], 0.0, (1 / 2 + 2 / 3) / 2, 2 / 3),
        ([1, 2, 1], [1, 2, 2], 0.0, 1 / 2, 1 / 2),
    ],
    ids=["first", "second and third", "same camera is dropped"],
)
def test_a_query_is_scored_by_the_places_of_its_matches(
    pids: list[int], camids: list[int], rank1: float, mean_ap: float, mean_inp: float
) -> None:
    scores = score(described(angles([0]), [1], [1]), described(angles([5, 10, 15]), pids, camids))

    assert scores.cmc[0] == rank1
    assert scores.mean_ap == pytest.approx(mean_ap)
    assert scores.mean_inp == pytest.approx(mean_inp)


def test_a_query_without_a_match_is_skipped() -> None:
    query = described(angles([0, 0]), [1, 7], [1, 1])

    assert score(query, described(angles([5]), [1], [2])).queries == 1


def test_one_camera_sets_keep_their_matches_when_cameras_are_ignored() -> None:
    query, gallery = described(angles([0]), [1], [1]), described(angles([5]), [1], [1])

    assert score(query, gallery).queries == 0
    assert score(query, gallery, ignore_cameras=True).mean_ap == 1.0


def test_an_image_is_not_its_own_match_where_everybody_asks_for_everybody() -> None:
    images = described(angles([0, 5, 6]), [1, 2, 1], [1, 1, 1])

    assert score(images, images, ignore_cameras=True).cmc[:2].tolist() == [0.0, 1.0]


def test_equal_distances_rank_in_the_order_of_the_gallery() -> None:
    query = described(angles([0]), [1], [1])
    gallery = described(angles([5, 5, 5, 5]), [2, 1, 3, 1], [2, 2, 2, 2])

    assert score(query, gallery).mean_ap == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_given_distances_replace_the_similarities() -> None:
    query, gallery = described(angles([0]), [1], [1]), described(angles([5, 10]), [2, 1], [2, 2])

    assert score(query, gallery, distances=[np.array([[0.9, 0.1]], np.float32)]).mean_ap == 1.0


@pytest.mark.parametrize(
    ("embeddings", "pids", "complaint"),
    [([[1.0, 0.0]], [1, 2], r"\(1, 2\), \(2,\)"), ([[1.0], [float("nan")]], [1, 1], "embedding 1 is not finite")],
)
def test_arrays_that_do_not_fit_are_refused(embeddings: list[list[float]], pids: list[int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        described(embeddings, pids, [1] * len(embeddings))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), coarse=st.booleans(), ignore_cameras=st.booleans())
def test_scores_equal_those_of_a_naive_implementation(seed: int, coarse: bool, ignore_cameras: bool) -> None:
    """Coarse embeddings have many equal distances, exact in any order of summation."""
    rng = np.random.default_rng(seed)

    def draw(count: int) -> Described:
        rows = rng.integers(-1, 2, (count, 3)) if coarse else rng.normal(size=(count, 4))
        return Described(rows.astype(np.float32), rng.integers(0, 6, count), rng.integers(0, 3, count))

    query, gallery = draw(11), draw(40)
    precisions, penalties, firsts = [], [], []
    for row, pid, camid in zip(query.embeddings, query.pids, query.camids, strict=True):
        kept = [i for i in range(40) if ignore_cameras or gallery.pids[i] != pid or gallery.camids[i] != camid]
        kept.sort(key=lambda i: -float(gallery.embeddings[i] @ row))
        hits = [place for place, i in enumerate(kept, 1) if gallery.pids[i] == pid]
        if hits:
            precisions.append(sum(n / place for n, place in enumerate(hits, 1)) / len(hits))
            penalties.append(len(hits) / hits[-1])
            firsts.append(hits[0])

    scores = score(query, gallery, ignore_cameras)
    assert scores.queries == len(precisions)
    assert scores.mean_ap == pytest.approx(np.mean(precisions))
    assert scores.mean_inp == pytest.approx(np.mean(penalties))
    np.testing.assert_allclose(scores.cmc, [(np.array(firsts) <= rank).mean() for rank in range(1, 11)])
