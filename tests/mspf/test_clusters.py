"""Pictures gathered to people by their descriptors alone."""

import numpy as np
import pytest

from mspf.clusters import gathered


def crowd(people, views, noise, seed=0):
    """Unit rows of people seen several times each, in random order, and who is who."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(people), views))
    rows = rng.standard_normal((people, 64))[who] + noise * rng.standard_normal((len(who), 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), who


def same(labels):
    return labels[:, None] == labels


@pytest.mark.parametrize("noise", [0.1, 0.6])
def test_views_of_one_person_are_gathered_and_strangers_are_not(noise):
    rows, who = crowd(40, 12, noise)
    found = gathered(rows, neighbours=12)
    assert (same(found) == same(who)).all()
    assert found.min() == 0


def test_most_of_those_who_are_seen_once_are_left_out():
    often, who = crowd(20, 8, 0.3)
    once, _ = crowd(15, 1, 0.3, seed=1)
    found = gathered(np.concatenate([often, once]), neighbours=8)
    assert (found[len(often) :] == -1).sum() >= 10
    assert (same(found[: len(often)]) == same(who)).all()


def test_with_more_neighbours_than_a_person_has_pictures_people_are_mixed_up():
    rows, _ = crowd(40, 12, 0.1)
    assert gathered(rows, neighbours=12).max() + 1 == 40
    assert gathered(rows, neighbours=30).max() + 1 < 40


def test_what_is_near_is_a_choice():
    rows, _ = crowd(40, 12, 1.2)
    left_out = [int((gathered(rows, within=within) == -1).sum()) for within in (0.2, 0.5, 0.8)]
    assert left_out[0] > left_out[1] > left_out[2]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_pictures_than_make_a_person_are_nobody(count):
    assert gathered(crowd(1, 3, 0.1)[0][:count]).tolist() == [-1] * count
