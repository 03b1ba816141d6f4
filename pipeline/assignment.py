"""Rows to columns at least total cost (Kuhn 1955, through scipy). Pure."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.datatypes import F32


def assign(cost: F32, max_cost: float) -> dict[int, int]:
    """Row to column at least total cost, where leaving a pair out costs max_cost; {} when R or C is 0.

    Args:
        cost: (R, C), finite.
    """
    rows, columns = linear_sum_assignment(np.minimum(cost, max_cost))
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if cost[r, c] <= max_cost}
