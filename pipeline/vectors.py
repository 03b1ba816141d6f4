"""Rows of unit length, as embeddings are compared. Pure numpy."""

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def unit_rows(rows: F32) -> F32:
    """Rows (N, D) divided by their length; rows of zeros stay."""
    unit: F32 = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
