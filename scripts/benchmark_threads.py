"""Thread settings of the CPU back ends, in the benchmark: one worker process, and more of them than there are cores."""

import os
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
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

ROUNDS, SECONDS = 3, 0.5
NETWORKS = {"MSPF as shipped": DEFAULT_REID, "detector": DEFAULT_DETECTOR}
DETECTOR_HW = (288, 480)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a back end is told to use the cores: `threads` 0 is one a core, `overrides` go to it as they are."""

    backend: str
    threads: int
    overrides: Mapping[str, str] = field(default_factory=dict)


SETTINGS = {
    "openvino": Setting("openvino", 0),
    "openvino, 1 thread": Setting("openvino", 1),
    "openvino, pinned": Setting("openvino", 0, {"ENABLE_CPU_PINNING": "YES"}),
    "openvino, 1 thread, pinned": Setting("openvino", 1, {"ENABLE_CPU_PINNING": "YES"}),
    "openvino, 2 streams": Setting("openvino", 0, {"NUM_STREAMS": "2"}),
    "onnxruntime": Setting("onnxruntime", 0),
    "onnxruntime, 1 thread": Setting("onnxruntime", 1),
    "onnxruntime, spinning": Setting("onnxruntime", 0, {"session.intra_op.allow_spinning": "1"}),
}


@dataclass(frozen=True, slots=True)
class Stint:
    """What one process did in SECONDS."""

    calls: int
    wall_s: float
    core_s: float


def threads(batches: tuple[int, ...]) -> list[Row]:
    """Images a second of all processes together, and core time an image, for each setting; all processes do the same.

    The last column says what counts on a machine that others use, too.
    """
    cores = os.cpu_count() or 1
    rows: list[Row] = []
    for name, path in NETWORKS.items():
        with workers(2 * cores, path) as connections:
            cases = list(product(SETTINGS, sorted({1, cores, 2 * cores}), batches))
            stints: dict[tuple[str, int, int], list[list[Stint]]] = {case: [] for case in cases}
            for _ in range(ROUNDS):
                for case in cases:
                    stints[case].append(together(connections[: case[1]], case[0], case[2]))
        rows += [{"network": name, **setting_row(*case, stints[case])} for case in cases]
    return rows


def setting_row(setting: str, processes: int, batch: int, rounds: list[list[Stint]]) -> Row:
    """Medians over the rounds."""
    return {
        "setting": setting,
        "processes": processes,
        "batch": batch,
        "images/s": statistics.median(sum(batch * one.calls / one.wall_s for one in each) for each in rounds),
        "ms a call": 1000 * statistics.median(one.wall_s / one.calls for each in rounds for one in each),
        "core ms an image": 1000
        * statistics.median(one.core_s / (batch * one.calls) for each in rounds for one in each),
    }


def together(connections: list[Connection], setting: str, batch: int) -> list[Stint]:
    """What each process does when all start at once."""
    for connection in connections:
        connection.send((setting, batch))
    return [connection.recv() for connection in connections]


@contextmanager
def workers(count: int, path: Path) -> Iterator[list[Connection]]:
    """Processes that have the network loaded in every setting."""
    spawn = get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(count)]
    processes = [spawn.Process(target=serve, args=(theirs, path), daemon=True) for _, theirs in pipes]
    for process, (_, theirs) in zip(processes, pipes, strict=True):
        process.start()
        theirs.close()  # so that a worker that dies is heard of
    try:
        for ours, _ in pipes:
            ours.recv()
        yield [ours for ours, _ in pipes]
    finally:
        for ours, _ in pipes:
            ours.send(None)
        for process in processes:
            process.join()


def serve(connection: Connection, path: Path) -> None:
    """A process that runs its network for SECONDS whenever it is told a setting and a batch."""
    loaded = {name: load(path, setting) for name, setting in SETTINGS.items()}
    sides = [a or b for a, b in zip(loaded["openvino"].inputs[0].shape[2:], DETECTOR_HW, strict=True)]
    connection.send("ready")
    while told := connection.recv():
        name, batch = told
        images = np.random.default_rng(0).random((batch, 3, *sides), np.float32)
        loaded[name](images)
        calls, started, core = 0, time.perf_counter(), time.process_time()
        while not calls or time.perf_counter() - started < SECONDS:
            loaded[name](images)
            calls += 1
        connection.send(Stint(calls, time.perf_counter() - started, time.process_time() - core))


def load(path: Path, setting: Setting) -> engines.Engine:
    """The network in a setting, in the precision that the back end takes by itself."""
    if setting.backend == "openvino":
        return OpenVinoEngine(path, "auto", setting.threads, setting.overrides)
    return OnnxRuntimeEngine(path, setting.threads, setting.overrides)
