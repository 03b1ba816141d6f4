"""The networks in the benchmark: back ends x precisions x batches, against torch, OSNet and the machine's roof."""

import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from benchmark_layers import Roof, layer_rows, quickest_run
from benchmark_threads import DETECTOR_HW
from benchmark_timing import ROUNDS, Row, Timing, in_turn
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import engines
from engines.engine import MissingDeviceError, NotInstalledError
from engines.gate import golden_path, read_golden
from engines.loading import BACKENDS
from engines.precision import to_int8
from engines.tensorrt_builder import built_precision
from mspf.export import RunTimeNetwork, export_onnx
from mspf.network import MSPF, MSPFConfig
from mspf.osnet import OSNet
from mspf.weights import load_weights
from pipeline.embedder import SHIPPED_REID
from pipeline.export_detector import DEFAULT_DETECTOR

SIZE_HW = (256, 128)
DETECTOR, BASELINE = "detector", "OSNet x1.0"
UNTRAINED: dict[str, Callable[[], MSPF | OSNet]] = {  # speed does not depend on weights
    "MSPF x0.25": lambda: MSPF(MSPFConfig(width=0.25, pool_first=True)),
    "MSPF x0.5": lambda: MSPF(MSPFConfig(width=0.5, pool_first=True)),
    "MSPF x1.0": lambda: MSPF(MSPFConfig(pool_first=True)),
    BASELINE: OSNet,
}
SHIPPED = {
    "MSPF x0.25 as shipped": SHIPPED_REID["mspf_x0_25"],
    "MSPF x0.5 as shipped": SHIPPED_REID["mspf_x0_5"],
    "MSPF x1.0 as shipped": SHIPPED_REID["mspf_x1_0"],
    DETECTOR: DEFAULT_DETECTOR,
}
ROOF_SIDE, GPU_SIDE = 1024, 8192
COPIED = 1 << 26  # bytes
CROPS_AT_ONCE, FRAMES_AT_ONCE = (64,), (8, 32)  # on a GPU, by torch
GPU_ROUNDS = 5 * ROUNDS
STREAMS, FPS, CROPS_A_FRAME = 50, 10, 4
NEVER = Timing(float("nan"), float("nan"))

Call = Callable[[], object]
Key = tuple[str, str, int]  # network, way, batch
Way = tuple[str, str]  # back end, precision


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network to time.

    Attributes:
        shape: of one picture.
        macs, bytes: multiply-adds for it, and what the layers read and write in float32, as ONNX Runtime fuses them.
        module: the same in torch, None for a file alone.
        source: the network that it is a copy of, in fewer bits.
    """

    path: Path
    shape: tuple[int, int, int]
    macs: int
    bytes: int
    module: nn.Module | None
    source: str = ""


def candidate(path: Path, shape: tuple[int, int, int], module: nn.Module | None = None) -> Candidate:
    """A network file and what it costs at least."""
    nodes = quickest_run(path, shape, padded=False).nodes
    return Candidate(path, shape, sum(one.macs for one in nodes), sum(one.bytes for one in nodes), module)


def candidates(
    folder: Path, files: Mapping[str, Path], only: Collection[str] = (), int8: bool = False
) -> dict[str, Candidate]:
    """MSPF and OSNet with random weights, what ships, and the files named: all of them, or `only` these.

    Args:
        int8: each of ours has copies in fewer bits behind it.
    """
    makers = {name: partial(untrained, name, folder) for name in UNTRAINED}
    makers |= {name: partial(stored, path) for name, path in {**SHIPPED, **files}.items()}
    if unknown := set(only) - set(makers):
        raise SystemExit(f"no network {', '.join(sorted(unknown))}; there are {', '.join(makers)}")
    found: dict[str, Candidate] = {}
    for name in [name for name in makers if not only or name in only]:
        found[name] = makers[name]()
        if int8 and name not in files:
            found |= in_fewer_bits(name, found[name], folder)
    return found


def untrained(name: str, folder: Path) -> Candidate:
    """One of UNTRAINED, exported."""
    torch.manual_seed(0)
    network, path, shape = UNTRAINED[name]().eval().requires_grad_(False), folder / f"{name}.onnx", (3, *SIZE_HW)
    module = RunTimeNetwork(network).eval()
    length = module(torch.zeros(1, *shape)).shape[1]
    export_onnx(network, path, SIZE_HW, {"kind": "reid", "descriptor_length": str(length)})
    return candidate(path, shape, module)


def stored(path: Path) -> Candidate:
    """A network file at its own size, and what ships also in torch."""
    sides = engines.load(path, "onnxruntime", proven=False).inputs[0].shape[1:]
    module = torch_detector() if path == DEFAULT_DETECTOR else None
    if path in SHIPPED_REID.values():
        module = RunTimeNetwork(load_weights(path.with_suffix(".safetensors"))).eval()
    return candidate(path, (3, sides[1] or DETECTOR_HW[0], sides[2] or DETECTOR_HW[1]), module)


def in_fewer_bits(name: str, one: Candidate, folder: Path) -> dict[str, Candidate]:
    """Its int8 copy, and the detector's uint8 copy: calibrated on the pictures of its reference, else on noise."""
    pictures = np.random.default_rng(0).uniform(0, 255, (1, *one.shape)).astype(np.float32)
    if golden_path(one.path).is_file():
        pictures = read_golden(golden_path(one.path)).inputs
    copies = {}
    for bits in ("int8", "uint8") if name == DETECTOR else ("int8",):
        path = folder / f"{name}.{bits}.onnx"
        to_int8(one.path, path, np.split(pictures, len(pictures)), symmetric=bits == "int8")
        copies[f"{name} {bits}"] = replace(one, path=path, module=None, source=name)
    return copies


def torch_detector() -> nn.Module | None:
    """The shipped detector's architecture in torch, with random weights; None where ultralytics is not installed."""
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
    try:
        from ultralytics.nn.tasks import DetectionModel
    except ImportError:
        return None
    module: nn.Module = DetectionModel("yolo26n.yaml", nc=1, verbose=False).eval()
    return module


def networks(
    files: Mapping[str, Path], only: Collection[str], int8: bool, batches: tuple[int, ...], threads: int
) -> list[Row]:
    """Times, ratios and shares of the roof; then what streams take of a GPU, and what could not be loaded.

    Ratios and shares are of core time, which others disturb least; a GPU's by the clock, with copies to it and back.
    """
    with tempfile.TemporaryDirectory() as folder:
        known = candidates(Path(folder), files, only, int8)
        on_cpu, calls, refused = cpu_ways(), dict[Key, Call](), list[Row]()
        torch.set_num_threads(threads or torch.get_num_threads())
        for name, one in known.items():
            if one.module is not None:
                run = torch.inference_mode()(one.module)
                images = {batch: torch.from_numpy(noise(batch, one)) for batch in batches}
                calls |= {(name, "torch f32", batch): partial(run, images[batch]) for batch in batches}
            loaded, reasons = runners(name, one, on_cpu, batches, threads)
            calls, refused = calls | loaded, refused + reasons
        roofs = {("roof", way, 1): call for way, call in roof_calls(Path(folder), on_cpu, threads).items()}
        taken = in_turn(calls | roofs | {("roof", "copy", 1): copy_call()})
        for name, one in known.items():  # one after the other: a GPU may not hold all of them
            loaded, reasons = runners(name, one, tensorrt_ways(one.path), batches, threads)
            taken, refused = taken | in_turn(loaded, GPU_ROUNDS), refused + reasons
    keys = [key for name in known for key in taken if key[0] == name]
    limits = {way: roof_of(way, taken) for way in dict.fromkeys(way for _, way, _ in keys)}
    on_gpu = {key: taken[key].wall_s / key[2] for key in keys if key[1].startswith("tensorrt")}
    return [*(network_row(key, known, taken, limits[key[1]]) for key in keys), *stream_rows(on_gpu), *refused]


def runners(
    name: str, one: Candidate, ways: Mapping[str, Way], batches: tuple[int, ...], threads: int
) -> tuple[dict[Key, Call], list[Row]]:
    """The calls to time, and a row for each way that does not run the network, though its package and device are here.

    Each batch has an engine of its own: a change of shapes costs OpenVINO more than a small network does.
    """
    calls, refused = dict[Key, Call](), list[Row]()
    for label, way in ways.items():
        try:
            for batch in batches:
                engine, images = engines.load(one.path, *way, threads, proven=False), noise(batch, one)
                engine(images)
                calls[name, label, batch] = partial(engine, images)
        except (MissingDeviceError, NotInstalledError):
            continue
        except engines.EngineError as error:
            refused.append({"network": name, "way": label, "note": str(error)})
    return calls, refused


def noise(batch: int, one: Candidate) -> engines.Array:
    """Pictures for a network."""
    return np.random.default_rng(0).uniform(0, 255, (batch, *one.shape)).astype(np.float32)


def cpu_ways() -> dict[str, Way]:
    """Back ends and precisions of this CPU; a quantised file multiplies in int8, and the rest of it in these."""
    best = engines.load(DEFAULT_DETECTOR, "openvino", proven=False).precision
    ways = [("onnxruntime", "f32"), *(("openvino", precision) for precision in sorted({"f32", best}, reverse=True))]
    return {" ".join(way): way for way in ways}


def tensorrt_ways(path: Path) -> dict[str, Way]:
    """Both flavours of TensorRT, here or not, in the precisions that they build of a file."""
    quantised = built_precision(path, "auto") == "int8"
    precisions = {"int8": "auto"} if quantised else {"f16": "f16", "f32": "f32"}
    flavours = [name for name, row in BACKENDS.items() if row.on_gpu]
    return {f"{name} {label}": (name, asked) for name in flavours for label, asked in precisions.items()}


def roof_calls(folder: Path, ways: Mapping[str, Way], threads: int) -> dict[str, Call]:
    """A product of square matrices on every back end of the CPU: the most that a network can reach there."""
    weights = np.random.default_rng(0).standard_normal((ROOF_SIDE, ROOF_SIDE)).astype(np.float32)
    shape = [None, ROOF_SIDE, ROOF_SIDE]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("a", "c")]
    product = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([product], "roof", ends[:1], ends[1:], [numpy_helper.from_array(weights, "b")])
    path = folder / "roof.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return {
        label: partial(engines.load(path, *way, threads, proven=False), weights[None]) for label, way in ways.items()
    }


def roof_of(way: str, taken: Mapping[Key, Timing]) -> Roof:
    """What a way of `networks` can reach at best; nan where that was not measured."""
    if way.startswith("tensorrt"):
        return gpu_roof() if torch.cuda.is_available() else Roof(float("nan"), float("nan"))
    product, copy = taken.get(("roof", way, 1), NEVER), taken["roof", "copy", 1]
    return Roof(ROOF_SIDE**3 / product.core_s, 2 * COPIED / copy.core_s)


def network_row(key: Key, known: Mapping[str, Candidate], taken: Mapping[Key, Timing], limit: Roof) -> Row:
    """One line of the table; a ratio without its partner, or to an OSNet of other input, is nan."""
    name, way, batch = key
    one, on_gpu = known[name], way.startswith("tensorrt")

    def seconds(network: str, way: str) -> float:
        timing = taken.get((network, way, batch), NEVER)
        return (timing.wall_s if on_gpu else timing.core_s) / batch

    own, source = seconds(name, way), one.source or name
    baseline = BASELINE if BASELINE in known and one.shape == known[BASELINE].shape else ""
    return {
        "network": name,
        "way": way,
        "batch": batch,
        "ms an image": 1000 * taken[key].wall_s / batch,
        **({} if on_gpu else {"core ms": 1000 * own}),
        "images/s": batch / taken[key].wall_s,
        "speed to f32": seconds(source, f"{way.split()[0]} f32") / own,
        "x torch": own / seconds(source, "torch f32"),
        "x OSNet same way": own / seconds(baseline, way),
        "x OSNet ORT f32": own / seconds(baseline, "onnxruntime f32"),
        "of matrix product": one.macs / own / limit.macs,
        "of copy": one.bytes / (2 if way.endswith("16") else 1) / own / limit.bytes,
    }


def roof(threads: int) -> list[Row]:
    """What this machine reaches at best: a large matrix product on every back end, and a large copy."""
    with tempfile.TemporaryDirectory() as folder:
        calls = roof_calls(Path(folder), cpu_ways(), threads)
        taken = in_turn({**calls, "copy": copy_call()})
    product, copy = 2e-9 * ROOF_SIDE**3, 2e-9 * COPIED
    reached = {f"matrix product, {way}, GFLOP/s": product / taken[way].core_s for way in calls}
    reached["copy, GB/s read and written"] = copy / taken["copy"].core_s
    return [{"one core": name, "reaches": value} for name, value in reached.items()]


def copy_call() -> Call:
    """A copy too large for any cache."""
    source, target = np.ones(COPIED, np.uint8), np.zeros(COPIED, np.uint8)
    return lambda: np.copyto(target, source)


def layers(files: Mapping[str, Path], only: Collection[str]) -> list[Row]:
    """Where the time goes on ONNX Runtime, one thread, one picture: for each network, shares that add up to 1."""
    with tempfile.TemporaryDirectory() as folder:
        known = candidates(Path(folder), files, only)
        product = roof_calls(Path(folder), {"product": ("onnxruntime", "f32")}, 1)
        taken = in_turn({**product, "copy": copy_call()})
        limit = Roof(ROOF_SIDE**3 / taken["product"].core_s, 2 * COPIED / taken["copy"].core_s)
        return [row for name, one in known.items() for row in layer_rows(name, one.path, one.shape, limit)]


def cuda(files: Mapping[str, Path], only: Collection[str]) -> list[Row]:
    """Pictures a second on a GPU by torch: eager, and in float16 compiled into CUDA graphs; beside its own roofs."""
    if not torch.cuda.is_available():
        return [{"note": "no CUDA device here"}]
    with tempfile.TemporaryDirectory() as folder:
        known = {name: one for name, one in candidates(Path(folder), files, only).items() if one.module is not None}
    taken: dict[Key, float] = {}
    failed: list[Row] = []
    for name, one in known.items():
        for batch in FRAMES_AT_ONCE if name == DETECTOR else CROPS_AT_ONCE:
            for way, call in gpu_ways(one, batch, torch.device("cuda")).items():
                try:
                    taken[name, way, batch] = seconds_on_gpu(call) / batch
                except RuntimeError as error:  # its memory is full, or it was not compiled
                    failed.append({"network": name, "way": way, "batch": batch, "note": str(error).partition("\n")[0]})
    limit = gpu_roof()
    return [*(gpu_row(key, known[key[0]], taken, limit) for key in taken), *stream_rows(taken), *failed]


def gpu_roof() -> Roof:
    """What the GPU reaches at best: a large matrix product in float16, and a large copy."""
    square = torch.randn(GPU_SIDE, GPU_SIDE, device="cuda", dtype=torch.half)
    block = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    product = GPU_SIDE**3 / seconds_on_gpu(lambda: square @ square)
    return Roof(product, 2 * len(block) / seconds_on_gpu(block.clone))


def gpu_ways(one: Candidate, batch: int, device: torch.device) -> dict[str, Call]:
    """The ways to run a network on a GPU by torch, for pictures that lie there."""
    calls: dict[str, Call] = {}
    for dtype in (torch.float, torch.half):
        placed = {"device": device, "dtype": dtype, "memory_format": torch.channels_last}
        module = deepcopy(one.module).to(**placed)
        images = torch.rand(batch, *one.shape).to(**placed)
        calls[f"torch {dtype}".replace("torch.", "")] = partial(torch.inference_mode()(module), images)
    compiled = torch.compile(module, mode="reduce-overhead", dynamic=False)  # CUDA graphs
    calls["compiled float16"] = partial(torch.inference_mode()(compiled), images)
    return calls


def gpu_row(key: Key, one: Candidate, taken: Mapping[Key, float], limit: Roof) -> Row:
    """One line of the table, of seconds a picture; both roofs are those of float16."""
    name, way, batch = key
    seconds, nan = taken[key], float("nan")
    return {
        "network": name,
        "way": way,
        "batch": batch,
        "ms a batch": 1000 * seconds * batch,
        "frames/s" if name == DETECTOR else "crops/s": 1 / seconds,
        "x torch": seconds / taken.get((name, "torch float32", batch), nan),
        "x OSNet same way": seconds / taken.get((BASELINE, way, batch), nan),
        "of matrix product": one.macs / seconds / limit.macs,
        "of copy": one.bytes / (2 if way.endswith("16") else 1) / seconds / limit.bytes,
    }


def stream_rows(taken: Mapping[Key, float]) -> list[Row]:
    """The share of a GPU that the networks of a site take: the detector in every frame, MSPF for a few crops of it.

    Args:
        taken: seconds a picture; of each network the least counts.
    """
    least: dict[str, float] = {}
    for (name, _, _), seconds in taken.items():
        least[name] = min(seconds, least.get(name, seconds))
    if DETECTOR not in least:
        return []
    load = f"{STREAMS} streams at {FPS} fps, {CROPS_A_FRAME} crops a frame"
    return [
        {
            "network": f"{DETECTOR} + {name}",
            "way": load,
            "frames/s": STREAMS * FPS,
            "crops/s": STREAMS * FPS * CROPS_A_FRAME,
            "% of the GPU": 100 * STREAMS * FPS * (least[DETECTOR] + CROPS_A_FRAME * seconds),
        }
        for name, seconds in least.items()
        if name.startswith("MSPF")
    ]


def seconds_on_gpu(call: Call, warm_up: int = 5, runs: int = 20) -> float:
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
