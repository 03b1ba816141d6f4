"""ONNX files on an NVIDIA GPU by TensorRT or TensorRT-RTX: pinned buffers, one stream, CUDA graphs.

Inputs may lie on the host or on the GPU (`__cuda_array_interface__`). Nothing is allocated for a call but the
arrays that it returns, which belong to the caller.
"""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines import cache, cuda, plans, tensorrt_builder
from engines.cuda import Buffer, DeviceArray, DeviceMemory, Stream, on_device
from engines.engine import Array, EngineError, TensorSpec, check_batch, empty_outputs
from engines.plans import Plan

logger = logging.getLogger(__name__)

GRAPH_AFTER = 3  # calls of one shape before its launch is captured as a graph
MOST_GRAPHS = 16

Shapes = tuple[tuple[int, ...], ...]


class TensorRtEngine:
    """See `engines.Engine`. Concurrent calls take turns: they share the buffers, and each fills the GPU.

    Args:
        content: of the plan file.
    """

    def __init__(self, name: str, plan: Plan, content: bytes) -> None:
        self._trt = tensorrt_builder.import_flavour(plan.key.flavour)
        self._log = tensorrt_builder.error_log(self._trt)
        self._runtime = self._trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            why = tensorrt_builder.first_line(self._log.first_error)
            raise EngineError(f"{name}: {plan.key.flavour} cannot load {plan.path}: {why}; set another backend")
        self.name, self.backend, self.precision = name, plan.key.flavour, plan.key.precision
        self.metadata = {**plan.metadata, "plan_sha256": plan.sha256, "device": str(plan.key.gpu)}
        self.inputs, self.outputs = tensor_specs(self._trt, self._engine)
        self._ranges = plans.profiles(plan.key.max_batch)
        self._stream = Stream()
        self._buffers: dict[str, Buffer] = {}
        self._kernels = self._earlier_kernels(plan) if self._captures_itself else None
        self._scratch = None if self._captures_itself else DeviceMemory(self._engine.device_memory_size_v2)
        self._contexts = [self._context(index) for index in range(len(self._ranges))]
        sizes = largest_sizes(self._trt, self._engine, self._contexts[-1], len(self._ranges) - 1)
        self._buffers |= {tensor: Buffer(size) for tensor, size in sizes.items()}
        for context in self._contexts:
            self._bind(context)
        self._graphs: dict[Shapes, Captured] = {}
        self._frequent = FrequentShapes(GRAPH_AFTER, 0 if self._captures_itself else MOST_GRAPHS)
        self._lock = threading.Lock()

    @property
    def _captures_itself(self) -> bool:
        return hasattr(self._trt, "CudaGraphStrategy")

    def _earlier_kernels(self, plan: Plan) -> Any:
        """Kernels that TensorRT-RTX compiled for this GPU at earlier starts; it refuses those of another by itself."""
        kernels = self._engine.create_runtime_config().create_runtime_cache()
        if kernels_path(plan).is_file():
            kernels.deserialize(kernels_path(plan).read_bytes())
        return kernels

    def warm_up(self, plan: Plan) -> None:
        """Run every range once, at its best size, and keep the kernels that were compiled for it.

        Raises:
            EngineError: the network fails.
        """
        for one in self._ranges:
            long_side = tensorrt_builder.long_side(self.metadata)
            open_shapes = [tuple(side or -1 for side in spec.shape) for spec in self.inputs]
            best = [tensorrt_builder.shapes(shape, one, long_side)[1] for shape in open_shapes]
            self(*(np.zeros(shape, spec.dtype) for shape, spec in zip(best, self.inputs, strict=True)))
        if self._kernels is not None and not kernels_path(plan).is_file():
            cache.write_atomically(kernels_path(plan), bytes(self._kernels.serialize()))

    def _context(self, index: int) -> Any:
        """An execution context of one profile. Those of TensorRT share their scratch memory: they run in turns.

        TensorRT-RTX captures graphs itself.
        """
        if self._captures_itself:
            settings = self._engine.create_runtime_config()
            settings.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            settings.set_runtime_cache(self._kernels)
            context = self._engine.create_execution_context(settings)
        else:
            strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(strategy)
        if context is None or not context.set_optimization_profile_async(index, self._stream.handle):
            raise EngineError(
                f"{self.name}: no memory on the GPU to run it: {self._log.first_error}; build a smaller max batch"
            )
        if self._scratch:
            context.set_device_memory(self._scratch.address, self._scratch.size)
        self._stream.wait()
        return context

    def _bind(self, context: Any) -> None:
        for tensor, buffer in self._buffers.items():
            context.set_tensor_address(tensor, buffer.device)

    def __call__(self, *batch: Array) -> tuple[Array, ...]:
        """Outputs for one batch; more than the plan's largest goes through in parts."""
        places = [on_device(array) for array in batch]
        arrays = [np.ascontiguousarray(a) if at is None else at for a, at in zip(batch, places, strict=True)]
        check_batch(self.name, self.inputs, arrays)  # type: ignore[arg-type]
        rows = len(arrays[0])
        if rows == 0:
            return empty_outputs(self.outputs)
        step = self.inputs[0].shape[0] or self._ranges[-1].largest
        with self._lock:
            parts = [self._run([array[at : at + step] for array in arrays]) for at in range(0, rows, step)]
        return parts[0] if len(parts) == 1 else tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def _run(self, arrays: Sequence[Array | DeviceArray]) -> tuple[Array, ...]:
        shapes = tuple(tuple(array.shape) for array in arrays)
        context = self._contexts[plans.profile_for(self._ranges, shapes[0][0])]
        for spec, array in zip(self.inputs, arrays, strict=True):
            if not context.set_input_shape(spec.name, array.shape):
                raise EngineError(f"{self.name}: its plan is not for {array.shape}; give sides that it was built for")
            self._upload(self._buffers[spec.name], array)
        self._launch(context, shapes)
        outputs = [(self._buffers[s.name], tuple(context.get_tensor_shape(s.name)), s.dtype) for s in self.outputs]
        for buffer, shape, dtype in outputs:
            self._stream.copy(buffer.host, buffer.device, int(np.prod(shape)) * dtype.itemsize)
        self._stream.wait()
        return tuple(buffer.view(shape, dtype).copy() for buffer, shape, dtype in outputs)

    def _upload(self, buffer: Buffer, array: Array | DeviceArray) -> None:
        if isinstance(array, DeviceArray):
            if array.stream:
                self._stream.follow(array.stream)
            self._stream.copy(buffer.device, array.address, array.nbytes)
        else:
            buffer.view(array.shape, array.dtype)[...] = array
            self._stream.copy(buffer.device, buffer.host, array.nbytes)

    def _launch(self, context: Any, shapes: Shapes) -> None:
        """Queue the network: as a graph where these shapes are frequent, else kernel by kernel."""
        if self._frequent.now(shapes):
            try:
                self._graphs[shapes] = self._captured(shapes)
            except EngineError as error:
                logger.info("%s: runs without graphs: %s", self.name, error)
                self._frequent = FrequentShapes(GRAPH_AFTER, 0)
        if shapes in self._graphs:
            self._stream.launch(self._graphs[shapes].graph)
        elif not context.execute_async_v3(self._stream.handle):
            raise EngineError(f"{self.name}: {self.backend} failed on {shapes[0]}: {self._log.first_error}")

    def _captured(self, shapes: Shapes) -> "Captured":
        """A graph with a context of its own, since one that goes on to other shapes would spoil it.

        The first run of a context with new shapes is never captured: it brings the context up to date.
        """
        context = self._context(plans.profile_for(self._ranges, shapes[0][0]))
        self._bind(context)
        for spec, shape in zip(self.inputs, shapes, strict=True):
            context.set_input_shape(spec.name, shape)
        if not context.execute_async_v3(self._stream.handle):
            raise EngineError(f"{self.name}: {self.backend} failed on {shapes[0]}: {self._log.first_error}")
        self._stream.wait()
        return Captured(context, self._stream.capture(lambda: context.execute_async_v3(self._stream.handle)))


@dataclass(frozen=True, slots=True)
class Captured:
    """A graph to launch, and the execution context that it lives on."""

    context: Any
    graph: Any


class FrequentShapes:
    """Says when a shape has come often enough to be worth a graph; never more than `most` of them."""

    def __init__(self, after: int, most: int) -> None:
        self._after, self._left = after, most
        self._seen: Counter[Shapes] = Counter()

    def now(self, shapes: Shapes) -> bool:
        """Whether this is the call after which the shape counts as frequent."""
        if not self._left:
            return False
        self._seen[shapes] += 1
        if self._seen[shapes] != self._after:
            return False
        self._left -= 1
        return True


def load_tensorrt(path: Path, precision: str, threads: int) -> TensorRtEngine:
    """The ONNX file as a TensorRT engine; see `engines.load`."""
    return _load("tensorrt", path, precision, threads)


def load_rtx(path: Path, precision: str, threads: int) -> TensorRtEngine:
    """The ONNX file as a TensorRT-RTX engine; see `engines.load`."""
    return _load("tensorrt-rtx", path, precision, threads)


def _load(flavour: str, path: Path, precision: str, threads: int) -> TensorRtEngine:
    """The engine from a plan in the cache, built first if there is none."""
    del threads  # the CPU only feeds the GPU
    cuda.gpu()  # before anything heavy: it raises where there is none
    key = tensorrt_builder.plan_key(path, flavour, precision)
    plan = plans.find_any_batch(path.stem, key, cache.cache_dir())
    if plan is None:
        logger.warning("%s: building it for %s in %s, once; this may take minutes", path.name, flavour, key.precision)
        plan = tensorrt_builder.build(path, key)
    return start(path.name, plan)


def start(name: str, plan: Plan) -> TensorRtEngine:
    """The engine of a plan, warm."""
    engine = TensorRtEngine(name, plan, plan.path.read_bytes())
    engine.warm_up(plan)
    return engine


def kernels_path(plan: Plan) -> Path:
    """Where TensorRT-RTX's compiled kernels of a plan are kept."""
    return plan.path.with_suffix(".kernels")


def tensor_specs(trt: Any, engine: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a deserialised plan, in its order."""
    specs: dict[Any, list[TensorSpec]] = {trt.TensorIOMode.INPUT: [], trt.TensorIOMode.OUTPUT: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(None if side < 0 else int(side) for side in engine.get_tensor_shape(name))
        specs[engine.get_tensor_mode(name)].append(
            TensorSpec(name, shape, np.dtype(trt.nptype(engine.get_tensor_dtype(name))))
        )
    return tuple(specs[trt.TensorIOMode.INPUT]), tuple(specs[trt.TensorIOMode.OUTPUT])


def largest_sizes(trt: Any, engine: Any, context: Any, profile: int) -> dict[str, int]:
    """Bytes of every tensor at the largest shapes of the last profile, after setting them in its context.

    Raises:
        EngineError: how large an output gets depends on the values.
    """
    inputs, outputs = tensor_specs(trt, engine)
    for spec in inputs:
        context.set_input_shape(spec.name, engine.get_tensor_profile_shape(spec.name, profile)[2])
    sizes = {}
    for spec in (*inputs, *outputs):
        shape = tuple(context.get_tensor_shape(spec.name))
        if min(shape, default=1) < 0:
            raise EngineError(f"{spec}: its size depends on the values; export the network with a fixed number of rows")
        sizes[spec.name] = int(np.prod(shape)) * spec.dtype.itemsize
    return sizes
