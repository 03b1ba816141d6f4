"""The networks in the benchmark: back ends x precisions x batches, against torch, OSNet and the machine's roof."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from benchmark_timing import Row, Timing, in_turn
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import engines
from engines.precision import to_int8
from mspf.complexity import count_macs
from mspf.export import RunTimeNetwork, export_onnx
from mspf.network import MSPF, MSPFConfig
from mspf.osnet import OSNet
from pipeline.export_detector import DEFAULT_DETECTOR

SIZE_HW = (256, 128)
DETECTOR_HW = (288, 480)
BASELINE = "OSNet x1.0"
ROOF_SIDE = 1024
COPIED = 1 << 26  # numbers


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network to time.

    Attributes:
        shape: of one picture; macs: multiply-adds for it, 0 where nobody counted them.
        module: the same in torch, None for a file alone.
    """

    path: Path
    shape: tuple[int, int, int]
    macs: int
    module: nn.Module | None


def candidates(folder: Path, int8: bool, files: Mapping[str, Path]) -> dict[str, Candidate]:
    """MSPF and OSNet with random weights (speed does not depend on them), the detector, and the files named."""
    torch.manual_seed(0)
    shape = (3, *SIZE_HW)
    networks = {
        "MSPF x0.25": MSPF(MSPFConfig(width=0.25, pool_first=True)),
        "MSPF x1.0": MSPF(MSPFConfig(pool_first=True)),
        BASELINE: OSNet(),
    }
    found = {}
    for name, network in networks.items():
        path = folder / f"{name.replace(' ', '_')}.onnx"
        export_onnx(network.eval().requires_grad_(False), path, SIZE_HW, {"kind": "reid"})
        module = RunTimeNetwork(network).eval()
        found[name] = Candidate(path, shape, count_macs(module, torch.zeros(1, *shape)), module)
        if int8:
            noise = np.random.default_rng(0).uniform(0, 255, (1, *shape)).astype(np.float32)
            to_int8(path, quantised := path.with_suffix(".int8.onnx"), [noise])
            found[f"{name} int8"] = Candidate(quantised, shape, found[name].macs, None)
    found["detector"] = Candidate(DEFAULT_DETECTOR, (3, *DETECTOR_HW), 0, None)
    for name, path in files.items():
        sides = engines.load(path, "onnxruntime", proven=False).inputs[0].shape[1:]
        found[name] = Candidate(path, (3, sides[1] or DETECTOR_HW[0], sides[2] or DETECTOR_HW[1]), 0, None)
    return found


def networks(int8: bool, files: Mapping[str, Path], batches: tuple[int, ...], threads: int) -> list[Row]:
    """Times, ratios, and shares of the roof; ratios and shares are of core time, which others disturb least."""
    with tempfile.TemporaryDirectory() as folder:
        known = candidates(Path(folder), int8, files)
        calls: dict[tuple[str, str, int], Callable[[], object]] = {}
        for name, one in known.items():
            for batch in batches:
                images = np.random.default_rng(0).uniform(0, 255, (batch, *one.shape)).astype(np.float32)
                calls |= {(name, label, batch): call for label, call in runners(one, images, threads).items()}
        roofs = {("roof", label, 1): call for label, call in roof_calls(Path(folder), threads).items()}
        taken = in_turn(calls | roofs)
    return [network_row(key, known, taken) for key in calls]


def runners(one: Candidate, images: engines.Array, threads: int) -> dict[str, Callable[[], object]]:
    """The ways to run a network here, by name."""
    calls: dict[str, Callable[[], object]] = {}
    if one.module is not None:
        module, tensor = one.module, torch.from_numpy(images)
        torch.set_num_threads(threads or torch.get_num_threads())
        calls["torch f32"] = lambda: torch.inference_mode()(module)(tensor)
    for backend, precision in ways():
        engine = engines.load(one.path, backend, precision, threads, proven=False)
        calls[f"{backend} {precision}"] = lambda e=engine: e(images)
    return calls


def ways() -> list[tuple[str, str]]:
    """Back ends and precisions of this CPU; a quantised file multiplies in int8, and the rest of it in these."""
    best = engines.load(DEFAULT_DETECTOR, "openvino", proven=False).precision
    return [("onnxruntime", "f32"), *(("openvino", precision) for precision in sorted({"f32", best}, reverse=True))]


def roof_calls(folder: Path, threads: int) -> dict[str, Callable[[], object]]:
    """A product of square matrices on every back end: the most that a network can reach there."""
    weights = np.random.default_rng(0).standard_normal((ROOF_SIDE, ROOF_SIDE)).astype(np.float32)
    shape = [None, ROOF_SIDE, ROOF_SIDE]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("a", "c")]
    product = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([product], "roof", ends[:1], ends[1:], [numpy_helper.from_array(weights, "b")])
    path = folder / "roof.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    loaded = {way: engines.load(path, *way, threads, proven=False) for way in ways()}
    return {" ".join(way): lambda e=engine: e(weights[None]) for way, engine in loaded.items()}


def network_row(
    key: tuple[str, str, int], known: Mapping[str, Candidate], taken: Mapping[tuple[str, str, int], Timing]
) -> Row:
    """One line of the table; a ratio without its partner, or to an OSNet of other input, is nan."""
    name, way, batch = key
    core, macs, nan = taken[key].core_s / batch, known[name].macs, Timing(float("nan"), float("nan"))
    roof = taken.get(("roof", way, 1), nan)
    baseline = BASELINE if known[name].shape == known[BASELINE].shape else ""
    return {
        "network": name,
        "way": way,
        "batch": batch,
        "ms an image": 1000 * taken[key].wall_s / batch,
        "core ms": 1000 * core,
        "images/s": batch / taken[key].wall_s,
        "x torch": core / (taken.get((name, "torch f32", batch), nan).core_s / batch),
        "x OSNet same way": core / (taken.get((baseline, way, batch), nan).core_s / batch),
        "x OSNet ORT f32": core / (taken.get((baseline, "onnxruntime f32", batch), nan).core_s / batch),
        "share of roof": macs / core / (ROOF_SIDE**3 / roof.core_s) if macs else float("nan"),
    }


def roof(threads: int) -> list[Row]:
    """What this machine reaches at best: a large matrix product on every back end, and a large copy."""
    source, target = np.ones(COPIED, np.uint8), np.zeros(COPIED, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        calls = roof_calls(Path(folder), threads)
        taken = in_turn({**calls, "copy": lambda: np.copyto(target, source)})
    product, copy = 2e-9 * ROOF_SIDE**3, 2e-9 * COPIED
    reached = {f"matrix product, {way}, GFLOP/s": product / taken[way].core_s for way in calls}
    reached["copy, GB/s read and written"] = copy / taken["copy"].core_s
    return [{"one core": name, "reaches": value} for name, value in reached.items()]


def layers(files: Mapping[str, Path]) -> list[Row]:
    """The five kinds of layer that take longest in each network on ONNX Runtime, one thread, batch 1."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, one in candidates(Path(folder), False, files).items():
            rows += slowest_layers(name, one, Path(folder))
    return rows


def slowest_layers(name: str, one: Candidate, folder: Path, runs: int = 9, shown: int = 5) -> list[Row]:
    """Least time of each node over some runs, summed by kind and shapes."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling, options.log_severity_level = 1, True, 4
    options.profile_file_prefix = str(folder / "profile")
    session = ort.InferenceSession(one.path, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).uniform(0, 255, (1, *one.shape)).astype(np.float32)
    for _ in range(runs):
        session.run(None, {session.get_inputs()[0].name: images})
    least: dict[tuple[str, str], float] = {}
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event["name"].endswith("_kernel_time"):
            key = (layer_kind(event["args"]), event["name"])
            least[key] = min(least.get(key, np.inf), event["dur"] / 1000)
    kinds: dict[str, list[float]] = defaultdict(list)
    for (kind, _), ms in least.items():
        kinds[kind].append(ms)
    total = sum(least.values())
    slowest = sorted(kinds.items(), key=lambda item: -sum(item[1]))[:shown]
    return [
        {"network": name, "layer": kind, "nodes": len(each), "ms": sum(each), "share": sum(each) / total}
        for kind, each in slowest
    ]


def layer_kind(facts: Mapping[str, object]) -> str:
    """The operator of a profiled node; of a convolution its kernel, channels and whether it is depthwise."""
    operator, inputs = str(facts["op_name"]), facts.get("input_type_shape")
    if "Conv" not in operator or not isinstance(inputs, list) or len(inputs) < 2:
        return operator
    weights = next(iter(inputs[1].values()))
    kind = "depthwise" if weights[1] == 1 and weights[0] > 1 else f"{weights[1]} to"
    return f"{operator} {weights[2]}x{weights[3]}, {kind} {weights[0]}"


def cuda() -> list[Row]:
    """Crops a second in float16 by torch.compile and CUDA graphs, against the GPU's own matrix product and copy."""
    if not torch.cuda.is_available():
        return [{"note": "no CUDA device here"}]
    side, batch = 8192, 64
    square = torch.randn(side, side, device="cuda", dtype=torch.half)
    block = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    flops, rate = 2 * side**3 / seconds_on_gpu(lambda: square @ square), 2 * len(block) / seconds_on_gpu(block.clone)
    rows: list[Row] = []
    networks = {"MSPF x0.25": MSPF(MSPFConfig(width=0.25)), "MSPF x1.0": MSPF(MSPFConfig()), BASELINE: OSNet()}
    for name, network in networks.items():
        macs = count_macs(network, torch.zeros(1, 3, *SIZE_HW))
        module = network.eval().requires_grad_(False).cuda().half().to(memory_format=torch.channels_last)
        images = torch.rand(batch, 3, *SIZE_HW, device="cuda").half().to(memory_format=torch.channels_last)
        with torch.inference_mode():
            compiled = torch.compile(module, mode="reduce-overhead")  # CUDA graphs
            taken = seconds_on_gpu(lambda run=compiled, x=images: run(x))
        rows.append(
            {
                "network": name,
                "crops/s": batch / taken,
                "TFLOP/s": 2e-12 * macs * batch / taken,
                "share of matrix product": 2 * macs * batch / taken / flops,
                "copy, GB/s": rate / 1e9,
            }
        )
    return rows


def seconds_on_gpu(call: Callable[[], object], warm_up: int = 5, runs: int = 20) -> float:
    """Mean time of a call, by CUDA events."""
    for _ in range(warm_up):
        call()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(runs):
        call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1000 / runs
