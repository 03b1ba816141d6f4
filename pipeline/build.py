"""What happens before the first frame: networks proven, TensorRT plans built, held to their reference and timed."""

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import engines
from engines import cuda, plans, tensorrt_backend, tensorrt_builder
from engines.engine import MissingDeviceError, NotInstalledError
from engines.loading import BACKENDS, prove
from engines.plans import Plan
from pipeline.config import Site
from pipeline.embedder import resolve_reid
from pipeline.errors import EngineFailure, PipelineError
from pipeline.export_detector import resolve_detector
from pipeline.job import start_deaf
from pipeline.networks import load_networks
from pipeline.pictures import example_pictures

log = logging.getLogger(__name__)

TIMED_BATCHES = (1, 8, 32)
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Built:
    """A plan and how fast it is: milliseconds a batch of TIMED_BATCHES, or why they are not known."""

    name: str
    plan: Plan
    latency_ms: tuple[float, ...]
    untimed: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A network, and how it is to run.

    Attributes:
        backend: as in cams.yaml; for a plan "tensorrt", "tensorrt-rtx" or "auto", the first of these that is installed.
        precision: "f16", "f32", "int8" of a quantised file, or "auto".
    """

    path: Path
    backend: str = "auto"
    precision: str = "auto"

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on a CPU in any case, and needs no plan."""
        row = BACKENDS.get(self.backend)
        return (row is not None and not row.on_gpu) or self.precision not in tensorrt_builder.PRECISIONS


def site_networks(site: Site) -> tuple[Wanted, Wanted]:
    """A site's detector and re-ID network as its settings say; a .pt is exported first.

    Raises:
        ConfigError: the detector cannot be found or exported, or `reid.model` names no network.
    """
    detector, reid = site.detector, site.reid
    return (
        Wanted(resolve_detector(detector.model), detector.backend, detector.precision),
        Wanted(resolve_reid(reid.model), reid.backend, reid.precision),
    )


def build_plan(
    wanted: Wanted,
    max_batch: int = tensorrt_builder.MAX_BATCH,
    progress: tensorrt_builder.Progress | None = None,
) -> Built:
    """The plan of a network, in the cache; where there is a GPU, proven and timed on it.

    Raises:
        EngineFailure: it cannot be built, or computes something else than its reference.
    """
    path = wanted.path
    try:
        flavour = installed_flavour() if wanted.backend == "auto" else wanted.backend
        key = tensorrt_builder.plan_key(path, flavour, wanted.precision, max_batch)
        plan = tensorrt_builder.build(path, key, progress=progress, examples=example_pictures)
        try:
            cuda.gpu()
        except (MissingDeviceError, NotInstalledError) as error:
            return Built(path.name, plan, (), str(error).split(";", maxsplit=1)[0])
        engine = tensorrt_backend.start(path.name, plan)
        prove(path, engine, BACKENDS[key.flavour], example_pictures)
        return Built(path.name, plan, tuple(latency_ms(engine, batch) for batch in TIMED_BATCHES))
    except engines.EngineError as error:
        raise EngineFailure(str(error)) from error


def installed_flavour() -> str:
    """TensorRT if it is installed, else TensorRT-RTX.

    Raises:
        NotInstalledError: neither is.
    """
    for flavour in tensorrt_builder.FLAVOURS:
        try:
            tensorrt_builder.import_flavour(flavour)
        except NotInstalledError:
            continue
        return flavour
    raise NotInstalledError(
        "no TensorRT is installed; pip install 'mspf-pipeline[tensorrt]' (or [tensorrt-rtx] for RTX GPUs)"
    )


def latency_ms(engine: engines.Engine, batch: int) -> float:
    """Median milliseconds of a call with pictures on the host, after warming up."""
    shape = tuple(side or -1 for side in engine.inputs[0].shape)
    long_side = tensorrt_builder.long_side(engine.metadata)
    pictures = np.random.default_rng(0).random(
        tensorrt_builder.shapes(shape, plans.Profile(batch, batch, batch), long_side)[1], np.float32
    )
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        engine(pictures)
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken[ROUNDS // 2 :])


def prepare(site: Site, open_log: Callable[[], None]) -> None:
    """Load a site's networks once in a process of its own, which ends.

    So plans are built, kernels compiled and networks proven before a worker needs them, which is killed when it is
    silent for long.

    Args:
        open_log: called first in that process, so that what is proven and chosen is told in the run's log.

    Raises:
        ConfigError, EngineFailure: the networks cannot be loaded.
    """
    spawn = get_context("spawn")
    answer, tell = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_load_and_tell, args=(site, open_log, tell), daemon=True)
    start_deaf(process)
    tell.close()
    try:
        failure: PipelineError | None = answer.recv()
    except EOFError as error:
        process.join()  # its end of the pipe is closed because it ends
        raise EngineFailure(
            f"the process that loads the networks was ended from outside (exit status {process.exitcode}: memory, or a "
            "GPU's driver); give a smaller network or another backend"
        ) from error
    finally:
        process.kill()
        process.join()
    if failure:
        raise failure


def _load_and_tell(site: Site, open_log: Callable[[], None], connection: Connection) -> None:
    failure: PipelineError | None = None
    try:
        open_log()
        load_networks(site)
    except PipelineError as error:
        failure = error
    except Exception as error:  # top of the process
        log.info("unexpected failure", exc_info=True)  # a line for the screen comes below
        failure = EngineFailure(
            f"the networks cannot be loaded: {type(error).__name__}: {error}; pipeline.log in the run directory says "
            "where; give another network or backend"
        )
    connection.send(failure)
