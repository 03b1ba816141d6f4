from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engines
from engines import Array, TensorSpec
from pipeline.config import DetectorConfig
from pipeline.datatypes import U8
from pipeline.detector import Detector
from pipeline.errors import EngineFailure

FLOAT = np.dtype(np.float32)
Shape = tuple[int | None, ...]


@dataclass
class FakeEngine:
    """A network that is a function of its batch; it remembers the shapes that it was called with."""

    run: Callable[[Array], Array] = field(default=lambda batch: np.zeros((len(batch), 0, 6), np.float32))
    input_shape: Shape = (None, 3, None, None)
    output_shape: Shape = (None, 300, 6)
    metadata: dict[str, str] = field(default_factory=lambda: {"kind": "detector", "imgsz": "[64, 64]"})
    name: str = "fake.onnx"
    backend: str = "fake"
    precision: str = "f32"
    called_with: list[Shape] = field(default_factory=list)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("images", self.input_shape, FLOAT),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("output0", self.output_shape, FLOAT),)

    def __call__(self, *batch: Array) -> tuple[Array, ...]:
        self.called_with.append(batch[0].shape)
        return (self.run(batch[0]),)


def find_white(batch: Array) -> Array:
    """One row a picture: the bounds of its white pixels, as an NMS-free head writes it."""
    rows = np.zeros((len(batch), 1, 6), np.float32)
    for row, image in zip(rows, batch, strict=True):
        y, x = np.nonzero(image.min(0) > 0.75)
        if len(x):
            row[0] = (x.min(), y.min(), x.max() + 1, y.max() + 1, 0.9, 0)
    return rows


def always(rows: Sequence[Sequence[float]]) -> Callable[[Array], Array]:
    """The same rows for every picture."""
    return lambda batch: np.broadcast_to(np.array(rows, np.float32), (len(batch), *np.shape(rows)))


def picture(height: int, width: int, box: tuple[int, int, int, int] | None = None) -> U8:
    """Black, with a white box x1, y1, x2, y2."""
    image = np.zeros((height, width, 3), np.uint8)
    if box:
        image[box[1] : box[3], box[0] : box[2]] = 255
    return image


@given(st.integers(40, 300), st.integers(40, 300), st.data())
def test_a_box_comes_back_where_it_was_in_the_picture(height: int, width: int, data: st.DataObject) -> None:
    x1, y1 = data.draw(st.integers(0, width - 20)), data.draw(st.integers(0, height - 20))
    x2, y2 = data.draw(st.integers(x1 + 20, width)), data.draw(st.integers(y1 + 20, height))
    (found,) = Detector(FakeEngine(find_white), "fake").detect([picture(height, width, (x1, y1, x2, y2))])
    np.testing.assert_allclose(found.boxes_xyxy, [[x1, y1, x2, y2]], atol=1.5 * max(height, width) / 64)


def test_pictures_of_different_sizes_share_one_call() -> None:
    engine = FakeEngine(find_white)
    pictures = [picture(36, 64, (10, 8, 20, 28)), picture(128, 96, (40, 60, 80, 120)), picture(32, 64)]
    found = Detector(engine, "fake").detect(pictures)
    assert engine.called_with == [(3, 3, 64, 64)]
    assert [len(one) for one in found] == [1, 1, 0]
    np.testing.assert_allclose(found[1].boxes_xyxy, [[40, 60, 80, 120]], atol=3)


@pytest.mark.parametrize(
    ("frame_hw", "network_hw"), [((360, 640), (384, 640)), ((512, 640), (512, 640)), ((1920, 1080), (640, 384))]
)
def test_padding_is_no_more_than_needed(frame_hw: tuple[int, int], network_hw: tuple[int, int]) -> None:
    engine = FakeEngine(metadata={"kind": "detector", "imgsz": "[640, 640]"})
    Detector(engine, "fake").detect([picture(*frame_hw)])
    assert engine.called_with == [(1, 3, *network_hw)]


def test_pictures_have_the_size_that_was_asked_for_and_boxes_are_still_where_they_were() -> None:
    engine = FakeEngine(find_white)
    detector = Detector(engine, "fake", size=256)
    (found,) = detector.detect([picture(360, 640, (100, 80, 130, 160))])
    assert engine.called_with == [(1, 3, 160, 256)]
    assert detector.metadata == {"kind": "detector", "imgsz": "[256, 256]"}
    np.testing.assert_allclose(found.boxes_xyxy, [[100, 80, 130, 160]], atol=3)


@pytest.mark.parametrize(
    ("shape", "size", "scale"),
    [((None, 3, None, None), None, 0.1), ((None, 3, None, None), 320, 0.5), ((None, 3, 64, 96), None, 0.1)],
)
def test_how_small_a_picture_is_seen(shape: Shape, size: int | None, scale: float) -> None:
    detector = Detector(FakeEngine(input_shape=shape), "fake", size=size)
    assert detector.scale(picture(640, 360)) == pytest.approx(scale)


def test_a_size_that_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(EngineFailure, match=r"detector.size: 256, but net.onnx takes pictures of 96x64 alone; leave"):
        Detector(FakeEngine(input_shape=(None, 3, 64, 96)), "net.onnx", size=256)
    on_gpu = FakeEngine(backend="tensorrt")
    Detector(on_gpu, "net.onnx", size=64)
    with pytest.raises(EngineFailure, match=r"detector.size: 96, but plans of net.onnx are for pictures up to 64; set"):
        Detector(on_gpu, "net.onnx", size=96)


def test_the_network_gets_rgb_in_0_to_1() -> None:
    seen: list[Array] = []
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[..., 0] = 255
    Detector(FakeEngine(lambda batch: seen.append(batch) or np.zeros((1, 0, 6), np.float32)), "fake").detect([blue])
    np.testing.assert_array_equal(seen[0][0, :, 5, 5], [0, 0, 1])


def test_no_pictures_give_no_detections_and_no_call() -> None:
    engine = FakeEngine()
    assert Detector(engine, "fake").detect([]) == []
    assert engine.called_with == []


def test_boxes_are_clipped_and_what_lies_outside_is_dropped() -> None:
    rows = [[-5, -5, 20, 30, 0.9, 0], [10, 10, 90, 90, 0.8, 0], [70, 3, 90, 9, 0.7, 0]]
    (found,) = Detector(FakeEngine(always(rows)), "fake").detect([picture(64, 64)])
    np.testing.assert_allclose(found.boxes_xyxy, [[0, 0, 20, 30], [10, 10, 64, 64]])


def test_low_scores_other_classes_and_repeats_are_dropped() -> None:
    rows = [[0, 0, 9, 9, 0.6, 0], [0, 0, 9, 9.5, 0.9, 0], [30, 30, 50, 50, 0.19, 0], [30, 3, 50, 50, 0.9, 1]]
    (found,) = Detector(FakeEngine(always(rows)), "fake", min_score=0.2).detect([picture(64, 64)])
    np.testing.assert_allclose(found.boxes_xyxy, [[0, 0, 9, 9.5]])
    np.testing.assert_allclose(found.score, [0.9])


def test_boxes_that_are_not_finite_are_dropped() -> None:
    rows = [[0, 0, np.nan, 9, 0.9, 0], [0, 0, 9, 9, np.nan, 0], [0, 0, np.inf, 9, 0.9, 0], [0, 0, 9, 9, 0.5, 0]]
    (found,) = Detector(FakeEngine(always(rows)), "fake").detect([picture(64, 64)])
    np.testing.assert_allclose(found.score, [0.5])


def test_a_raw_head_of_many_classes_gives_its_people() -> None:
    columns = np.array([[10, 20, 8, 16, 0.1, 0.9], [11, 20, 8, 16, 0.0, 0.8], [40, 40, 8, 8, 0.9, 0.0]]).T
    metadata = {"task": "detect", "imgsz": "[64, 64]", "names": "{0: 'car', 1: 'person'}"}
    engine = FakeEngine(always(columns), output_shape=(None, 6, None), metadata=metadata)
    (found,) = Detector(engine, "fake").detect([picture(64, 64)])
    np.testing.assert_allclose(found.boxes_xyxy, [[6, 12, 14, 28]])


def test_a_file_of_fixed_batch_is_called_as_often_as_needed() -> None:
    engine = FakeEngine(find_white, input_shape=(2, 3, 64, 96))
    boxes = [(4 * n, 10, 4 * n + 20, 50) for n in range(5)]
    found = Detector(engine, "fake").detect([picture(64, 96, box) for box in boxes])
    assert engine.called_with == [(2, 3, 64, 96)] * 3
    np.testing.assert_allclose(np.concatenate([one.boxes_xyxy for one in found]), boxes, atol=1)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        (FakeEngine(metadata={"kind": "reid"}), "not a person detector .*kind='reid'"),
        (FakeEngine(metadata={"task": "segment"}), "not a person detector .*kind='segment'"),
        (FakeEngine(output_shape=(None, 512)), "not a person detector"),
        (FakeEngine(input_shape=(None, 1, 64, 64)), "not a person detector"),
        (FakeEngine(metadata={"names": "{0: 'cat', 1: 'dog'}"}), "finds cat, dog, not 'person'"),
    ],
)
def test_a_network_of_the_wrong_kind_is_refused(engine: FakeEngine, says: str) -> None:
    with pytest.raises(EngineFailure, match=f"net.onnx: {says}"):
        Detector(engine, "net.onnx")


def test_a_failure_of_the_engine_names_the_file() -> None:
    def fail(batch: Array) -> Array:
        raise engines.EngineError("out of memory")

    with pytest.raises(EngineFailure, match=r"net.onnx: .*out of memory"):
        Detector(FakeEngine(fail), "net.onnx").detect([picture(64, 64)])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineFailure, match=r"none.onnx: no such network file"):
        Detector.load(DetectorConfig(model=str(tmp_path / "none.onnx")))


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_shipped_detector_sees_nobody_on_a_grey_wall(backend: str) -> None:
    detector = Detector.load(DetectorConfig(backend=backend, min_score=0.5))
    wall = np.full((360, 640, 3), 150, np.uint8)
    assert [len(found) for found in detector.detect([wall, wall[:, :480]])] == [0, 0]
