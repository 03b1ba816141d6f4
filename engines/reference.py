"""Where the parity gate's reference comes from: the file beside the network, or ONNX Runtime in f32, one at a time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from engines import cache
from engines.engine import Array, EngineError, TensorSpec
from engines.gate import Golden, golden_path, read_golden

Examples = Callable[[Sequence[TensorSpec], Mapping[str, str]], Array | None]  # typical inputs (N, ...) of a network

SAMPLES = 4
SIDE = 320  # where the file leaves height or width open
CELLS = 8  # patches of one colour along each side of a generated picture: noise of single pixels tells little


def find(path: Path, inputs: Array | None) -> Golden:
    """The reference of this network: what stands beside the file, or what ONNX Runtime makes of the inputs.

    Args:
        inputs: (N, ...) to run through ONNX Runtime where no reference stands beside the file.

    Raises:
        EngineError: what stands beside it is no reference, or there is none, and none can be made.
    """
    beside = golden_path(path)
    return read_golden(beside) if beside.is_file() else computed(path, inputs)


def computed(path: Path, inputs: Array | None) -> Golden:
    """What ONNX Runtime computes in f32 from one sample at a time, which no mistake about batches can touch.

    Raises:
        EngineError: it cannot run the network, or nobody knows what the network takes.
    """
    unproven = f"{path}: cannot be proven, and so does not serve: it has no {golden_path(path).name}"
    if inputs is None:
        raise EngineError(f"{unproven} and takes no pictures; give another, or write one by engines.gate.write_golden")
    try:
        from engines import onnxruntime_backend

        network = onnxruntime_backend.load(path, "f32", 1)
        step = network.inputs[0].shape[0] or 1
        chunks = [np.resize(inputs[start : start + step], (step, *inputs.shape[1:])) for start in range(len(inputs))]
        outputs = np.concatenate([network(chunk)[0][:1] for chunk in chunks])
    except (ImportError, EngineError) as error:
        raise EngineError(f"{unproven}, and ONNX Runtime makes none: {error}") from error
    return Golden(inputs, outputs, comparison(network.metadata, outputs.shape), "ONNX Runtime in f32")


def comparison(metadata: Mapping[str, str], shape: tuple[int, ...]) -> str:
    """How outputs of this network are compared: descriptors as rows, boxes as such, all else by value.

    A detector's file says `task=detect`, as ultralytics writes it; its boxes are rows of six, else it has a raw head.

    Args:
        shape: of an output; what the file says of it may be open.
    """
    if metadata.get("kind") == "reid":
        return "rows"
    if len(shape) == 3 and shape[2] == 6:
        return "boxes"
    return "heads" if len(shape) == 3 and metadata.get("task") == "detect" else "values"


def generated(inputs: Sequence[TensorSpec], metadata: Mapping[str, str]) -> Array | None:
    """Coarse random pictures (SAMPLES, 3, H, W) in the network's range; None if it takes anything but pictures."""
    spec = inputs[0]
    if len(inputs) != 1 or len(spec.shape) != 4 or spec.dtype != np.float32:
        return None
    channels, height, width = (side or SIDE for side in spec.shape[1:])
    rng = np.random.default_rng(0)
    colours = rng.random((SAMPLES, channels, CELLS, CELLS), np.float32)
    cell = np.ones((-(-height // CELLS), -(-width // CELLS)), np.float32)
    pictures = np.kron(colours, cell)[..., :height, :width]
    return pictures * np.float32(255 if metadata.get("value_range") == "0..255" else 1)


def digest(path: Path, inputs: Array | None) -> str:
    """Names the reference: that beside the file, or what would be computed from these inputs."""
    beside = golden_path(path)
    if beside.is_file():
        return cache.sha256(beside)
    return "none" if inputs is None else cache.sha256_of(inputs.tobytes())
