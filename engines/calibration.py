"""Which 256 evenly spaced numbers stand best for what flows through a network: measured on examples."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from engines.engine import Array

SAMPLES = 1024  # values kept of each tensor and batch
SHRINK = np.geomspace(1, 0.08, 30)  # of the largest value: shares of it that are tried as the end of the range
SHRINK_LOW = (1, 0.75, 0.5, 0.25)  # of the smallest


@dataclass(frozen=True, slots=True)
class Grid:
    """The real numbers (q - zero) * scale, for q in -127..127 where it is symmetric and in 0..255 where it is not."""

    scale: np.float32
    zero: NDArray[np.int8] | NDArray[np.uint8]

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the largest q."""
        return (-127, 127) if self.zero.dtype == np.int8 else (0, 255)

    def rounded(self, values: Array) -> Array:
        """Each value's neighbour on the grid."""
        q: Array = np.clip(np.rint(values / self.scale) + int(self.zero), *self.ends) - int(self.zero)
        return q * self.scale


def grids(
    model: onnx.ModelProto, tensors: Collection[str], batches: Iterable[Array], symmetric: bool
) -> dict[str, Grid]:
    """For each tensor the grid with the least mean squared error over what it holds when the batches go through.

    Args:
        model: takes one input; float32.
        tensors: names of inputs or inner values.
        batches: at least one.
    """
    name = model.graph.input[0].name
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    inner = [tensor for tensor in tensors if tensor != name]
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(tensor) for tensor in inner)
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"]) if inner else None
    rng = np.random.default_rng(0)
    samples: dict[str, list[Array]] = {tensor: [] for tensor in tensors}
    for batch in batches:
        held = dict(zip(inner, session.run(inner, {name: batch}), strict=True)) if session else {}
        for tensor in tensors:
            values = np.ravel(held.get(tensor, batch))
            ends = values[[values.argmin(), values.argmax()]]
            samples[tensor].append(np.concatenate([rng.choice(values, SAMPLES), ends]))
    return {tensor: fitted(np.concatenate(kept), symmetric) for tensor, kept in samples.items()}


def fitted(values: Array, symmetric: bool) -> Grid:
    """The grid with the least mean squared error on values (N,): rare large ones are cut off where that pays."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if symmetric:
        top = max(-low, high, 1e-12)
        tried = [Grid(np.float32(top * share / 127), np.array(0, np.int8)) for share in SHRINK]
    else:
        tried = [_asymmetric(low * less, max(high * share, 1e-12)) for less in SHRINK_LOW for share in SHRINK]
    return min(tried, key=lambda grid: float(np.square(grid.rounded(values) - values).mean()))


def _asymmetric(low: float, high: float) -> Grid:
    scale = np.float32((high - low) / 255)
    return Grid(scale, np.array(np.clip(np.rint(-low / scale), 0, 255), np.uint8))
