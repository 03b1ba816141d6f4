"""TensorRT plans of a site's networks, or of any others: built, held to their reference and timed."""

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import engines
from engines import cache, cuda, plans, tensorrt_backend, tensorrt_builder
from engines.engine import MissingDeviceError, NotInstalledError
from engines.loading import BACKENDS, prove
from engines.plans import Plan
from pipeline.config import DetectorConfig, ReidConfig, Site
from pipeline.embedder import DEFAULT_REID
from pipeline.errors import EngineFailure
from pipeline.export_detector import resolve_detector

logger = logging.getLogger(__name__)

TIMED_BATCHES = (1, 8, 32)
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Built:
    """A plan and how fast it is: milliseconds a batch of TIMED_BATCHES, or why they are not known."""

    name: str
    plan: Plan
    latency_ms: tuple[float, ...]
    untimed: str = ""


def site_networks(site: Site) -> tuple[Path, Path]:
    """The files of a site's detector and re-ID network; a .pt is exported first.

    Raises:
        ConfigError: the detector cannot be found or exported.
    """
    reid = DEFAULT_REID if site.reid.model == "default" else Path(site.reid.model)
    return resolve_detector(site.detector.model), reid


def build_plan(
    path: Path,
    flavour: str | None,
    precision: str = "auto",
    max_batch: int = tensorrt_builder.MAX_BATCH,
    progress: tensorrt_builder.Progress | None = None,
) -> Built:
    """The plan of a network file, in the cache; where there is a GPU, proven and timed on it.

    Args:
        flavour: "tensorrt" or "tensorrt-rtx"; None: the first that is installed.

    Raises:
        EngineFailure: it cannot be built, or computes something else than its reference.
    """
    try:
        key = tensorrt_builder.plan_key(path, flavour or installed_flavour(), precision, max_batch)
        plan = tensorrt_builder.build(path, key, progress=progress)
        try:
            cuda.gpu()
        except (MissingDeviceError, NotInstalledError) as error:
            return Built(path.name, plan, (), str(error).split(";", maxsplit=1)[0])
        engine = tensorrt_backend.start(path.name, plan)
        prove(path, engine, BACKENDS[key.flavour])
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


def prepare(site: Site) -> None:
    """Build the plans that this site's networks will need and that are not there; nothing without a GPU.

    Raises:
        ConfigError: the detector cannot be found or exported.
        EngineFailure: a back end was asked for that cannot be built for.
    """
    sections: tuple[DetectorConfig | ReidConfig, ...] = (site.detector, site.reid)
    for path, settings in zip(site_networks(site), sections, strict=True):
        for flavour in _wanted_flavours(settings):
            try:
                cuda.gpu()
                key = tensorrt_builder.plan_key(path, flavour, settings.precision)
                if not plans.find_any_batch(path.stem, key, cache.cache_dir()):
                    tensorrt_builder.build(path, key)
            except (MissingDeviceError, NotInstalledError):
                continue
            except engines.EngineError as error:
                if settings.backend != "auto":
                    raise EngineFailure(str(error)) from error
                logger.warning("%s", error)
            else:
                break


def _wanted_flavours(settings: DetectorConfig | ReidConfig) -> Sequence[str]:
    return [name for name in tensorrt_builder.FLAVOURS if settings.backend in ("auto", name)]
