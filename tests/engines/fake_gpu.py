"""A GPU made of host memory: CUDA's runtime and TensorRT, as far as the engine uses them, and as strict.

Its one network maps (N, 3, 4, 5) to the mean of each channel and their sum, (N, 4), for batches that the profile holds.
"""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from engines.cuda_crops import cut

SHAPE, WIDTH = (3, 4, 5), 4


def network(images: np.ndarray) -> np.ndarray:
    means = images.mean((2, 3))
    return np.concatenate([means, means.sum(1, keepdims=True)], 1).astype(np.float32)


class FakeCuda:
    """`cuda.bindings.runtime`: work runs at once, or is recorded while a stream is captured."""

    cudaStreamNonBlocking = cudaEventDisableTiming = 1  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}
        self.allocations = 0
        self.captured = 0
        self.launched = 0
        self.followed: list[int] = []
        self._recording: list[Callable[[], None]] | None = None

    def queue(self, work: Callable[[], None]) -> None:
        if self._recording is None:
            work()
        else:
            self._recording.append(work)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        block = np.full(size, 0xAB, np.uint8)
        self.memory[block.ctypes.data] = block
        self.allocations += 1
        return 0, block.ctypes.data

    cudaMallocHost = cudaMalloc  # noqa: N815

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.memory[address]
        return (0,)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:  # noqa: N802
        return 0, 77

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:  # noqa: N802
        assert self._recording is None
        ctypes.memmove(target, source, size)
        return (0,)

    def cudaMemcpy(self, target: int, source: int, size: int, kind: int) -> tuple[int]:  # noqa: N802
        ctypes.memmove(target, source, size)
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        assert self._recording is None
        return (0,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[int, int]:  # noqa: N802
        return 0, 5

    def cudaEventRecord(self, event: int, stream: int) -> tuple[int]:  # noqa: N802
        self.followed.append(stream)
        return (0,)

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaEventDestroy(self, event: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:  # noqa: N802
        self._recording = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, list]:  # noqa: N802
        recorded, self._recording = self._recording, None
        return 0, recorded

    def cudaGraphInstantiate(self, graph: list, flags: int) -> tuple[int, list]:  # noqa: N802
        self.captured += 1
        return 0, graph

    def cudaGraphLaunch(self, graph: list, stream: int) -> tuple[int]:  # noqa: N802
        self.launched += 1
        for work in graph:
            work()
        return (0,)


class FakeDriver:
    """`cuda.bindings.driver`, for the one kernel there is: host memory in, host memory out, by its twin in numpy."""

    def cuModuleLoadData(self, code: bytes) -> tuple[int, bytes]:  # noqa: N802
        return 0, code

    def cuModuleGetFunction(self, module: bytes, name: bytes) -> tuple[int, bytes]:  # noqa: N802
        return 0, name

    def cuLaunchKernel(self, kernel: bytes, *rest: object) -> tuple[int]:  # noqa: N802
        *_, count, _, _, _, _, _, (arguments, _), _ = rest
        frame, frame_width, boxes, out, height, width = arguments
        places = np.frombuffer(ctypes.string_at(boxes, 20 * count), np.int32).reshape(count, 5)
        pixels = np.frombuffer(ctypes.string_at(frame, 3 * frame_width * int(places[:, 3].max())), np.uint8)
        crops = cut(pixels.reshape(-1, frame_width, 3), places[:, :4], (height, width))
        for crop, place in zip(crops, places[:, 4], strict=True):
            ctypes.memmove(out + int(place) * crop.nbytes, crop.tobytes(), crop.nbytes)
        return (0,)


class FakeNvrtc:
    """`cuda.bindings.nvrtc`."""

    def nvrtcCreateProgram(self, *source: object) -> tuple[int, object]:  # noqa: N802
        return 0, source

    def nvrtcCompileProgram(self, *program: object) -> tuple[int]:  # noqa: N802
        return (0,)

    def nvrtcGetCUBINSize(self, program: object) -> tuple[int, int]:  # noqa: N802
        return 0, 4

    def nvrtcGetCUBIN(self, program: object, code: bytes) -> tuple[int]:  # noqa: N802
        return (0,)


def installed(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """In place of cuda.bindings."""
    fake, bindings = FakeCuda(), ModuleType("cuda.bindings")
    for name, part in (("runtime", fake), ("driver", FakeDriver()), ("nvrtc", FakeNvrtc())):
        setattr(bindings, name, part)
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    return fake


@dataclass
class FakeContext:
    """An execution context; a graph that was captured from it must find the shapes that it was captured with."""

    cuda: FakeCuda
    profiles: list[tuple[int, int]]
    profile: int = 0
    rows: int = -1
    flushed: int = -1
    address: dict[str, int] = field(default_factory=dict)
    scratch: int = 0

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        self.scratch = size

    def set_tensor_address(self, name: str, address: int) -> None:
        self.address[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, most = self.profiles[self.profile]
        if tuple(shape[1:]) != SHAPE or not least <= shape[0] <= most:
            return False
        self.rows = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.rows, *SHAPE) if name == "images" else (self.rows, WIDTH)

    def execute_async_v3(self, stream: int) -> bool:
        rows = self.rows

        def work() -> None:
            assert self.rows == rows, "the context went on to other shapes"
            size = 4 * rows * int(np.prod(SHAPE))
            images = np.frombuffer(ctypes.string_at(self.address["images"], size), np.float32).reshape(rows, *SHAPE)
            ctypes.memmove(self.address["means"], network(images).tobytes(), 4 * rows * WIDTH)

        self.cuda.queue(work)
        return True


class FakeTensorRt:
    """`tensorrt`, or with its own graphs `tensorrt_rtx`."""

    __version__ = "99.0"
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")

    class ILogger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, WARNING=2)

    def __init__(self, cuda: FakeCuda, profiles: list[tuple[int, int]], own_graphs: bool = False) -> None:
        self.cuda, self.profiles, self.contexts = cuda, profiles, list[FakeContext]()
        self.num_io_tensors = 2
        self.device_memory_size_v2 = 1000
        if own_graphs:
            self.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE=1)

    def Runtime(self, log: object) -> "FakeTensorRt":  # noqa: N802
        self.log = log
        return self

    def deserialize_cuda_engine(self, content: bytes) -> "FakeTensorRt | None":
        if content != b"plan":
            self.log.log(1, "magic tag does not match\nmore of it")
            return None
        return self

    def get_tensor_name(self, index: int) -> str:
        return ("images", "means")[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "images" else "out"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *SHAPE) if name == "images" else (-1, WIDTH)

    def get_tensor_dtype(self, name: str) -> type:
        return np.float32

    def nptype(self, dtype: type) -> type:
        return dtype

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        least, most = self.profiles[profile]
        return [(least, *SHAPE), (least, *SHAPE), (most, *SHAPE)]

    def create_execution_context(self, settings: object) -> FakeContext:
        self.contexts.append(FakeContext(self.cuda, self.profiles))
        return self.contexts[-1]

    def create_runtime_config(self) -> SimpleNamespace:
        kernels = SimpleNamespace(serialize=lambda: b"kernels", deserialize=lambda blob: True)
        return SimpleNamespace(set_runtime_cache=lambda cache: True, create_runtime_cache=lambda: kernels)
