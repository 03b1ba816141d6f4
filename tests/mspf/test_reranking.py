"""Re-ranking in sparse blocks gives what the dense formulas of the paper give, and helps where it should."""

import numpy as np
import pytest

from mspf import reranking
from mspf.metrics import F32, F64, Described, score
from mspf.reranking import reranked_distances


def draw(count: int, seed: int, people: int = 8) -> Described:
    rng = np.random.default_rng(seed)
    pids = rng.integers(0, people, count)
    rows = np.random.default_rng(0).normal(size=(people, 16))[pids] + 0.9 * rng.normal(size=(count, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return Described(rows, pids, rng.integers(0, 3, count))


def dense_reranking(everything: F32, k1: int, k2: int, plain: float) -> F64:
    """Equations 3 to 12 of the paper with sets and full matrices: (N, N)."""
    rows = everything.astype(np.float64)
    distance = ((rows[:, None] - rows[None]) ** 2).sum(2)
    distance /= distance.max(1, keepdims=True)
    ranked = distance.argsort(1)

    def reciprocal(image: int, k: int) -> set[int]:
        return {j for j in ranked[image, : k + 1] if image in ranked[j, : k + 1]}

    encoded = np.zeros_like(distance)
    for image in range(len(rows)):
        members = expanded = reciprocal(image, k1)
        for candidate in members:
            theirs = reciprocal(candidate, k1 // 2)
            if len(theirs & members) > 2 / 3 * len(theirs):
                expanded = expanded | theirs
        chosen = sorted(expanded)
        encoded[image, chosen] = np.exp(-distance[image, chosen])
    encoded /= encoded.sum(1, keepdims=True)
    encoded = np.array([encoded[ranked[image, :k2]].mean(0) for image in range(len(rows))])
    smaller = np.minimum(encoded[:, None], encoded[None]).sum(2)
    larger = np.maximum(encoded[:, None], encoded[None]).sum(2)
    return (1 - plain) * (1 - smaller / larger) + plain * distance


@pytest.mark.parametrize(("k1", "k2", "plain"), [(20, 6, 0.3), (6, 1, 0.0), (10, 3, 0.5)])
def test_distances_equal_those_of_the_dense_formulas(
    k1: int, k2: int, plain: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reranking, "BLOCK", 7)
    monkeypatch.setattr(reranking, "PAIRS", 100)
    query, gallery = draw(20, 1), draw(80, 2)

    blocks = list(reranked_distances(query, gallery, k1, k2, plain))
    expected = dense_reranking(np.concatenate((query.embeddings, gallery.embeddings)), k1, k2, plain)[:20, 20:]
    assert [len(block) for block in blocks] == [7, 7, 6]
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-5)


def test_reranking_finds_more_of_people_who_form_groups() -> None:
    query, gallery = draw(40, 1), draw(200, 2)

    reranked = score(query, gallery, distances=reranked_distances(query, gallery))
    assert reranked.mean_ap > score(query, gallery).mean_ap


def test_a_set_that_asks_for_itself_is_counted_once() -> None:
    images = draw(60, 1)

    (block,) = reranked_distances(images, images)
    np.testing.assert_allclose(block, dense_reranking(images.embeddings, 20, 6, 0.3), atol=1e-5)


def test_fewer_images_than_neighbours_and_equal_ones_are_no_trouble() -> None:
    same = Described(np.tile(np.eye(4, dtype=np.float32)[:1], (5, 1)), np.arange(5), np.arange(5))

    (block,) = reranked_distances(same, same)
    assert np.isfinite(block).all()
