"""Thread settings of the CPU back ends, in the benchmark: for one process, and for several that share the cores."""

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from benchmark_timing import Row

import engines
from engines.onnxruntime_backend import OnnxRuntimeEngine
from engines.openvino_backend import OpenVinoEngine
from pipeline.embedder import DEFAULT_REID
from pipeline.export_detector import DEFAULT_DETECTOR
from pipeline.networks import threads_each

PROCESSES, BATCHES = (1, 2, 4), (1, 4, 16)
ROUNDS, SECONDS = 3, 0.2
BUDGET_S = 70.0  # of a network; then no further round begins
NETWORKS = {"MSPF as shipped": DEFAULT_REID, "detector": DEFAULT_DETECTOR}
DETECTOR_HW = (288, 480)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a back end is told to use the cores; `overrides` go to it as they are, `name` is theirs."""

    backend: str
    threads: int
    name: str = ""
    overrides: tuple[tuple[str, str], ...] = ()


def settings(processes: int, cores: int) -> list[Setting]:
    """Those worth comparing for so many processes: all cores for each, its part of them, or one thread."""
    some = sorted({cores, max(1, cores // processes), 1})
    plain = [Setting(backend, threads) for backend in ("openvino", "onnxruntime") for threads in some]
    if processes > 1:
        return plain
    return [
        *plain,
        Setting("openvino", cores, "pinned", (("ENABLE_CPU_PINNING", "YES"),)),
        Setting("openvino", cores, "2 streams", (("NUM_STREAMS", "2"),)),
        Setting("onnxruntime", cores, "spinning", (("session.intra_op.allow_spinning", "1"),)),
    ]


@dataclass(frozen=True, slots=True)
class Case:
    """What all processes do at once."""

    processes: int
    setting: Setting
    batch: int


@dataclass(frozen=True, slots=True)
class Stint:
    """What one process did in SECONDS."""

    calls: int
    wall_s: float
    core_s: float


def threads(batches: tuple[int, ...], networks: Mapping[str, Path] = NETWORKS) -> list[Row]:
    """Images a second of all processes together, and core time an image, for each setting; all processes do the same.

    The last column says what counts on a machine that others use, too.
    """
    cores = threads_each(1)
    cases = [
        Case(processes, setting, batch)
        for processes in PROCESSES
        for setting in settings(processes, cores)
        for batch in batches
    ]
    rows: list[Row] = []
    for name, path in networks.items():
        with workers(max(PROCESSES), path) as connections:
            stints: dict[Case, list[list[Stint]]] = {case: [] for case in cases}
            until, rounds = time.monotonic() + BUDGET_S, 0
            while not rounds or (rounds < ROUNDS and time.monotonic() < until):
                for case in cases:
                    stints[case].append(together(connections[: case.processes], case))
                rounds += 1
        rows += [{"network": name, **case_row(case, stints[case])} for case in cases]
    return rows


def case_row(case: Case, rounds: list[list[Stint]]) -> Row:
    """Medians over the rounds."""
    batch = case.batch
    return {
        "back end": case.setting.backend,
        "processes": case.processes,
        "threads of each": f"{case.setting.threads} {case.setting.name}".strip(),
        "batch": batch,
        "images/s": statistics.median(sum(batch * one.calls / one.wall_s for one in each) for each in rounds),
        "ms a call": 1000 * statistics.median(one.wall_s / one.calls for each in rounds for one in each),
        "core ms an image": 1000
        * statistics.median(one.core_s / (batch * one.calls) for each in rounds for one in each),
    }


def together(connections: list[Connection], case: Case) -> list[Stint]:
    """What each process does when all start at once."""
    for connection in connections:
        connection.send(case)
    return [connection.recv() for connection in connections]


@contextmanager
def workers(count: int, path: Path) -> Iterator[list[Connection]]:
    """Processes that run the network in the settings they are told."""
    spawn = get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(count)]
    processes = [spawn.Process(target=serve, args=(theirs, path), daemon=True) for _, theirs in pipes]
    for process, (_, theirs) in zip(processes, pipes, strict=True):
        process.start()
        theirs.close()  # so that a worker that dies is heard of
    try:
        yield [ours for ours, _ in pipes]
    finally:
        for ours, _ in pipes:
            with suppress(OSError):  # it died, as its traceback says
                ours.send(None)
        for process in processes:
            process.join()


def serve(connection: Connection, path: Path) -> None:
    """A process that runs its network for SECONDS whenever it is told a case, until it is told None."""
    loaded: dict[Setting, engines.Engine] = {}
    while told := heard(connection):
        engine = loaded[told.setting] = loaded.get(told.setting) or load(path, told.setting)
        sides = [a or b for a, b in zip(engine.inputs[0].shape[2:], DETECTOR_HW, strict=True)]
        images = np.random.default_rng(0).random((told.batch, 3, *sides), np.float32)
        engine(images)  # warms up
        calls, started, core = 0, time.perf_counter(), time.process_time()
        while not calls or time.perf_counter() - started < SECONDS:
            engine(images)
            calls += 1
        stint = Stint(calls, time.perf_counter() - started, time.process_time() - core)
        with suppress(OSError):  # the benchmark was ended; the next `heard` says so
            connection.send(stint)


def heard(connection: Connection) -> Case | None:
    """The next case; None, too, where the benchmark itself was ended."""
    try:
        case: Case | None = connection.recv()
    except (EOFError, OSError):
        return None
    return case


def load(path: Path, setting: Setting) -> engines.Engine:
    """The network in a setting, in the precision that the back end takes by itself."""
    if setting.backend == "openvino":
        return OpenVinoEngine(path, "auto", setting.threads, dict(setting.overrides))
    return OnnxRuntimeEngine(path, setting.threads, dict(setting.overrides))
