"""Choose the back end for a network file, and let it serve only when it is proven. A further back end is a row more."""

import json
import logging
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from engines import cache, gate, quickest, reference
from engines.engine import Array, Engine, EngineError, MissingDeviceError, NotInstalledError
from engines.reference import Examples

logger = logging.getLogger(__name__)

REVISION = 5  # of how the back ends compile a network; with another, nothing remembered counts
PRECISIONS = ("auto", "f32", "bf16", "f16")


@dataclass(frozen=True, slots=True)
class Backend:
    """A module with `load(path, precision, threads) -> Engine`, imported only when it is chosen.

    Attributes:
        requires: what to install if the module does not import.
        suffixes: the files that it runs.
        function: the module's name for `load`.
        on_gpu: it runs there, and is the best where it runs.
        package: whose version counts, where `requires` is an extra of ours.
    """

    module: str
    requires: str
    suffixes: tuple[str, ...]
    function: str = "load"
    on_gpu: bool = False
    package: str = ""

    @property
    def largest(self) -> int:
        """The batch up to which it is proven at least."""
        return 64 if self.on_gpu else 16


BACKENDS = {  # in the order in which "auto" tries them
    "tensorrt": Backend(
        "engines.tensorrt_backend", "mspf-pipeline[tensorrt]", (".onnx",), "load_tensorrt", True, "tensorrt"
    ),
    "tensorrt-rtx": Backend(
        "engines.tensorrt_backend", "mspf-pipeline[tensorrt-rtx]", (".onnx",), "load_rtx", True, "tensorrt-rtx"
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
    largest: int = 0,
) -> Engine:
    """The network in the file, ready to run and proven; `engine.backend` and `engine.precision` say how it runs.

    Args:
        path: a network file; an `.onnx` for the back ends there are.
        backend: one of BACKENDS, or "auto": of those that are installed, find their device, run this kind of file and
            agree with the reference the first on a GPU, else the quickest on this CPU, measured once and remembered.
        precision: of the arithmetic; "auto" is the back end's fastest on this machine that needs no calibration
            (TensorRT: f16; OpenVINO: bf16 where the CPU has it, else f32), or f32 where that disagrees with the
            reference.
        threads: CPU threads for one call; 0 = one for each core.
        proven: False skips the parity gate, for measuring networks that serve nobody.
        examples: gives typical inputs (N, ...) of a network, to compare with ONNX Runtime where no reference stands
            beside the file; None if it has none.
        largest: samples in a call, where that may be more than the back end is proven for anyway.

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
    refused: dict[str, EngineError] = {}
    asked = Asked(path, precision, threads, proven, examples, largest)
    engine = _quickest(asked, names, refused) if backend == "auto" and proven else _first(asked, names, refused)
    for name, error in refused.items():
        logger.log(logging.WARNING if engine else logging.INFO, "%s: not on %s: %s", path.name, name, error)
    if engine:
        logger.info("%s: runs on %s in %s", path.name, engine.backend, engine.precision)
        return engine
    if refused:
        raise together(refused)
    missing = " or ".join(BACKENDS[name].requires for name in names)
    raise EngineError(f"{path}: no back end for it is installed; pip install {missing}")


def together(refused: Mapping[str, EngineError]) -> EngineError:
    """What all back ends say of a network that none of them takes; of the last one's kind."""
    *_, last = refused.values()
    reasons = [(name, str(why)) for name, why in refused.items()]
    if len({why for _, why in reasons}) == 1:
        return last
    return type(last)("; ".join(f"{name}: {why}" for name, why in reasons))


@dataclass(frozen=True, slots=True)
class Asked:
    """What `load` was asked for, but for the back end."""

    path: Path
    precision: str
    threads: int
    proven: bool
    examples: Examples
    largest: int


def _first(asked: Asked, names: Sequence[str], refused: dict[str, EngineError]) -> Engine | None:
    return next((engine for _, engine in _serving(asked, names, refused)), None)


def _quickest(asked: Asked, names: Sequence[str], refused: dict[str, EngineError]) -> Engine | None:
    """The first on a GPU, else the one known to be the quickest, else whichever is when all are measured."""
    place = choice_path(asked)
    known = quickest.remembered(place) or quickest.Choice("", "")
    order = sorted(names, key=lambda name: 0 if BACKENDS[name].on_gpu else 1 if name == known.backend else 2)
    serving = _serving(asked, order, refused, known)
    name, engine = next(serving, ("", None))
    if engine is None or name == known.backend or BACKENDS[name].on_gpu:
        return engine
    inputs = typical_inputs(asked, engine)
    rivals = {name: engine, **(dict(serving) if inputs is not None else {})}
    if inputs is None or len(rivals) == 1:
        return engine
    return rivals[quickest.choose(asked.path.name, rivals, inputs, place)]


def _serving(
    asked: Asked, names: Sequence[str], refused: dict[str, EngineError], known: quickest.Choice | None = None
) -> Iterator[tuple[str, Engine]]:
    """Back ends that run the network and agree with its reference, loaded one by one; `refused` gets why others do not.

    Args:
        known: one that is known to agree; where that is in f32, nothing else is tried.

    Raises:
        EngineError: the only one does not.
    """
    for name in names:
        settled = known is not None and known == quickest.Choice(name, "f32")
        try:
            yield name, _agreeing(asked, name, "f32" if settled else asked.precision)
        except (ImportError, EngineError) as error:
            if isinstance(error, EngineError) and len(names) == 1:
                raise
            if isinstance(error, EngineError) and not isinstance(error, MissingDeviceError | NotInstalledError):
                refused[name] = error
                continue
            level = logging.DEBUG if isinstance(error, MissingDeviceError) else logging.INFO
            logger.log(level, "%s: not on %s: %s", asked.path.name, name, error)


def _agreeing(asked: Asked, name: str, precision: str) -> Engine:
    """The network on one back end; where the precision was left to that and disagrees, in f32.

    TensorRT holds its float16 copy to the reference before it builds, so a start can disagree, too.
    """
    start = getattr(import_module(BACKENDS[name].module), BACKENDS[name].function)
    engine: Engine | None = None
    try:
        engine = start(asked.path, precision, asked.threads)
        if asked.proven:
            prove(asked.path, engine, BACKENDS[name], asked.examples, asked.largest)
    except gate.GateError as error:
        if precision != "auto" or (engine and engine.precision in ("f32", "int8")):
            raise
        logger.info("%s", error)
        return _agreeing(asked, name, "f32")
    return engine


def prove(path: Path, engine: Engine, row: Backend, examples: Examples = reference.generated, largest: int = 0) -> None:
    """Pass the parity gate, or find in the cache that this very combination has passed it before.

    Args:
        largest: as in `load`.

    Raises:
        GateError: it disagrees with its reference.
    """
    inputs = None if gate.golden_path(path).is_file() else examples(engine.inputs, engine.metadata)
    largest = max(largest, row.largest)
    passed = passed_path(path, engine, row, inputs, largest)
    if passed.is_file():
        return
    golden = reference.find(path, inputs)
    said = gate.prove(engine, golden, largest)
    logger.info("%s: proven on %s in %s by %s, %s", path.name, engine.backend, engine.precision, golden.origin, said)
    try:
        cache.write_atomically(passed, json.dumps({"network": path.name, "agreement": said}).encode())
    except EngineError as error:
        logger.info("%s; the network will be proven again at the next start", error)


def passed_path(path: Path, engine: Engine, row: Backend, inputs: Array | None, largest: int) -> Path:
    """The file whose presence says that this network passed on this back end, version, precision and machine."""
    facts = {
        "network": cache.network_sha256(path),
        "reference": reference.digest(path, inputs),
        "backend": engine.backend,
        "version": version(row.package or row.requires),
        "precision": engine.precision,
        "device": engine.metadata.get("device") or processor(),
        "plan": engine.metadata.get("plan_sha256"),
        "largest": largest,
        "gate": [REVISION, *gate.PROTOCOL],
    }
    return cache.cache_dir() / "passed" / f"{path.stem}-{cache.digest(facts)}.json"


def typical_inputs(asked: Asked, engine: Engine) -> Array | None:
    """Pictures (N, ...) to time a network with; None if nobody knows any."""
    beside = gate.golden_path(asked.path)
    return gate.read_golden(beside).inputs if beside.is_file() else asked.examples(engine.inputs, engine.metadata)


def choice_path(asked: Asked) -> Path:
    """The file that says which back end is the quickest for this network, precision, threads and machine."""
    facts = {
        "network": cache.network_sha256(asked.path),
        "reference": reference.digest(asked.path, None),
        "versions": {name: version(row.package or row.requires) for name, row in BACKENDS.items()},
        "precision": asked.precision,
        "threads": asked.threads or os.cpu_count(),
        "device": processor(),
        "gate": [REVISION, *gate.PROTOCOL],
    }
    return cache.cache_dir() / "quickest" / f"{asked.path.stem}-{cache.digest(facts)}.json"


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
