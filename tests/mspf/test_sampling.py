"""Batches hold P people x K images, and any batch can be had without those before it."""

from dataclasses import replace

import numpy as np
import pytest

from mspf.errors import RecipeError
from mspf.sampling import PeopleSampler


def test_a_batch_holds_different_people_with_the_asked_number_of_images_each() -> None:
    labels = np.array([3, 3, 3, 5, 7, 7, 7, 7])
    sampler = PeopleSampler.of(labels, people=2, images=3, seed=(0,))
    for step in range(8):
        people, counts = np.unique(labels[sampler.batch(step)], return_counts=True)
        assert (len(people), counts.tolist()) == (2, [3, 3])


def test_everybody_comes_once_before_anybody_comes_again() -> None:
    labels = np.repeat(np.arange(6), 2)
    sampler = PeopleSampler.of(labels, people=2, images=2, seed=(0,))

    for first in (0, 3):
        drawn = {int(label) for step in range(first, first + 3) for label in labels[sampler.batch(step)]}
        assert drawn == set(range(6))


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    labels = np.repeat(np.arange(6), 3)
    first, second = (PeopleSampler.of(labels, 2, 2, seed=(1, 0)) for _ in range(2))
    first.batch(0)

    assert first.batch(7).tolist() == second.batch(7).tolist()
    assert first.batch(7).tolist() != PeopleSampler.of(labels, 2, 2, seed=(2, 0)).batch(7).tolist()


def test_too_few_people_for_a_batch_are_refused() -> None:
    with pytest.raises(RecipeError, match="wants 3 people, the data have 2"):
        PeopleSampler.of(np.array([0, 1, 1]), people=3, images=2, seed=(0,))


def test_alike_people_share_batches_and_everybody_is_once_a_round_the_one_they_are_like() -> None:
    labels = np.repeat(np.arange(6), 3)
    alike = np.array([[(person + near) % 6 for near in (1, 2, 3)] for person in range(6)])
    sampler = replace(PeopleSampler.of(labels, people=3, images=2, seed=(0,)), alike=alike)
    batches = [labels[sampler.batch(step)][::2].tolist() for step in range(12)]

    for first in (0, 6):
        assert sorted(batch[0] for batch in batches[first : first + 6]) == list(range(6))
    for one, *others in batches:
        assert len(set(others)) == 2
        assert set(others) <= set(alike[one].tolist())
    assert len({tuple(sorted(batch)) for batch in batches}) > 6
