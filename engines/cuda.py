"""The little of CUDA that an engine needs, through cuda-bindings: which GPU, memory, a stream, graphs."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.engine import EngineError, MissingDeviceError, NotInstalledError

DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a plan is built for; `sm` is the compute capability, as "9.0"."""

    name: str
    sm: str
    driver: str


NO_GPU = Gpu("none", "none", "none")


def gpu() -> Gpu:
    """The GPU that this process computes on.

    Raises:
        MissingDeviceError: there is no GPU, or its driver is too old.
        NotInstalledError: cuda-bindings is not installed.
    """
    try:
        ctypes.CDLL("libcuda.so.1")  # asked first, since importing cuda-bindings takes longer
    except OSError as error:
        raise MissingDeviceError("no NVIDIA driver here; set backend auto") from error
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise NotInstalledError("cuda-bindings is not installed; pip install 'mspf-pipeline[tensorrt]'") from error
    status, count = runtime.cudaGetDeviceCount()
    if int(status) or not count:
        raise MissingDeviceError(f"no NVIDIA GPU that CUDA can use here ({status.name}); set backend auto")
    facts = call(runtime.cudaGetDeviceProperties, call(runtime.cudaGetDevice))
    driver = DRIVER.read_text().splitlines()[0] if DRIVER.exists() else str(call(runtime.cudaDriverGetVersion))
    return Gpu(facts.name.decode().rstrip("\0"), f"{facts.major}.{facts.minor}", driver)


def gpu_or_none() -> Gpu:
    """The GPU, or NO_GPU where there is none to be used."""
    try:
        return gpu()
    except (MissingDeviceError, NotInstalledError):
        return NO_GPU


def call(function: Callable[..., tuple[Any, ...]], *arguments: object) -> Any:
    """What a CUDA function returns besides its status.

    Raises:
        EngineError: the status is not success.
    """
    status, *values = function(*arguments)
    if int(status):
        raise EngineError(f"CUDA: {function.__name__} failed with {status.name}; see the GPU's memory and driver")
    return values[0] if values else None


class DeviceMemory:
    """Bytes on the GPU, freed with the object."""

    def __init__(self, size: int) -> None:
        from cuda.bindings import runtime

        self._free = runtime.cudaFree
        self.size = size
        self.address = int(call(runtime.cudaMalloc, max(size, 1)))

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._free(self.address)


class Buffer:
    """The same bytes twice, in pinned host memory and on the GPU; allocated once, freed with the object."""

    def __init__(self, size: int) -> None:
        from cuda.bindings import runtime

        self._memory = DeviceMemory(size)
        self.device = self._memory.address
        self._free = runtime.cudaFreeHost
        self.host = int(call(runtime.cudaMallocHost, max(size, 1)))
        self.bytes: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.host))

    def __del__(self) -> None:
        if hasattr(self, "host"):
            self._free(self.host)

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The first of the host bytes as an array, not copied."""
        return self.bytes[: int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)


class Stream:
    """A stream of its own; work in it runs in order and beside that of others."""

    def __init__(self) -> None:
        from cuda.bindings import runtime

        self._cuda = runtime
        self.handle = call(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking)

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy between addresses of any kind, in order with the other work."""
        call(self._cuda.cudaMemcpyAsync, target, source, size, self._cuda.cudaMemcpyKind.cudaMemcpyDefault, self.handle)

    def follow(self, stream: int) -> None:
        """Let what comes next here wait for what is queued in another stream."""
        event = call(self._cuda.cudaEventCreateWithFlags, self._cuda.cudaEventDisableTiming)
        call(self._cuda.cudaEventRecord, event, stream)
        call(self._cuda.cudaStreamWaitEvent, self.handle, event, 0)
        call(self._cuda.cudaEventDestroy, event)

    def wait(self) -> None:
        """Return when all work is done."""
        call(self._cuda.cudaStreamSynchronize, self.handle)

    def capture(self, enqueue: Callable[[], bool]) -> Any:
        """The work that `enqueue` queues, as a graph to launch; it is not run.

        Raises:
            EngineError: this work cannot be captured.
        """
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call(self._cuda.cudaStreamBeginCapture, self.handle, mode)
        queued = enqueue()
        graph = call(self._cuda.cudaStreamEndCapture, self.handle)
        if not queued:
            raise EngineError("CUDA: the network cannot be captured as a graph")
        return call(self._cuda.cudaGraphInstantiate, graph, 0)

    def launch(self, graph: Any) -> None:
        """Run a captured graph."""
        call(self._cuda.cudaGraphLaunch, graph, self.handle)


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """An array that lies on the GPU, of whatever library made it; as much of an array as `check_batch` asks for.

    Attributes:
        stream: where its maker's work is queued; 0 when that is done, 1 is the default stream.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> "DeviceArray":
        start, stop, _ = rows.indices(len(self))
        row = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        return DeviceArray(self.address + start * row, (stop - start, *self.shape[1:]), self.dtype, self.stream)

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        """As other libraries, and `on_device`, take it."""
        facts = {"shape": self.shape, "typestr": self.dtype.str, "data": (self.address, False), "version": 3}
        return {**facts, "strides": None, "stream": self.stream or None}

    @property
    def nbytes(self) -> int:
        """Size of the content."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def on_device(array: object) -> DeviceArray | None:
    """The array's place on the GPU by `__cuda_array_interface__` (torch, cupy, numba); None for one on the host.

    Raises:
        EngineError: its rows do not lie one after the other.
    """
    facts = getattr(array, "__cuda_array_interface__", None)
    if facts is None:
        return None
    if facts.get("strides") is not None:
        raise EngineError("an array on the GPU has gaps or another order; pass a contiguous one")
    shape = tuple(int(side) for side in facts["shape"])
    stream = facts.get("stream", 1)  # who says nothing (torch) is taken to work on the default stream
    return DeviceArray(int(facts["data"][0]), shape, np.dtype(facts["typestr"]), int(stream or 0))


def on_host(array: DeviceArray) -> NDArray[Any]:
    """A copy of what lies on the GPU, once its maker's work is done."""
    from cuda.bindings import runtime

    copy = np.empty(array.shape, array.dtype)
    call(runtime.cudaStreamSynchronize, array.stream)
    call(runtime.cudaMemcpy, copy.ctypes.data, array.address, array.nbytes, runtime.cudaMemcpyKind.cudaMemcpyDefault)
    return copy
