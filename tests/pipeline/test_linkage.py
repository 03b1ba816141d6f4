import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from pipeline.linkage import linked


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def link(rows, least, extra=None, apart=lambda some, others: False, pairs=None):
    pairs = np.stack(np.triu_indices(len(rows), 1), axis=1) if pairs is None else pairs
    products = (rows @ rows.T)[pairs[:, 0], pairs[:, 1]]
    more = np.zeros(len(pairs), np.float32) if extra is None else extra
    return linked(rows, pairs, products, more, least, apart)


def partition(groups):
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in np.unique(groups)}


@pytest.mark.parametrize("least", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_all_pairs_it_is_scipys_average_linkage(seed, least):
    draw = np.random.default_rng(seed)
    rows = unit(np.repeat(draw.normal(size=(8, 16)), 6, axis=0) + 0.6 * draw.normal(size=(48, 16)))
    distances = squareform((1 - rows @ rows.T).clip(0), checks=False)
    expected = fcluster(linkage(distances, "average"), 1 - least, "distance")
    assert partition(link(rows, least)) == partition(expected)


def test_what_speaks_for_pairs_counts_in_the_mean_over_all_of_them():
    rows = unit(np.eye(3))  # as unlike as can be
    extra = np.array([0.9, 0.5, 0.0], np.float32)  # of 0 and 1, 0 and 2, 1 and 2
    assert partition(link(rows, 0.3, extra)) == {frozenset({0, 1}), frozenset({2})}  # (0.5 + 0) / 2 is too little
    assert partition(link(rows, 0.25, extra)) == {frozenset({0, 1, 2})}


def test_where_there_are_many_pairs_it_counts_in_the_mean_over_those_of_which_it_is_known():
    rows = unit(np.repeat(np.eye(2), 20, axis=0))  # twenty of a kind, twice
    alike = [
        (one, other) for start in (0, 20) for one in range(start, start + 20) for other in range(one + 1, start + 20)
    ]
    across = [(one, 20 + one % 20) for one in range(20)] + [(one, 20 + (one + 1) % 20) for one in range(20)]
    across += [(one, 20 + (one + 2) % 20) for one in range(20)] + [(one, 20 + (one + 3) % 20) for one in range(20)]
    extra = np.r_[np.zeros(len(alike)), np.full(len(across), 0.5)].astype(np.float32)  # known of 80 of 400 pairs
    pairs = np.array(alike + across)
    assert len(partition(link(rows, 0.55, extra, pairs=pairs))) == 2
    assert len(partition(link(rows, 0.45, extra, pairs=pairs))) == 1


def test_groups_that_must_stay_apart_do_whatever_joins_them():
    rows = unit(np.ones((4, 2)))

    def apart(some, others):
        return {0, 3} <= {*some, *others}

    groups = link(rows, 0.5, apart=apart)
    assert groups[0] != groups[3] and len(np.unique(groups)) == 2


def test_groups_between_which_there_is_no_pair_are_never_compared():
    rows = unit(np.ones((4, 2)))
    groups = link(rows, 0.5, pairs=np.array([[0, 1], [2, 3]]))
    assert partition(groups) == {frozenset({0, 1}), frozenset({2, 3})}


@pytest.mark.parametrize("count", [1, 3])
def test_items_without_pairs_are_groups_of_their_own(count):
    rows = unit(np.ones((count, 2)))
    assert link(rows, 0.5, pairs=np.zeros((0, 2), int)).tolist() == [*range(count)]
