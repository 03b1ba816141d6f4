"""Choose the back end for a network file, and let it serve only when it is proven. A further back end is a row more."""

import json
import logging
import platform
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from engines import cache, gate, reference
from engines.engine import Array, Engine, EngineError, MissingDeviceError, NotInstalledError
from engines.reference import Examples

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "f32", "bf16", "f16")


@dataclass(frozen=True, slots=True)
class Backend:
    """A module with `load(path, precision, threads) -> Engine`, imported only when it is chosen.

    Attributes:
        requires: what to install if the module does not import.
        suffixes: the files that it runs.
        function: the module's name for `load`.
        largest: the batch up to which it is proven.
        package: whose version counts, where `requires` is an extra of ours.
    """

    module: str
    requires: str
    suffixes: tuple[str, ...]
    function: str = "load"
    largest: int = 16
    package: str = ""


BACKENDS = {  # in the order in which "auto" tries them; measured on 2 cores: OpenVINO is 1.5-2 times faster
    "tensorrt": Backend(
        "engines.tensorrt_backend", "mspf-pipeline[tensorrt]", (".onnx",), "load_tensorrt", 64, "tensorrt"
    ),
    "tensorrt-rtx": Backend(
        "engines.tensorrt_backend", "mspf-pipeline[tensorrt-rtx]", (".onnx",), "load_rtx", 64, "tensorrt-rtx"
    ),
    "openvino": Backend("engines.openvino_backend", "openvino", (".onnx",)),
    "onnxruntime": Backend("engines.onnxruntime_backend", "onnxruntime", (".onnx",)),
}


def load(
    path: str | Path,
    backend: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    *,
    proven: bool = True,
    examples: Examples = reference.generated,
) -> Engine:
    """The network in the file, ready to run and proven; `engine.backend` and `engine.precision` say how it runs.

    Args:
        path: a network file; an `.onnx` for the back ends there are.
        backend: one of BACKENDS, or "auto": the first that is installed, finds its device, runs this kind of file and
            agrees with the reference.
        precision: of the arithmetic; "auto" is the back end's fastest on this machine that needs no calibration
            (TensorRT: f16; OpenVINO: bf16 where the CPU has it, else f32), or f32 where that disagrees with the
            reference.
        threads: CPU threads for one call; 0 = one for each core.
        proven: False skips the parity gate, for measuring networks that serve nobody.
        examples: gives typical inputs (N, ...) of a network, to compare with ONNX Runtime where no reference stands
            beside the file; None if it has none.

    Raises:
        EngineError: no such file, not a network, unknown or missing back end, or a precision not to be had here.
        GateError: the network does not compute what its reference says.
    """
    path = Path(path)
    if precision not in PRECISIONS:
        raise EngineError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if threads < 0:
        raise EngineError(f"threads is {threads}; give a positive number, or 0 for all cores")
    names = candidates(path, backend)
    if not path.is_file():
        raise EngineError(f"{path}: no such network file; check the path")
    refused: list[str] = []
    for name in names:
        for chosen in ("auto", "f32") if precision == "auto" else (precision,):
            try:
                engine = _started(path, name, chosen, threads)
                if proven:
                    prove(path, engine, BACKENDS[name], examples)
                logger.info("%s: runs on %s in %s", path.name, engine.backend, engine.precision)
                return engine
            except gate.GateError as error:
                refused.append(str(error))
                last = chosen != "auto" or engine.precision == "f32"
                logger.log(logging.WARNING if last else logging.INFO, "%s", error)
                if last:
                    break
            except (ImportError, EngineError) as error:
                if isinstance(error, EngineError) and (backend != "auto" or name == names[-1]):
                    raise
                logger.log(_LEVELS.get(type(error), logging.WARNING), "%s: not on %s: %s", path.name, name, error)
                break
    if refused:
        raise gate.GateError(refused[-1])  # those before stand in the log
    missing = " or ".join(BACKENDS[name].requires for name in names)
    raise EngineError(f"{path}: no back end for it is installed; pip install {missing}")


_LEVELS = {
    MissingDeviceError: logging.DEBUG,
    NotInstalledError: logging.INFO,
    ImportError: logging.INFO,
    ModuleNotFoundError: logging.INFO,
}


def _started(path: Path, name: str, precision: str, threads: int) -> Engine:
    start = getattr(import_module(BACKENDS[name].module), BACKENDS[name].function)
    engine: Engine = start(path, precision, threads)
    return engine


def prove(path: Path, engine: Engine, row: Backend, examples: Examples = reference.generated) -> None:
    """Pass the parity gate, or find in the cache that this very combination has passed it before.

    Raises:
        GateError: it disagrees with its reference.
    """
    inputs = None if gate.golden_path(path).is_file() else examples(engine.inputs, engine.metadata)
    passed = passed_path(path, engine, row, inputs)
    if passed.is_file():
        return
    golden = reference.find(path, inputs)
    if golden is None:
        logger.warning("%s: not proven on %s: ONNX Runtime cannot run it and it has no reference", path, engine.backend)
        return
    said = gate.prove(engine, golden, row.largest)
    logger.info("%s: proven on %s in %s by %s, %s", path.name, engine.backend, engine.precision, golden.origin, said)
    try:
        cache.write_atomically(passed, json.dumps({"network": path.name, "agreement": said}).encode())
    except EngineError as error:
        logger.info("%s; the network will be proven again at the next start", error)


def passed_path(path: Path, engine: Engine, row: Backend, inputs: Array | None) -> Path:
    """The file whose presence says that this network passed on this back end, version, precision and machine."""
    facts = {
        "network": cache.sha256(path),
        "reference": reference.digest(path, inputs),
        "backend": engine.backend,
        "version": version(row.package or row.requires),
        "precision": engine.precision,
        "device": engine.metadata.get("device") or processor(),
        "plan": engine.metadata.get("plan_sha256"),
        "gate": gate.PROTOCOL,
    }
    return cache.cache_dir() / "passed" / f"{path.stem}-{cache.digest(facts)}.json"


def version(distribution: str) -> str:
    """Of an installed distribution; "unknown" where it says none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def processor() -> str:
    """The CPU's name, as Linux or else Python knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{platform.machine()} {platform.processor()}"


def candidates(path: Path, backend: str) -> list[str]:
    """Names of the back ends to try on this file, best first.

    Raises:
        EngineError: the back end is unknown, or does not run this kind of file.
    """
    if backend not in ("auto", *BACKENDS):
        raise EngineError(f"backend {backend!r} is unknown; choose one of auto, {', '.join(BACKENDS)}")
    asked = list(BACKENDS) if backend == "auto" else [backend]
    names = [name for name in asked if path.suffix.lower() in BACKENDS[name].suffixes]
    if not names:
        suffixes = sorted({suffix for name in asked for suffix in BACKENDS[name].suffixes})
        raise EngineError(f"{path}: back end {backend} does not run {path.suffix or 'such'} files; give {suffixes}")
    return names
