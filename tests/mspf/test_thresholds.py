"""A threshold lets through no more false matches than asked."""

import numpy as np
import pytest

from mspf.metrics import Described
from mspf.thresholds import carried_over, same_person_thresholds


def draw(count: int, people: int, seed: int) -> Described:
    rng = np.random.default_rng(seed)
    pids = rng.integers(1, people + 1, count)
    rows = np.random.default_rng(0).normal(size=(people + 1, 8))[pids] + rng.normal(size=(count, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return Described(rows, pids, rng.integers(0, 2, count))


def test_thresholds_equal_those_of_a_sorted_list_of_all_pairs() -> None:
    query, gallery = draw(600, 9, 1), draw(70, 9, 2)
    similarity = query.embeddings @ gallery.embeddings.T
    same = query.pids[:, None] == gallery.pids
    true = similarity[same & (query.camids[:, None] != gallery.camids)]
    false = np.sort(similarity[~same])[::-1]

    for found in same_person_thresholds(query, gallery, [1e-1, 1e-2, 0.0]):
        allowed = int(found.false_match_rate * len(false))
        assert (false >= found.min_similarity).sum() == allowed
        assert false[allowed] == pytest.approx(found.min_similarity)
        assert found.true_match_rate == pytest.approx((true >= found.min_similarity).mean())
        assert (found.false_pairs, found.true_pairs) == (len(false), len(true))


def test_equal_similarities_never_exceed_the_rate() -> None:
    rows = np.ones((4, 1), np.float32)
    images = Described(rows, np.array([1, 1, 2, 3]), np.array([1, 2, 1, 1]))

    (found,) = same_person_thresholds(images, images, [0.5])
    assert found.min_similarity > 1
    assert found.true_match_rate == 0


@pytest.mark.parametrize(("pids", "rate", "complaint"), [([1, 2], 0.1, "0 pairs of one"), ([1, 1], 1.0, "below 1")])
def test_what_gives_no_threshold_is_refused(pids: list[int], rate: float, complaint: str) -> None:
    images = Described(np.eye(2, dtype=np.float32), np.array(pids), np.array([1, 2]))
    with pytest.raises(ValueError, match=complaint):
        same_person_thresholds(images, images, [rate])


def test_thresholds_are_carried_over_to_where_as_many_strangers_are_above_them() -> None:
    rng = np.random.default_rng(0)
    before = rng.standard_normal((300, 16)).astype(np.float32)
    after = before + np.float32(0.7)  # everybody is more alike
    before, after = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (before, after))
    pids, camids = np.arange(300) // 3, np.arange(300) % 3
    apart = np.triu((pids[:, None] != pids) & (camids[:, None] != camids))
    thresholds = [0.1, 0.4, 0.6]
    found = carried_over(thresholds, before, after, pids, camids)
    for threshold, other in zip(thresholds, found, strict=True):
        above = [(rows @ rows.T)[apart] >= least for rows, least in ((before, threshold), (after, other))]
        assert above[0].sum() == above[1].sum()
        assert other > threshold
    assert carried_over([-2.0, 2.0], before, after, pids, camids) == [
        pytest.approx((after @ after.T)[apart].min()),
        pytest.approx((after @ after.T)[apart].max()),
    ]
    alone = carried_over(thresholds, before, after, pids, np.zeros(300, np.int64))
    assert alone == pytest.approx(found, abs=0.05)
    with pytest.raises(ValueError, match="no pair of two people"):
        carried_over(thresholds, before, after, np.ones(300, np.int64), camids)
