"""Pictures to person boxes through a YOLO network of any back end.

Three heads are told apart by their output shape: (N, K, 6) rows of x1, y1, x2, y2, score, class (NMS-free, or NMS in
the graph), and the raw (N, 4 + classes, A) with centre, size and a score per class.
"""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

import engines
from engines.gate import golden_path, read_golden
from pipeline.config import DetectorConfig
from pipeline.datatypes import F32, U8, Detections
from pipeline.errors import EngineFailure
from pipeline.export_detector import CACHE_DIR, DEFAULT_DETECTOR, resolve_detector

PADDING = 114  # grey around a letterboxed picture, as in training
STRIDE = 32  # network height and width are multiples of it
MIN_SIDE = 64  # a smaller side has fewer anchors than the head returns rows
MAX_IOU = 0.7  # two boxes that overlap more are one person; NMS-free heads still repeat one now and then


class Detector:
    """A person detector: RGB in 0..1 in, boxes out.

    Args:
        engine: a YOLO exported by this project or by ultralytics; where its height and width are dynamic, pictures
            are shrunk to the longer side that its metadata name (`imgsz`) and padded no further than needed.
        source: the file, for messages.
        min_score: boxes below are dropped.

    Raises:
        EngineFailure: the file is no detector, or knows no class "person".
    """

    def __init__(self, engine: engines.Engine, source: str, min_score: float = 0.2) -> None:
        self.engine = engine
        self.min_score = min_score
        self._source = source
        _check_kind(engine, source)
        self._person = _person_class(engine, source)
        self._batch, _, *size_hw = engine.inputs[0].shape
        self._size_hw = (size_hw[0], size_hw[1])
        self._long_side = max(ast.literal_eval(engine.metadata.get("imgsz", "[640, 640]")))

    @classmethod
    def load(cls, config: DetectorConfig, cache_dir: Path = CACHE_DIR, *, threads: int = 0) -> "Detector":
        """The detector that the settings name; a `.pt` is exported into `cache_dir` first.

        Args:
            threads: CPU threads for one call; 0 = one for each core.

        Raises:
            ConfigError: the model cannot be found or exported.
            EngineFailure: missing, of the wrong kind, or not runnable here.
        """
        path = resolve_detector(config.model, cache_dir)
        try:
            engine = engines.load(path, config.backend, config.precision, threads, examples=example_input)
            return cls(engine, str(path), config.min_score)
        except engines.EngineError as error:
            raise EngineFailure(f"detector.model: {error}") from error

    def detect(self, images_bgr: Sequence[U8]) -> list[Detections]:
        """People in each picture, best first; [] for no pictures.

        Args:
            images_bgr: (H, W, 3) each, sizes may differ; one call of the network for all of them, or as many as a
                file of fixed batch size needs.

        Raises:
            EngineFailure: the network cannot run.
        """
        if not images_bgr:
            return []
        boxed, scales = letterbox(images_bgr, self._network_hw(images_bgr))
        rows = self._run(np.ascontiguousarray(boxed[..., ::-1].transpose(0, 3, 1, 2), np.float32) / np.float32(255))
        return [
            self._people(row, scale, image.shape[:2])
            for row, scale, image in zip(rows, scales, images_bgr, strict=True)
        ]

    def _network_hw(self, images_bgr: Sequence[U8]) -> tuple[int, int]:
        """Height and width to run at: the file's own, or the least that hold every picture."""
        hw = np.array([image.shape[:2] for image in images_bgr], np.float64)
        hw *= self._long_side / hw.max(1, keepdims=True)
        least = np.maximum(np.ceil(hw.max(0).round() / STRIDE) * STRIDE, MIN_SIDE).astype(int)
        return self._size_hw[0] or int(least[0]), self._size_hw[1] or int(least[1])

    def _run(self, batch: F32) -> F32:
        """(N, 3, H, W) -> the head's (N, ...), also where the file's batch size is fixed."""
        step = self._batch or len(batch)
        padded = np.concatenate([batch, np.zeros((-len(batch) % step, *batch.shape[1:]), np.float32)])
        try:
            parts = [self.engine(padded[start : start + step])[0] for start in range(0, len(padded), step)]
        except engines.EngineError as error:
            raise EngineFailure(f"{self._source}: {error}") from error
        return np.concatenate(parts)[: len(batch)]

    def _people(self, rows: F32, scale: float, image_hw: tuple[int, int]) -> Detections:
        """One picture's rows of the head as boxes in its own pixels."""
        boxes, score = _decode(rows, self._person)
        keep = score >= self.min_score
        boxes, score = boxes[keep], score[keep]
        sizes = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        kept = np.array(cv2.dnn.NMSBoxes(sizes.tolist(), score.tolist(), 0.0, MAX_IOU), np.intp)
        height, width = image_hw
        boxes = np.clip(boxes[kept] / np.float32(scale), 0, np.array([width, height, width, height], np.float32))
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return Detections(boxes[inside], score[kept][inside])


def letterbox(images_bgr: Sequence[U8], size_hw: tuple[int, int]) -> tuple[U8, list[float]]:
    """Every picture scaled to fit, at the top left of grey: (N, H, W, 3), and the scales."""
    height, width = size_hw
    boxed = np.full((len(images_bgr), height, width, 3), PADDING, np.uint8)
    scales = [min(height / image.shape[0], width / image.shape[1]) for image in images_bgr]
    for row, (image, scale) in enumerate(zip(images_bgr, scales, strict=True)):
        h, w = (min(max(round(n * scale), 1), limit) for n, limit in zip(image.shape[:2], size_hw, strict=True))
        cv2.resize(image, (w, h), dst=boxed[row, :h, :w], interpolation=cv2.INTER_LINEAR)
    return boxed, scales


def example_input(inputs: Sequence[engines.TensorSpec], metadata: Mapping[str, str]) -> F32 | None:
    """Rendered people, as a network of this input takes them: what a detector without a reference is compared on."""
    del metadata
    if len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3 or inputs[0].dtype != np.float32:
        return None
    shipped = read_golden(golden_path(DEFAULT_DETECTOR)).inputs
    _, _, height, width = inputs[0].shape
    size_hw = (height or shipped.shape[2], width or shipped.shape[3])
    boxed, _ = letterbox(np.rint(shipped * 255).astype(np.uint8).transpose(0, 2, 3, 1), size_hw)
    return np.ascontiguousarray(boxed.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def _decode(rows: F32, person: int) -> tuple[F32, F32]:
    """One picture's (K, 6) or (4 + classes, A) as boxes (P, 4) x1, y1, x2, y2 and scores (P,) of people."""
    if rows.shape[1] == 6:
        rows = rows[rows[:, 5] == person]
        return rows[:, :4], rows[:, 4]
    centre, half = rows[:2].T, rows[2:4].T / 2
    return np.hstack([centre - half, centre + half]), rows[4 + person]


def _check_kind(engine: engines.Engine, source: str) -> None:
    inputs, outputs, facts = engine.inputs, engine.outputs, engine.metadata
    kind = facts.get("kind", {"detect": "detector"}.get(facts.get("task", "detect"), facts.get("task")))
    picture = len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[1] == 3
    head = (
        len(outputs) == 1
        and len(outputs[0].shape) == 3
        and (outputs[0].shape[2] == 6 or (outputs[0].shape[1] or 0) > 4)
    )
    if kind != "detector" or not picture or not head or inputs[0].dtype != np.float32:
        raise EngineFailure(
            f"{source}: not a person detector (metadata kind={kind!r}, {inputs[0]} -> {outputs[0]}); "
            "give a YOLO detector as detector.model"
        )


def _person_class(engine: engines.Engine, source: str) -> int:
    """The class to keep: "person", or the only one there is."""
    names: dict[int, str] = ast.literal_eval(engine.metadata.get("names", "{0: 'person'}"))
    if len(names) == 1:
        return next(iter(names))
    for index, name in names.items():
        if name == "person":
            return index
    raise EngineFailure(f"{source}: finds {', '.join(names.values())}, not 'person'; give a person detector")
