"""Tiny real networks as ONNX files, for whole runs: they see bright rectangles at known places and mean colours."""

import os
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

PLACES = ((20, 10, 52, 90), (90, 10, 122, 90))  # x1, y1, x2, y2 where a person may stand
LAYERS = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 4]], *[[-1, 1, "Conv", [8, 3, 2]]] * 2]


def _save(path: Path, nodes: list, inputs: tuple, outputs: tuple, constants: dict, facts: dict[str, str]) -> Path:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, outputs)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_detector(path: Path) -> Path:
    """(N, 3, H, W) of pictures 160 wide -> (N, places, 6): a person stands where a place is not dark."""
    node, nodes, constants = helper.make_node, [], {"axes": np.array([2, 3]), "dark": np.float32(0.1)}
    constants["row"], constants["sure"] = np.array([-1, 1, 1]), np.float32(0.9)
    for index, (x1, y1, x2, y2) in enumerate(PLACES):
        constants[f"start{index}"], constants[f"end{index}"] = np.array([y1, x1]), np.array([y2, x2])
        constants[f"box{index}"] = np.array([[[x1, y1, x2, y2]]], np.float32)
        nodes += [
            node("Slice", ["images", f"start{index}", f"end{index}", "axes"], [f"crop{index}"]),
            node("ReduceMean", [f"crop{index}"], [f"mean{index}"], axes=[1, 2, 3]),
            node("Reshape", [f"mean{index}", "row"], [f"light{index}"]),
            node("Greater", [f"light{index}", "dark"], [f"there{index}"]),
            node("Cast", [f"there{index}"], [f"one{index}"], to=TensorProto.FLOAT),
            node("Mul", [f"one{index}", "sure"], [f"score{index}"]),
            node("Sub", [f"one{index}", f"one{index}"], [f"class{index}"]),
            node("Add", [f"class{index}", f"box{index}"], [f"place{index}"]),
            node("Concat", [f"place{index}", f"score{index}", f"class{index}"], [f"person{index}"], axis=2),
        ]
    nodes.append(node("Concat", [f"person{index}" for index in range(len(PLACES))], ["found"], axis=1))
    facts = {"kind": "detector", "imgsz": "[160, 160]", "names": "{0: 'person'}"}
    return _save(path, nodes, ("n", 3, "h", "w"), ("n", len(PLACES), 6), constants, facts)


def write_reid(path: Path) -> Path:
    """(N, 3, 16, 8) -> (N, 3): the mean colour."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["found"]),
    ]
    return _save(path, nodes, ("n", 3, 16, 8), ("n", 3), {}, {"kind": "reid"})


def write_pt(path: Path, nms_free: bool, bias: float | None = None) -> Path:
    """An ultralytics .pt of a few thousand parameters, with the NMS-free head or the raw one.

    Args:
        bias: of the raw head's scores, before the sigmoid, and sides; default: as ultralytics begins.
    """
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
    from ultralytics.models import YOLO

    head = [[[1, 2, 3], 1, "Detect", ["nc"]]]
    network = {"nc": 2, "end2end": nms_free, "reg_max": 1, "backbone": LAYERS, "head": head}
    architecture = path.with_suffix(".yaml")
    architecture.write_text(yaml.safe_dump(network))
    model = YOLO(str(architecture), task="detect")
    model.model.names = {0: "person", 1: "dog"}
    if bias is not None:
        for branch in (*model.model.model[-1].cv2, *model.model.model[-1].cv3):
            branch[-1].bias.data[:] = bias
    model.save(str(path))
    return path
