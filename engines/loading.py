"""Choose the back end for a network file. A further back end is one more row of BACKENDS."""

import logging
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from engines.engine import Engine, EngineError

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "f32", "bf16", "f16")


@dataclass(frozen=True, slots=True)
class Backend:
    """A module with `load(path, precision, threads) -> Engine`, imported only when it is chosen.

    Attributes:
        requires: what to install if the module does not import.
        suffixes: the files that it runs.
    """

    module: str
    requires: str
    suffixes: tuple[str, ...]


BACKENDS = {  # in the order in which "auto" tries them; measured on 2 cores: OpenVINO is 1.5-2 times faster
    "openvino": Backend("engines.openvino_backend", "openvino", (".onnx",)),
    "onnxruntime": Backend("engines.onnxruntime_backend", "onnxruntime", (".onnx",)),
}


def load(path: str | Path, backend: str = "auto", precision: str = "auto", threads: int = 0) -> Engine:
    """The network in the file, ready to run; `engine.backend` and `engine.precision` say how.

    Args:
        path: a network file; an `.onnx` for the back ends there are.
        backend: one of BACKENDS, or "auto": the first that is installed and runs this kind of file.
        precision: of the arithmetic; "auto" is the back end's fastest on this machine that needs no calibration
            (OpenVINO: bf16 where the CPU has it, else f32).
        threads: CPU threads for one call; 0 = one for each core.

    Raises:
        EngineError: no such file, not a network, unknown or missing back end, or a precision not to be had here.
    """
    path = Path(path)
    if precision not in PRECISIONS:
        raise EngineError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if threads < 0:
        raise EngineError(f"threads is {threads}; give a positive number, or 0 for all cores")
    names = candidates(path, backend)
    if not path.is_file():
        raise EngineError(f"{path}: no such network file; check the path")
    for name in names:
        try:
            module = import_module(BACKENDS[name].module)
        except ImportError as error:
            logger.info("%s: back end %s is not installed (%s)", path.name, name, error)
            continue
        engine: Engine = module.load(path, precision, threads)
        logger.info("%s: runs on %s in %s", path.name, engine.backend, engine.precision)
        return engine
    missing = " or ".join(BACKENDS[name].requires for name in names)
    raise EngineError(f"{path}: no back end for it is installed; pip install {missing}")


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
