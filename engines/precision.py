"""Copies of a network file in fewer bits: float16, or int8 calibrated on examples. File to file."""

import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from engines import calibration
from engines.engine import Array, EngineError
from engines.gate import golden_path

FEWEST_CHANNELS = 32
OLDEST_OPSET = 13  # the first with a scale for each channel


def to_float16(path: Path, out: Path) -> None:
    """Write a copy that computes in float16, takes and gives float32, and says `precision=f16` in its metadata.

    Raises:
        EngineError: the file is not a network in float32.
    """
    model = convert_float_to_float16(_read(path), keep_io_types=True)
    _write(model, path, out, "f16")


def to_int8(
    path: Path, out: Path, batches: Iterable[Array], keep_float: Collection[str] = (), *, symmetric: bool = True
) -> int:
    """Write a copy whose dense convolutions multiply in int8, and say how many; its metadata say `precision=int8`.

    Quantise and dequantise nodes stand around them: a scale for each tensor and for each output channel of the weights,
    float32 biases. Depthwise convolutions stay in float32: they are bound by memory, and measured slower in int8
    (`scripts/benchmark.py`).

    Args:
        batches: what the network takes (N, ...), drawn from what it will see; never from a test set.
        keep_float: names of convolutions that lose too much, or how such names begin.
        symmetric: int8 around zero, all that TensorRT takes. False: uint8 from the least to the largest value, which
            rounds half as coarsely behind a ReLU or SiLU; for CPUs alone.

    Raises:
        EngineError: the file is not a network in float32, or has nothing to quantise.
    """
    model = _read(path)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < OLDEST_OPSET:
        raise EngineError(f"{path}: opset {opset} has no int8 by channel; export it with opset {OLDEST_OPSET} or newer")
    names = {name for name in dense_convolutions(model) if not name.startswith(tuple(keep_float))}
    if not names:
        raise EngineError(f"{path}: no convolution left to quantise; give a float32 network and a shorter keep_float")
    inputs = {node.input[0]: None for node in model.graph.node if node.name in names}  # in the order of the graph
    quantise(model.graph, names, calibration.grids(model, inputs, batches, symmetric))
    onnx.checker.check_model(model)
    _write(model, path, out, "int8")
    return len(names)


def quantise(graph: onnx.GraphProto, names: Collection[str], grids: Mapping[str, calibration.Grid]) -> None:
    """Put quantise and dequantise nodes before the convolutions of these names.

    What a Concat made is quantised before it is joined: OpenVINO (2026.4) moves a quantise node from behind a Concat to
    before it and loses the negative half of int8 there.

    Args:
        grids: for every input of such a convolution.
    """
    sources = {output: node for node in graph.node for output in node.output}
    weights = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    for node in graph.node:
        if node.name in names:
            tensor, kernel = node.input[:2]
            if tensor not in done:
                nodes += _on_grid(graph, tensor, sources.get(tensor), grids[tensor])
            if kernel not in done:
                nodes.append(_stored_in_int8(graph, kernel, weights[kernel]))
            done |= {tensor, kernel}
            node.input[:2] = [f"{tensor}_dequantised", f"{kernel}_dequantised"]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)


def dense_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions of one group between at least 32 channels each, in the order of the graph.

    Fewer are stems, gates on pooled channels and the narrow ends of heads: they gain nothing in int8 and lose most
    (docs/engines.md).
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
    stored = {weight.name: weight for weight in graph.initializer if weight.data_type == onnx.TensorProto.FLOAT16}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored]:
        values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)
    _drop_unused(graph)


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
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    return model


def _write(model: onnx.ModelProto, path: Path, out: Path, precision: str) -> None:
    """The network with its source's facts, and the reference of its source beside it."""
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props} | {"precision": precision}
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, out)
    if golden_path(path).is_file():
        shutil.copyfile(golden_path(path), golden_path(out))


def _on_grid(
    graph: onnx.GraphProto, tensor: str, source: onnx.NodeProto | None, grid: calibration.Grid
) -> list[onnx.NodeProto]:
    """Nodes that make `tensor`_dequantised of the tensor, which `source` made."""
    scale, zero = _constant(graph, f"{tensor}_scale", grid.scale), _constant(graph, f"{tensor}_zero", grid.zero)
    quantised = f"{tensor}_quantised"
    if source is not None and source.op_type == "Concat":
        parts = [f"{quantised}_{index}" for index in range(len(source.input))]
        nodes = [
            helper.make_node("QuantizeLinear", [value, scale, zero], [part], name=part)
            for value, part in zip(source.input, parts, strict=True)
        ]
        nodes.append(helper.make_node("Concat", parts, [quantised], name=quantised))
        nodes[-1].attribute.extend(source.attribute)
    else:
        nodes = [helper.make_node("QuantizeLinear", [tensor, scale, zero], [quantised], name=quantised)]
    out = f"{tensor}_dequantised"
    return [*nodes, helper.make_node("DequantizeLinear", [quantised, scale, zero], [out], name=out)]


def _stored_in_int8(graph: onnx.GraphProto, kernel: str, values: Array) -> onnx.NodeProto:
    """The node that makes `kernel`_dequantised of weights (out, in, ...) in int8."""
    largest = np.abs(values).max(tuple(range(1, values.ndim)), keepdims=True)
    scale = np.maximum(largest, 1e-12).astype(np.float32) / np.float32(127)
    inputs = [
        _constant(graph, f"{kernel}_quantised", np.rint(values / scale).astype(np.int8)),
        _constant(graph, f"{kernel}_scale", scale.ravel()),
        _constant(graph, f"{kernel}_zero", np.zeros(len(values), np.int8)),
    ]
    out = f"{kernel}_dequantised"
    return helper.make_node("DequantizeLinear", inputs, [out], name=out, axis=0)


def _constant(graph: onnx.GraphProto, name: str, values: Array | np.float32) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Without nodes and weights that no output needs."""
    wanted = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            nodes.append(node)
            wanted |= _read_by(node)
    weights = [weight for weight in graph.initializer if weight.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(weights)


def _read_by(node: onnx.NodeProto) -> set[str]:
    """Names of what a node reads, also from inside its branches and loops."""
    inner = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    outputs = {output.name for graph in inner for output in graph.output}
    return set(node.input).union(outputs, *(_read_by(child) for graph in inner for child in graph.node))
