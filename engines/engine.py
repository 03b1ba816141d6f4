"""What every back end is: one verb over arrays, and the facts that the network file states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class EngineError(Exception):
    """A network file is missing, of the wrong kind, or cannot run on this machine."""


class NotInstalledError(EngineError):
    """The package of the back end is not installed."""


class MissingDeviceError(EngineError):
    """The back end is installed, but this machine lacks the device or driver that it runs on."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape (None where dynamic) and dtype of one input or output, read from the file."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join('?' if n is None else str(n) for n in self.shape)})"


class Engine(Protocol):
    """A loaded network. Outputs belong to the caller: a later call never changes them. Calls are thread-safe.

    Attributes:
        name: the file's name, for messages.
        backend, precision: what really runs, also when "auto" was asked for.
        metadata: the key-value pairs stored in the network file.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def backend(self) -> str: ...  # noqa: D102
    @property
    def precision(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102
    @property
    def metadata(self) -> dict[str, str]: ...  # noqa: D102

    def __call__(self, *batch: Array) -> tuple[Array, ...]:
        """Outputs for one batch; the batch size may differ from call to call, and may be 0.

        Raises:
            EngineError: the arrays are not what `inputs` says, or the network fails on them.
        """
        ...


def check_batch(name: str, inputs: Sequence[TensorSpec], batch: Sequence[Array]) -> None:
    """Raise EngineError unless `batch` has one array for each input, of its dtype and shape."""
    if len(batch) != len(inputs):
        raise EngineError(f"{name}: got {len(batch)} arrays; pass {len(inputs)}: {', '.join(map(str, inputs))}")
    for spec, array in zip(inputs, batch, strict=True):
        fits = len(array.shape) == len(spec.shape) and all(
            want is None or got == want or (axis == 0 and got == 0)
            for axis, (got, want) in enumerate(zip(array.shape, spec.shape, strict=True))
        )
        if not fits or array.dtype != spec.dtype:
            raise EngineError(f"{name}: got {array.dtype} {array.shape}; pass its input {spec}")
    if len({len(array) for array in batch}) > 1:
        raise EngineError(f"{name}: inputs of different batch sizes {[len(array) for array in batch]}; pass equal ones")


def empty_outputs(outputs: Sequence[TensorSpec]) -> tuple[Array, ...]:
    """What a network returns for a batch of none: shape (0, ...), 0 also where another axis is dynamic."""
    return tuple(np.zeros((0, *(n or 0 for n in spec.shape[1:])), spec.dtype) for spec in outputs)
