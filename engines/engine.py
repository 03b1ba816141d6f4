"""What every back end is: one verb over arrays, and the facts that the network file states."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class EngineError(Exception):
    """A network file is missing, of the wrong kind, or cannot run on this machine."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape (None where dynamic) and dtype of one input or output, read from the file."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class Engine(Protocol):
    """A loaded network. Outputs belong to the caller: a later call never changes them.

    Attributes:
        backend, precision: what really runs, also when "auto" was asked for.
        metadata: the key-value pairs stored in the ONNX file.
    """

    backend: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: dict[str, str]

    def __call__(self, *batch: Array) -> tuple[Array, ...]:
        """Outputs for one batch; the batch size may differ from call to call, and may be 0."""
        ...
