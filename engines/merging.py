"""Gates with the same weights as one: fewer operators that compute the same."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Gate(NamedTuple):
    """What weighs the channels of a map: two 1x1 convolutions of its global average, a ReLU between, a sigmoid."""

    pool: onnx.NodeProto
    squeeze: onnx.NodeProto
    relu: onnx.NodeProto
    excite: onnx.NodeProto
    sigmoid: onnx.NodeProto


def merge_gates(graph: onnx.GraphProto) -> None:
    """Take the averages of maps that are convolved from one tensor through their common gate at once, as rows.

    OSNet's blocks have four such maps: of 16 operators between averages and products 6 remain.
    """
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for tensor in node.input:
            readers[tensor].append(node)
    alike: dict[tuple[str, ...], list[Gate]] = defaultdict(list)
    for pool in graph.node:
        rest = _followed(pool, readers) if pool.op_type == "GlobalAveragePool" else []
        if rest:
            gate = Gate(pool, *rest)
            weights = (*gate.squeeze.input[1:], *gate.excite.input[1:])
            alike[_origin(graph, pool, readers), *weights].append(gate)
    for gates in alike.values():
        if len(gates) > 1:
            _merge(graph, gates)
    _in_order(graph)


def _followed(pool: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    """The rest of the gate that starts with `pool`: each operator alone reads the one before; [] if it is none."""
    found = [pool]
    for operator in ("Conv", "Relu", "Conv", "Sigmoid"):
        following = readers[found[-1].output[0]]
        if len(following) != 1 or following[0].op_type != operator:
            return []
        found.append(following[0])
    return found[1:]


def _origin(graph: onnx.GraphProto, pool: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]]) -> str:
    """The tensor, read by others too, that convolutions and ReLUs make the averaged map of."""
    made = {output: node for node in graph.node for output in node.output}
    tensor: str = pool.input[0]
    while (node := made.get(tensor)) and node.op_type in ("Conv", "Relu"):
        tensor = node.input[0]
        if len(readers[tensor]) > 1:
            break
    return tensor


def _merge(graph: onnx.GraphProto, gates: list[Gate]) -> None:
    first = gates[0]
    name = f"{first.squeeze.name}_of_{len(gates)}"
    each = numpy_helper.from_array(np.ones(len(gates), np.int64), f"{name}_each")
    graph.initializer.append(each)
    for gate in gates:
        for node in gate[1:]:
            graph.node.remove(node)
    squeeze, excite = onnx.NodeProto(), onnx.NodeProto()
    squeeze.CopyFrom(first.squeeze)
    excite.CopyFrom(first.excite)
    squeeze.input[0], squeeze.output[0] = f"{name}_averages", f"{name}_squeezed"
    excite.input[0], excite.output[0] = f"{name}_positive", f"{name}_excited"
    graph.node.extend(
        [
            helper.make_node("Concat", [gate.pool.output[0] for gate in gates], [squeeze.input[0]], axis=2),
            squeeze,
            helper.make_node("Relu", [squeeze.output[0]], [excite.input[0]]),
            excite,
            helper.make_node("Sigmoid", [excite.output[0]], [f"{name}_weights"]),
            helper.make_node(
                "Split", [f"{name}_weights", each.name], [gate.sigmoid.output[0] for gate in gates], axis=2
            ),
        ]
    )


def _in_order(graph: onnx.GraphProto) -> None:
    """Put every node behind those whose outputs it reads."""
    made = {output: node for node in graph.node for output in node.output}
    ordered: list[onnx.NodeProto] = []
    done: set[str] = set()
    waiting = list(reversed(graph.node))
    while waiting:
        node = waiting[-1]
        missing = [made[tensor] for tensor in node.input if tensor in made and tensor not in done]
        if missing:
            waiting += missing
            continue
        if waiting.pop().output[0] not in done:
            ordered.append(node)
            done |= set(node.output)
    del graph.node[:]
    graph.node.extend(ordered)
