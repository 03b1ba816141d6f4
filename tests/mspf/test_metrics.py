"""Scores agree with an independent, naive implementation and with tables of tiny rankings."""

import numpy as np
import pytest

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


def test_scores_equal_those_of_a_naive_implementation() -> None:
    rng = np.random.default_rng(0)

    def draw(count: int) -> Described:
        rows = rng.normal(size=(count, 4)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return Described(rows, rng.integers(0, 6, count), rng.integers(0, 3, count))

    query, gallery = draw(40), draw(90)
    precisions, firsts = [], []
    for row, pid, camid in zip(query.embeddings, query.pids, query.camids, strict=True):
        kept = [i for i in range(90) if not (gallery.pids[i] == pid and gallery.camids[i] == camid)]
        kept.sort(key=lambda i: -float(gallery.embeddings[i] @ row))
        hits = [place for place, i in enumerate(kept, 1) if gallery.pids[i] == pid]
        if hits:
            precisions.append(sum(n / place for n, place in enumerate(hits, 1)) / len(hits))
            firsts.append(hits[0])

    scores = score(query, gallery)
    assert scores.queries == len(precisions)
    assert scores.mean_ap == pytest.approx(np.mean(precisions))
    np.testing.assert_allclose(scores.cmc, [(np.array(firsts) <= rank).mean() for rank in range(1, 11)])
