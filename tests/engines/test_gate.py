"""Every way in which an export lies while it returns numbers of the right shape has to be caught."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import engines
from engines import gate
from engines.engine import Engine
from engines.loading import BACKENDS, Backend
from engines.reference import comparison

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 4), np.uint8)
KERNELS = np.random.default_rng(1).normal(size=(8, 3, 3, 3)).astype(np.float32)


def write(path: Path, kernels: np.ndarray = KERNELS, normalised: int = 1, mixes_batch: bool = False) -> Path:
    """A descriptor of pictures 0..255: normalised as often as told, convolved, clipped, averaged."""
    node = helper.make_node
    nodes, last = [], "images"
    for index in range(normalised):
        nodes += [node("Sub", [last, "mean"], [f"s{index}"]), node("Mul", [f"s{index}", "scale"], [f"n{index}"])]
        last = f"n{index}"
    nodes += [
        node("Conv", [last, "kernels"], ["maps"]),
        node("Relu", ["maps"], ["clipped"]),
        node("ReduceMean", ["clipped"], ["rows"], axes=[2, 3], keepdims=0),
    ]
    if mixes_batch:  # as a Reshape with the batch axis folded in would
        nodes += [
            node("ReduceMean", ["rows"], ["all"], axes=[0]),
            node("Mul", ["all", "most"], ["common"]),
            node("Sub", ["rows", "common"], ["out"]),
        ]
    else:
        nodes.append(node("Identity", ["rows"], ["out"]))
    constants = {"mean": np.float32(120), "scale": np.float32(1 / 60), "most": np.float32(0.9), "kernels": kernels}
    graph = helper.make_graph(
        nodes,
        "descriptor",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 6, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"kind": "reid", "value_range": "0..255"})
    onnx.save(model, path)
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A right network and its reference."""
    path = write(tmp_path / "net.onnx")
    (rows,) = engines.load(path, "onnxruntime", proven=False)(PICTURES.astype(np.float32))
    gate.write_golden(gate.golden_path(path), PICTURES, 1.0, rows, "rows")
    return path


def test_a_right_network_serves_and_is_remembered(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(network.parent))
    assert engines.load(network, "onnxruntime").precision == "f32"
    (passed,) = network.parent.glob("passed/net-*.json")
    assert "batch 16: row" in passed.read_text()


def test_where_nothing_can_be_kept_a_network_is_proven_at_every_start(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(network / "under-a-file"))
    for _ in range(2):
        with caplog.at_level("INFO"):
            assert engines.load(network, "onnxruntime").precision == "f32"
        assert "set MSPF_PIPELINE_CACHE to another folder; the network will be proven again" in caplog.text
        caplog.clear()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"kernels": KERNELS[:, ::-1].copy()}, "batch 1: row 0 has cosine 0"),  # BGR where RGB is meant
        ({"normalised": 2}, "batch 1: row 0 has cosine 0"),
        ({"normalised": 0}, "batch 1: row 0 has cosine 0"),
        ({"mixes_batch": True}, "batch 3: row"),  # right alone, wrong in company
        ({"kernels": KERNELS * np.float32(np.nan)}, "batch 1: row 0 has cosine nan"),
    ],
)
def test_a_broken_export_is_refused(network: Path, broken: dict[str, object], says: str) -> None:
    write(network, **broken)
    with pytest.raises(gate.GateError, match=f"net.onnx on onnxruntime in f32 disagrees with net.golden.npz, {says}"):
        engines.load(network, "onnxruntime")


def test_a_batch_larger_than_usual_is_proven_too(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSPF_PIPELINE_CACHE", str(network.parent))
    for largest in (0, 40):
        engines.load(network, "onnxruntime", largest=largest)
    said = [path.read_text() for path in network.parent.glob("passed/net-*.json")]
    assert sorted("batch 40: row" in text for text in said) == [False, True]


def test_a_fixed_batch_is_tried_with_every_sample_in_front() -> None:
    assert [rows.tolist() for rows in gate.batches(3, 2, 16)] == [[0, 1], [1, 2], [2, 0]]


def test_a_batch_bug_is_caught_without_a_reference_file(tmp_path: Path) -> None:
    with pytest.raises(gate.GateError, match="disagrees with ONNX Runtime in f32, batch 3: row"):
        engines.load(write(tmp_path / "net.onnx", mixes_batch=True), "onnxruntime")


def test_a_passed_gate_does_not_cover_another_file(network: Path) -> None:
    engines.load(network, "onnxruntime")
    write(network, normalised=2)
    with pytest.raises(gate.GateError):
        engines.load(network, "onnxruntime")


class Wrong:
    """A back end that computes something else."""

    precision = "bf16"
    backend = "wrong"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.inputs, self.outputs, self.metadata = "net", engine.inputs, engine.outputs, engine.metadata

    def __call__(self, *batch: engines.Array) -> tuple[engines.Array, ...]:
        return tuple(np.flip(output, 1) for output in self._engine(*batch))


def load(path: Path, precision: str, threads: int) -> Engine:
    """The wrong back end is right in f32."""
    engine = engines.load(path, "onnxruntime", threads=threads, proven=False)
    return engine if precision == "f32" else Wrong(engine)


def test_auto_falls_back_to_what_agrees_and_says_so(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(BACKENDS, "openvino", Backend(__name__, "openvino", (".onnx",)))
    with caplog.at_level("INFO"):
        assert engines.load(network).precision == "f32"
    assert "net on wrong in bf16 disagrees" in caplog.text
    with pytest.raises(gate.GateError, match="net on wrong in bf16 disagrees"):
        engines.load(network, "openvino", "bf16")


def test_what_is_no_reference_says_so(network: Path) -> None:
    gate.golden_path(network).write_bytes(b"nothing")
    with pytest.raises(engines.EngineError, match=r"net.golden.npz: not a reference .*; make it again by scripts"):
        engines.load(network, "onnxruntime")


def test_a_reference_for_pictures_of_another_size_says_so(network: Path) -> None:
    gate.write_golden(gate.golden_path(network), PICTURES[:, :, :4], 1.0, np.ones((4, 8), np.float32), "rows")
    with pytest.raises(gate.GateError, match=r"is for pictures \(3, 4, 4\), the network takes \(3, 6, 4\)"):
        engines.load(network, "onnxruntime")


BOXES = np.array([[[10, 10, 50, 90, 0.8, 0], [60, 10, 100, 90, 0.3, 0], [0, 0, 9, 9, 0.05, 0]]], np.float32)


def changed(row: int, column: int, value: float) -> engines.Array:
    boxes = BOXES.copy()
    boxes[0, row, column] = value
    return boxes


@pytest.mark.parametrize(
    ("boxes", "agrees"),
    [
        (BOXES, True),
        (BOXES[:, ::-1], True),  # order does not matter
        (changed(0, 0, 11), True),  # IoU 0.975
        (changed(0, 0, 13), False),  # IoU 0.925
        (changed(0, 4, 0.785), True),
        (changed(0, 4, 0.77), False),
        (changed(1, 5, 1), False),  # another class
        (changed(1, 4, 0.0), False),  # one too few
        (changed(2, 4, 0.5), False),  # one too many
        (changed(2, 4, 0.07), True),  # not sure enough to count
        (changed(0, 2, np.nan), False),
        (np.zeros_like(BOXES), False),
    ],
)
def test_boxes_agree_in_place_score_and_number(boxes: engines.Array, agrees: bool) -> None:
    assert gate.compare_boxes(boxes, BOXES, "f32").ok is agrees
    assert gate.compare_boxes(BOXES, boxes, "f32").ok is agrees


# 2 classes, 3 anchors, none of which a raw head leaves out: sure of the first, of the second, of neither
HEAD = np.array([[[30, 80, 5], [50, 50, 5], [40, 40, 9], [80, 80, 9], [0.8, 0.1, 0.05], [0.0, 0.3, 0.05]]], np.float32)


def head(channel: int | slice, anchor: int | slice, change: float) -> engines.Array:
    changed = HEAD.copy()
    changed[0, channel, anchor] += np.float32(change)
    return changed


@pytest.mark.parametrize(
    ("rows", "agrees"),
    [
        (HEAD, True),
        (head(0, 0, 0.5), True),
        (head(0, slice(None), 8), False),  # every box shifted by 8 px
        (head(4, 0, 0.015), True),
        (head(4, 0, -0.1), False),
        (head(slice(4, 6), 2, 0.02), True),  # not sure enough to count
        (head(slice(4, 6), 2, 0.5), False),
        (HEAD * [[[1], [1], [1], [1], [0], [0]]], False),  # nobody
        (HEAD[:, [0, 1, 2, 3, 5, 4]], False),  # classes in another order
        (HEAD[:, :, ::-1], False),  # anchors in another order
        (np.where(np.arange(6)[None, :, None] < 4, HEAD, HEAD**2), False),
        (head(5, 1, np.nan), False),
    ],
)
def test_raw_heads_agree_anchor_by_anchor_in_place_and_scores(rows: engines.Array, agrees: bool) -> None:
    assert gate.compare_heads(rows, HEAD, "f32").ok is agrees
    assert gate.compare_heads(HEAD, rows, "f32").ok is agrees


@pytest.mark.parametrize(
    ("facts", "shape", "how"),
    [
        ({"kind": "reid"}, (2, 512), "rows"),
        ({"task": "detect"}, (2, 300, 6), "boxes"),
        ({"task": "detect"}, (2, 84, 8400), "heads"),
        ({}, (2, 84, 8400), "values"),
    ],
)
def test_outputs_are_compared_by_what_the_file_is_for_and_their_shape(
    facts: dict[str, str], shape: tuple[int, ...], how: str
) -> None:
    assert comparison(facts, shape) == how


def test_in_int8_the_median_anchor_of_a_raw_head_counts() -> None:
    many = np.tile(HEAD[:, :, :2], (2, 1, 6))
    one_off, all_off = many.copy(), many.copy()
    one_off[0, 4, 0] -= 0.3
    all_off[:, 4, ::2] -= 0.1
    all_off[:, 5, 1::2] -= 0.1
    assert gate.compare_heads(one_off, many, "int8").ok
    assert not gate.compare_heads(all_off, many, "int8").ok


CROWD = np.array([[[60 * k, 10, 60 * k + 40, 90, 0.5 + 0.04 * k, 0] for k in range(8)]] * 4, np.float32)


def crowd(picture: int | slice, row: int | slice, column: int, change: float) -> engines.Array:
    boxes = CROWD.copy()
    boxes[picture, row, column] += np.float32(change)
    return boxes


@pytest.mark.parametrize(
    ("boxes", "agrees"),
    [
        (crowd(0, 0, 4, -0.3), True),  # one box moved far
        (crowd(slice(None), slice(3), 4, -0.3), True),  # three of eight in every picture
        (crowd(slice(None), slice(None), 4, 0.03), True),
        (crowd(slice(None), slice(None), 4, 0.05), False),  # all of them a little
        (crowd(slice(None), slice(None), 0, 3), True),  # IoU 0.925
        (crowd(slice(None), slice(None), 0, 5), False),  # IoU 0.875
        (crowd(0, slice(None), 1, 60), False),  # one picture of four is wrong
        (crowd(0, slice(None), 4, -0.6), False),  # and finds next to nobody
        (crowd(0, 0, 4, np.nan), False),
    ],
)
def test_in_int8_the_median_box_counts_over_all_and_in_every_picture(boxes: engines.Array, agrees: bool) -> None:
    assert gate.compare_boxes(boxes, CROWD, "int8").ok is agrees
    assert not gate.compare_boxes(boxes, CROWD, "f32").ok


@pytest.mark.parametrize(
    ("boxes", "agrees"),
    [
        (crowd(0, 0, 4, -0.09), True),  # one box moved
        (crowd(0, 0, 4, -0.11), False),  # too far
        (crowd(0, 0, 0, 9), True),  # IoU 0.775
        (crowd(0, 0, 0, 12), False),  # IoU 0.7
        (crowd(slice(None), slice(2), 4, 0.05), True),  # two of eight in every picture
        (crowd(slice(None), slice(3), 4, 0.05), False),
        (crowd(slice(None), slice(None), 4, 0.03), False),  # all of them a little
        (crowd(0, 0, 4, -0.6), False),  # one too few
        (crowd(0, 0, 4, np.nan), False),
    ],
)
def test_in_bf16_three_quarters_of_the_boxes_count_and_none_may_be_far_off(boxes: engines.Array, agrees: bool) -> None:
    assert gate.compare_boxes(boxes, CROWD, "bf16").ok is agrees
    assert not gate.compare_boxes(boxes, CROWD, "f32").ok


class Rounding:
    """A detector of one picture a call that moves every score by as much."""

    name, backend, precision, metadata = "net", "fake", "bf16", {}
    inputs = (engines.TensorSpec("images", (1, 3, 6, 4), np.dtype(np.float32)),)
    outputs = (engines.TensorSpec("boxes", (1, 8, 6), np.dtype(np.float32)),)

    def __init__(self, off: float) -> None:
        self._off = np.float32(off)

    def __call__(self, *batch: engines.Array) -> tuple[engines.Array, ...]:
        return (CROWD[:1] + self._off * (np.arange(6) == 4),)


def test_where_a_call_is_one_picture_the_share_of_boxes_is_that_of_all_calls() -> None:
    golden = gate.Golden(PICTURES.astype(np.float32), CROWD, "boxes", "net.golden.npz")
    assert gate.prove(Rounding(0.015), golden, 16).startswith("batch 1: ")
    with pytest.raises(gate.GateError, match="batch 4: 25% of all boxes are worse than"):
        gate.prove(Rounding(0.05), golden, 16)


def test_in_bf16_three_quarters_of_the_anchors_of_a_raw_head_count() -> None:
    many = np.tile(HEAD[:, :, :2], (2, 1, 6))
    one_off, far_off, half_off = many.copy(), many.copy(), many.copy()
    one_off[0, 4, 0] -= 0.05
    far_off[0, 4, 0] -= 0.3
    half_off[:, 4:, ::2] -= 0.05
    assert [gate.compare_heads(one, many, "bf16").ok for one in (one_off, far_off, half_off)] == [True, False, False]


def test_int8_may_turn_a_descriptor_further() -> None:
    row, turned = np.array([[1.0, 0.0]]), np.array([[1.0, 0.1]])  # cosine 0.995
    assert gate.compare_rows(turned, row, "int8").ok
    assert not gate.compare_rows(turned, row, "bf16").ok


def test_values_are_compared_by_their_largest_difference() -> None:
    assert gate.compare_values(np.array([[100.0, 1.0]]), np.array([[101.0, 1.0]]), "f32").ok
    assert not gate.compare_values(np.array([[97.0, 1.0]]), np.array([[100.0, 1.0]]), "f32").ok
    assert not gate.compare_values(np.array([[np.nan]]), np.array([[1.0]]), "f32").ok
