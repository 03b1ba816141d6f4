"""Items gathered to groups by average linkage (UPGMA; Sokal and Michener 1958), some of which may never be one. Pure.

How alike two groups are is the mean over all pairs of their items, exactly: of rows it is the product of the groups'
means, so that no matrix of all pairs is needed. What else speaks for pairs is known of some. Where two groups have many
pairs its mean is over those of which it is known, else over all of them, with 0 for the others.
"""

import heapq
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32

I64 = NDArray[np.int64]
_Sum = tuple[float, int]  # and of how many
_MANY = 64  # pairs of two groups


class _Groups:
    """Groups on their way to being whole; each has the number of one of its items.

    Args:
        rows: (N, D) of the items.
        pairs: (P, 2) items that may be one; products: (P,) of their rows; extra: (P,) what speaks for it beside these.
        least: how alike two groups must be to become one.
    """

    def __init__(self, rows: F32, pairs: I64, products: F32, extra: F32, least: float) -> None:
        self.members = [[item] for item in range(len(rows))]
        self.near: list[dict[int, _Sum]] = [{} for _ in self.members]  # what speaks for pairs of items
        self._sums, self._least = rows.astype(np.float32), least
        for (one, other), more in zip(pairs.tolist(), extra.tolist(), strict=True):
            self.near[one][other] = self.near[other][one] = (more, 1)
        self._best = [
            (-mean, one, other, 1, 1)
            for (one, other), mean in zip(pairs.tolist(), (products + extra).tolist(), strict=True)
            if mean >= least
        ]
        heapq.heapify(self._best)

    def most_alike(self) -> tuple[int, int] | None:
        """The two groups that are most alike; None where none are alike enough."""
        while self._best:
            _, one, other, size, other_size = heapq.heappop(self._best)
            still = len(self.members[one]) == size and len(self.members[other]) == other_size
            if still and other in self.near[one]:
                return one, other
        return None

    def part(self, one: int, other: int) -> None:
        """These two are never one, as they are."""
        del self.near[one][other], self.near[other][one]

    def unite(self, one: int, other: int) -> None:
        """Makes one group of two."""
        self.members[one] += self.members[other]
        self.members[other] = []
        self._sums[one] += self._sums[other]
        for third, (more, count) in self.near[other].items():
            del self.near[third][other]
            if third != one:
                before, counted = self.near[one].get(third, (0.0, 0))
                self.near[one][third] = self.near[third][one] = (before + more, counted + count)
        self.near[other] = {}
        self._compare(one)

    def _compare(self, one: int) -> None:
        """How alike a group is to all that are near it."""
        others, size = [*self.near[one]], len(self.members[one])
        if not others:
            return
        sizes = np.array([len(self.members[other]) for other in others])
        more, counts = np.array([*self.near[one].values()]).T
        every = size * sizes
        means = self._sums[others] @ self._sums[one] / every + more / np.maximum(counts, np.minimum(every, _MANY))
        for place in np.flatnonzero(means >= self._least).tolist():
            heapq.heappush(self._best, (-float(means[place]), one, others[place], size, int(sizes[place])))


def linked(
    rows: F32,
    pairs: I64,
    products: F32,
    extra: F32,
    least: float,
    apart: Callable[[Sequence[int], Sequence[int]], bool],
) -> I64:
    """(N,) the group of each item, named by one of its items: the most alike become one first.

    Args:
        rows: (N, D); the product of two is how alike they are.
        pairs: (P, 2) items, each pair once, by which groups come to be compared at all.
        products: (P,) of these pairs' rows.
        extra: (P,) what else speaks for them; the mean of it is added to that of the products.
        least: from where on two groups become one.
        apart: whether two groups (items of each) can never be one; it stays so whatever joins them.
    """
    groups = _Groups(rows, pairs, products, extra, least)
    while (best := groups.most_alike()) is not None:
        one, other = best
        if apart(groups.members[one], groups.members[other]):
            groups.part(one, other)
            continue
        small, large = sorted(best, key=lambda group: (len(groups.members[group]), -group))
        groups.unite(large, small)
    found = np.empty(len(rows), np.int64)
    for group, members in enumerate(groups.members):
        found[members] = group
    return found
