"""Batches of P people x K images, as a pure function of the step: a run can go on anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mspf.datasets import I64
from mspf.errors import RecipeError


@dataclass(frozen=True, slots=True, eq=False)
class PeopleSampler:
    """Every person once in a round before anybody comes again; people who fill no whole batch sit that round out.

    Attributes:
        rows: of every person, the rows of their images.
        people: P of each batch; images: K of each person, repeated where there are fewer.
        seed: the same seed and step give the same batch.
    """

    rows: tuple[I64, ...]
    people: int
    images: int
    seed: Sequence[int]

    @classmethod
    def of(cls, labels: I64, people: int, images: int, seed: Sequence[int]) -> "PeopleSampler":
        """A sampler over labels (N,), one per image.

        Raises:
            RecipeError: fewer people than a batch needs.
        """
        order = np.argsort(labels, kind="stable")
        rows = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
        if len(rows) < people:
            raise RecipeError(f"a batch wants {people} people, the data have {len(rows)}; set `people` lower")
        return cls(tuple(rows), people, images, seed)

    def batch(self, step: int) -> I64:
        """Rows of a batch, person after person: (P x K,)."""
        around, place = divmod(step, len(self.rows) // self.people)
        order = np.random.default_rng((*self.seed, around)).permutation(len(self.rows))
        chosen = order[place * self.people : (place + 1) * self.people]
        rng = np.random.default_rng((*self.seed, around, 1 + place))
        return np.concatenate([self._pick(self.rows[person], rng) for person in chosen])

    def _pick(self, rows: I64, rng: np.random.Generator) -> I64:
        return rng.choice(rows, self.images, replace=len(rows) < self.images)
