"""Batches of P people x K images, as a pure function of the step and who is alike: a run can go on anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mspf.datasets import I64
from mspf.errors import RecipeError


def rows_of_people(labels: I64) -> list[I64]:
    """The rows of every person, in the order of their labels (N,)."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


@dataclass(frozen=True, slots=True, eq=False)
class PeopleSampler:
    """Every person once in a round before anybody comes again; people who fill no whole batch sit that round out.

    With `alike`, a batch is one person and some of those who look like them; in a round everybody is once the one, and
    they whom many resemble come more often.

    Attributes:
        rows: of every person, the rows of their images.
        people: P of each batch; images: K of each person, repeated where there are fewer.
        seed: the same seed and step give the same batch.
        alike: of every person, in the order of labels, the numbers of their lookalikes, (people, P - 1 or more).
    """

    rows: tuple[I64, ...]
    people: int
    images: int
    seed: Sequence[int]
    alike: I64 | None = None

    @classmethod
    def of(cls, labels: I64, people: int, images: int, seed: Sequence[int]) -> "PeopleSampler":
        """A sampler over labels (N,), one per image.

        Raises:
            RecipeError: fewer people than a batch needs.
        """
        rows = rows_of_people(labels)
        if len(rows) < people:
            raise RecipeError(f"a batch wants {people} people, the data have {len(rows)}; set `people` lower")
        return cls(tuple(rows), people, images, seed)

    def batch(self, step: int) -> I64:
        """Rows of a batch, person after person: (P x K,)."""
        at_once = self.people if self.alike is None else 1
        around, place = divmod(step, len(self.rows) // at_once)
        order = np.random.default_rng((*self.seed, around)).permutation(len(self.rows))
        chosen = order[place * at_once : (place + 1) * at_once]
        rng = np.random.default_rng((*self.seed, around, 1 + place))
        if self.alike is not None:
            chosen = np.append(chosen, rng.choice(self.alike[chosen[0]], self.people - 1, replace=False))
        return np.concatenate([self._pick(self.rows[person], rng) for person in chosen])

    def _pick(self, rows: I64, rng: np.random.Generator) -> I64:
        return rng.choice(rows, self.images, replace=len(rows) < self.images)
