"""Where a network's time goes, in the benchmark: kinds of layer beside the machine's roof, the whole run in sum."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from benchmark_timing import Row

RUNS, SHOWN = 15, 6


@dataclass(frozen=True, slots=True)
class Roof:
    """What one core reaches at best: multiply-adds a second in a large matrix product, bytes a second in a copy."""

    macs: float
    bytes: float

    def seconds(self, work: "Work") -> float:
        """The least that a layer can take: it multiplies at full speed, or moves its tensors at full speed."""
        return max(work.macs / self.macs, work.bytes / self.bytes)


@dataclass(frozen=True, slots=True)
class Work:
    """One node of a run: its kind, what it took, its multiply-adds, and the bytes that it reads and writes."""

    kind: str
    seconds: float
    macs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a network, and its nodes; what they leave of `seconds` lies between them."""

    seconds: float
    nodes: tuple[Work, ...]


def layer_rows(name: str, path: Path, shape: tuple[int, int, int], roof: Roof) -> list[Row]:
    """The kinds of layer that lose most against the roof, all others, what lies between them, and the whole run."""
    run = quickest_run(path, shape)
    kinds: dict[str, list[Work]] = defaultdict(list)
    for node in run.nodes:
        kinds[node.kind].append(node)
    order = sorted(kinds, key=lambda kind: sum(roof.seconds(node) - node.seconds for node in kinds[kind]))
    others = [node for kind in order[SHOWN:] for node in kinds[kind]]
    between = Work("", run.seconds - sum(node.seconds for node in run.nodes), 0, 0)
    parts = {kind: kinds[kind] for kind in order[:SHOWN]}
    parts |= {f"{len(order[SHOWN:])} other kinds": others, "between the layers": [between]}
    parts["whole run"] = [*run.nodes, between]
    return [
        {"network": name, "layer": label, "nodes": sum(bool(node.kind) for node in nodes), **against(nodes, run, roof)}
        for label, nodes in parts.items()
    ]


def against(nodes: Iterable[Work], run: Run, roof: Roof) -> Row:
    """What nodes take together beside the least that they can."""
    nodes = list(nodes)
    taken, least = sum(node.seconds for node in nodes), sum(map(roof.seconds, nodes))
    rate = 1 / taken if taken else float("nan")
    return {
        "ms": 1000 * taken,
        "share": taken / run.seconds,
        "ms at the roof": 1000 * least,
        "of matrix product": rate * sum(node.macs for node in nodes) / roof.macs,
        "of copy": rate * sum(node.bytes for node in nodes) / roof.bytes,
    }


def quickest_run(path: Path, shape: tuple[int, int, int], *, padded: bool = True) -> Run:
    """One thread, one picture on ONNX Runtime: of some runs the least time of each node, and the least between them.

    So what others do on the machine for a moment does not count. Profiling itself does: a few us a node, between them.

    Args:
        padded: as it serves, with channels padded to full vectors; False keeps those of the file, to count its work.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.enable_profiling, options.log_severity_level = 1, True, 4
        if not padded:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.profile_file_prefix = f"{folder}/profile"
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        images = np.random.default_rng(0).random((1, *shape), np.float32)
        for _ in range(RUNS):
            session.run(None, {session.get_inputs()[0].name: images})
        events = json.loads(Path(session.end_profiling()).read_text())
    runs = [
        (event, [one for one in events if one["cat"] == "Node" and 0 <= one["ts"] - event["ts"] < event["dur"]])
        for event in events
        if event["name"] == "model_run"
    ]
    nodes = [min(same, key=lambda one: int(one["dur"])) for same in zip(*(each for _, each in runs), strict=True)]
    between = min(run["dur"] - sum(one["dur"] for one in each) for run, each in runs)
    work_done = tuple(work(one["args"], one["dur"] / 1e6) for one in nodes)
    return Run(between / 1e6 + sum(one.seconds for one in work_done), work_done)


def work(facts: Mapping[str, Any], seconds: float) -> Work:
    """What a profiled node does, as ONNX Runtime tells it; others than convolutions and products only move tensors."""
    operator = str(facts["op_name"])
    sides = [next(iter(one.values())) for one in facts["input_type_shape"]]
    written = prod(next(iter(facts["output_type_shape"][0].values()))) if facts["output_type_shape"] else 0
    moved = sum(int(facts[f"{part}_size"]) for part in ("activation", "parameter", "output"))
    if "Conv" in operator and len(sides) > 1 and len(sides[1]) == 4:
        weights = sides[1]
        channels = "depthwise" if weights[1] == 1 and weights[0] > 1 else f"{weights[1]} to"
        kind = f"{operator} {weights[2]}x{weights[3]}, {channels} {weights[0]}"
        return Work(kind, seconds, written * prod(weights[1:]), moved)
    if operator in ("MatMul", "FusedMatMul", "Gemm"):
        return Work(operator, seconds, written * summed_axis(sides, written), moved)
    return Work(operator, seconds, 0, moved)


def summed_axis(sides: Sequence[Sequence[int]], written: int) -> int:
    """Length of the axis that a matrix product sums over, which may be any if a factor is transposed.

    (b, M, K) by (b, K, N) into (b, M, N): the sizes give b K^2, or K^2 where the second has no b. ONNX Runtime does not
    tell of a second factor that it packed beforehand; then the first is not transposed.
    """
    if len(sides) < 2 or len(sides[1]) < 2:
        return sides[0][-1]
    batch = prod(sides[0][:-2]) if len(sides[1]) > 2 else 1
    return round((prod(sides[0]) * prod(sides[1]) / (written * batch)) ** 0.5)
