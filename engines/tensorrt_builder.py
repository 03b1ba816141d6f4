"""ONNX files to TensorRT plans: strongly typed, dynamic in batch (height, width), kept under everything they depend on.

TensorRT and TensorRT-RTX share this code; the latter builds where there is no GPU. Precision lies in the file: float16
is written into a copy of it, int8 comes as QuantizeLinear and DequantizeLinear of a file that was quantised before.
"""

import ast
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from engines import cache, cuda, gate, plans, reference
from engines.engine import EngineError, NotInstalledError
from engines.plans import Plan, PlanKey, Profile

logger = logging.getLogger(__name__)

FLAVOURS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # name -> module
PRECISIONS = ("auto", "f32", "f16", "int8")
MAX_BATCH = 64
LONG_SIDE = 640  # of pictures, where neither the file's shape nor its metadata say
SHORT_SIDE, STRIDE = 64, 32  # least side of a picture of open size, and what sides are multiples of

Progress = Callable[[str, int, int], None]


def import_flavour(flavour: str) -> Any:
    """The Python module of TensorRT or TensorRT-RTX.

    Raises:
        EngineError: there is no such flavour.
        NotInstalledError: it is not installed.
    """
    if flavour not in FLAVOURS:
        raise EngineError(f"backend {flavour!r} builds no plans; choose one of {', '.join(FLAVOURS)}")
    try:
        return import_module(FLAVOURS[flavour])
    except ImportError as error:
        raise NotInstalledError(f"{flavour} is not installed; pip install 'mspf-pipeline[{flavour}]'") from error


def plan_key(path: Path, flavour: str, precision: str, max_batch: int = MAX_BATCH) -> PlanKey:
    """What a plan of this file for this machine depends on.

    Raises:
        EngineError: no such file, not a network, or a precision that it cannot be built in.
        NotInstalledError: there is no such flavour here.
    """
    if max_batch < 1:
        raise EngineError(f"max batch is {max_batch}; give at least 1")
    if not path.is_file():
        raise EngineError(f"{path}: no such network file; check the path")
    version = str(import_flavour(flavour).__version__)
    built_in = built_precision(path, precision)
    return PlanKey(cache.network_sha256(path), flavour, version, built_in, cuda.gpu_or_none(), max_batch)


def built_precision(path: Path, precision: str) -> str:
    """The precision that a plan of this file computes in: int8 if the file is quantised, else what is asked for.

    Raises:
        EngineError: the file does not hold what is asked for.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"{path}: TensorRT builds {', '.join(PRECISIONS)}, not {precision}; choose one of these")
    quantised = b"QuantizeLinear" in path.read_bytes()
    if quantised and precision not in ("auto", "int8"):
        raise EngineError(f"{path}: it is quantised to int8 and cannot be built in {precision}; give the float file")
    if precision == "int8" and not quantised:
        raise EngineError(f"{path}: it is not quantised; give the file that scripts/quantise.py makes of it")
    return "int8" if quantised else "f16" if precision == "auto" else precision


def build(
    path: Path,
    key: PlanKey,
    folder: Path | None = None,
    progress: Progress | None = None,
    examples: reference.Examples = reference.generated,
) -> Plan:
    """The plan of this file and key: found in the cache, or built and kept there; two builders take turns.

    Args:
        folder: the cache; default: `cache_dir()`.
        progress: called with phase, steps done, steps of it.
        examples: as in `engines.load`.

    Raises:
        EngineError: TensorRT takes no such network, or the cache cannot be written.
        GateError: the network loses too much in float16.
    """
    folder = folder or cache.cache_dir()
    place = plans.plan_path(path.stem, key, folder)
    with cache.locked(place):
        if found := plans.find(path.stem, key, folder):
            return found
        started = time.perf_counter()
        with _converted(path, key.precision, examples) as network:
            content, layers = _serialised(network, key, folder, progress)
        plan = Plan(
            place, key, cache.sha256_of(content), layers, time.perf_counter() - started, len(content), _metadata(path)
        )
        plans.write(plan, content)
    logger.info("%s: built for %s in %s, %.0f s", path.name, key.flavour, key.precision, plan.seconds)
    return plan


def _serialised(path: Path, key: PlanKey, folder: Path, progress: Progress | None) -> tuple[bytes, int]:
    """The plan's bytes, and the number of layers it was built from."""
    trt = import_flavour(key.flavour)
    log = error_log(trt)
    try:
        builder = trt.Builder(log)
    except (TypeError, RuntimeError) as error:  # what the bindings make of a null pointer
        raise EngineError(
            f"{key.flavour} cannot build here: {log.first_error or error}; it needs an NVIDIA GPU"
        ) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(path.read_bytes(), str(path)):  # the path leads to weights in other files
        why = parser.get_error(0).desc() if parser.num_errors else log.first_error
        raise EngineError(f"{path.name}: {key.flavour} does not take it: {first_line(why)}; export it again")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # f32 means f32
    for one in plans.profiles(key.max_batch):
        config.add_optimization_profile(_profile(builder, network, one, long_side(_metadata(path))))
    monitor = progress and _monitor(trt, progress)
    if monitor:
        config.progress_monitor = monitor
    with _timing_cache(config, key, folder):
        content = builder.build_serialized_network(network, config)
    if content is None:
        raise EngineError(f"{path.name}: {key.flavour} cannot build it: {first_line(log.first_error)}; export it again")
    return bytes(content), int(network.num_layers)


def _profile(builder: Any, network: Any, batches: Profile, long_side: int) -> Any:
    """One range of shapes for every input of the network."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        profile.set_shape(tensor.name, *shapes(tuple(tensor.shape), batches, long_side))
    return profile


def shapes(shape: tuple[int, ...], batches: Profile, long_side: int) -> tuple[tuple[int, ...], ...]:
    """The least, best and largest shape of an input, whose open axes are -1: batch first, then height and width.

    The best picture of open size is as wide as a camera's, 16:9.
    """
    best_height = -(-long_side * 9 // 16 // STRIDE) * STRIDE
    open_axes = [
        (batches.smallest, SHORT_SIDE, SHORT_SIDE),
        (batches.best, best_height, long_side),
        (batches.largest, long_side, long_side),
    ]
    order = {0: 0, 2: 1, 3: 2}
    return tuple(
        tuple(sides[order[axis]] if size < 0 and axis in order else size for axis, size in enumerate(shape))
        for sides in open_axes
    )


def error_log(trt: Any) -> Any:
    """TensorRT's log; it remembers the first error, which is the one that says why, and tells ours at debug level."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first_error = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.first_error = self.first_error or message
                logger.debug("TensorRT: %s", message)

    return Log()


def _monitor(trt: Any, progress: Progress) -> Any:
    """TensorRT's progress, told as phase, steps done, steps of it."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self.steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            steps = self.steps.pop(phase_name, 0)
            progress(phase_name, steps, steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self.steps.get(phase_name, step + 1))
            return True

    return Monitor()


@contextmanager
def _timing_cache(config: Any, key: PlanKey, folder: Path) -> Iterator[None]:
    """Kernel timings of earlier builds for the same GPU, and those of this one added; TensorRT-RTX takes none."""
    if key.flavour != "tensorrt":
        yield
        return
    path = folder / "plans" / f"{cache.digest({'version': key.version, 'gpu': str(key.gpu)})}.timing"
    timings = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    config.set_timing_cache(timings, ignore_mismatch=False)
    yield
    cache.write_atomically(path, bytes(timings.serialize()))


@contextmanager
def _converted(path: Path, wanted: str, examples: reference.Examples) -> Iterator[Path]:
    """The file to parse: itself, or a copy in float16 that was held to the reference on the CPU.

    ONNX Runtime computes there in float32 between rounded weights: an overflow shows at the gate on the GPU alone.
    """
    if wanted != "f16":
        yield path
        return
    from engines import onnxruntime_backend, precision  # here, since a run from a ready plan needs neither

    with tempfile.TemporaryDirectory() as scratch:
        half = Path(scratch) / path.name
        precision.to_float16(path, half)
        engine = onnxruntime_backend.load(half, "f32", 1)
        gate.prove(engine, reference.find(path, examples(engine.inputs, engine.metadata)), 3)
        yield half


def _metadata(path: Path) -> dict[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def long_side(metadata: Mapping[str, str]) -> int:
    """The longer side of the pictures that a network was made for."""
    try:
        return int(max(ast.literal_eval(metadata.get("imgsz", ""))))
    except (SyntaxError, ValueError, TypeError):
        return LONG_SIDE


def first_line(text: str) -> str:
    """What TensorRT says of the cause, without where in its own source."""
    return text.strip().splitlines()[0] if text.strip() else "it does not say why"
