"""Copies of a network file in fewer bits: float16, or int8 calibrated on examples. File to file."""

import contextlib
import logging
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from engines.engine import Array, EngineError
from engines.gate import golden_path

FEWEST_CHANNELS = 16
HOW = {
    "ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,  # all that TensorRT takes
    "OpTypesToExcludeOutputQuantization": ["Conv"],  # what goes into a SiLU spans too much for 8 bits
}  # fmt: skip


class _Examples(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """Batches as what ONNX Runtime's calibration asks for."""

    def __init__(self, name: str, batches: Iterable[Array]) -> None:
        self._name, self._batches = name, iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def to_float16(path: Path, out: Path) -> None:
    """Write a copy that computes in float16, takes and gives float32, and says `precision=f16` in its metadata.

    Raises:
        EngineError: the file is not a network in float32.
    """
    model = convert_float_to_float16(_read(path), keep_io_types=True)
    _write(model, path, out, "f16")


def to_int8(path: Path, out: Path, batches: Iterable[Array], keep_float: Collection[str] = ()) -> int:
    """Write a copy whose dense convolutions multiply in int8, and say how many; its metadata say `precision=int8`.

    Quantise and dequantise nodes stand around them: a scale for each tensor and for each output channel of the weights,
    symmetric, float32 biases, so TensorRT takes the file, too. Depthwise convolutions stay in float32: they are bound
    by memory, and measured slower in int8 (`scripts/benchmark.py`).

    Args:
        batches: what the network takes (N, ...), drawn from what it will see; never from a test set.
        keep_float: names of convolutions that lose too much, or how such names begin.

    Raises:
        EngineError: the file is not a network in float32, or has nothing to quantise.
    """
    model = _read(path)
    names = [name for name in dense_convolutions(model) if not name.startswith(tuple(keep_float))]
    if not names:
        raise EngineError(f"{path}: no convolution left to quantise; give a float32 network and a shorter keep_float")
    with _quietly():
        quantize_static(
            model, out, _Examples(model.graph.input[0].name, batches), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, nodes_to_quantize=names,
            extra_options=HOW,
        )  # fmt: skip
    _write(onnx.load(out), path, out, "int8")
    return len(names)


def dense_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions of one group between at least 16 channels each, in the order of the graph.

    Fewer are stems and the gates on pooled channels: they gain nothing in int8 and lose most.
    """
    shapes = {weight.name: weight.dims for weight in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv"
        and all(fact.i == 1 for fact in node.attribute if fact.name == "group")
        and min(shapes.get(node.input[1], [0, 0])[:2]) >= FEWEST_CHANNELS
    ]


def unfold_halved_weights(graph: onnx.GraphProto) -> None:
    """Turn weights that are stored as float16, and cast where they are used, into plain float32 ones."""
    stored = {weight.name: weight for weight in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored]:
        values = onnx.numpy_helper.to_array(stored[node.input[0]])
        if values.dtype == np.float16:
            graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), node.output[0]))
            graph.initializer.remove(stored[node.input[0]])
            graph.node.remove(node)


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
    except (OSError, onnx.onnx_cpp2py_export.checker.ValidationError, ValueError, RuntimeError) as error:
        raise EngineError(f"{path}: not an ONNX network ({error}); export it again") from error
    except Exception as error:  # protobuf's own, of which every version has another
        if type(error).__module__.partition(".")[0] != "google":
            raise
        raise EngineError(f"{path}: not a whole ONNX network ({error}); export it again") from error
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise EngineError(f"{path}: it is quantised already; give the float32 network")
    unfold_halved_weights(model.graph)
    return model


def _write(model: onnx.ModelProto, path: Path, out: Path, precision: str) -> None:
    """The network with its source's facts, and the reference of its source beside it."""
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props} | {"precision": precision}
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, out)
    if golden_path(path).is_file():
        shutil.copyfile(golden_path(path), golden_path(out))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without ONNX Runtime's advice on preprocessing, which goes to the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
