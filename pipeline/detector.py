"""Pictures to person boxes through a YOLO network of any back end.

Three heads are told apart by their output shape: (N, K, 6) rows of x1, y1, x2, y2, score, class (NMS-free, or NMS in
the graph), and the raw (N, 4 + classes, A) with centre, size and a score per class.
"""

import ast
from collections.abc import Sequence

import cv2
import numpy as np

import engines
from engines.loading import BACKENDS
from engines.tensorrt_builder import long_side
from pipeline.config import DetectorConfig
from pipeline.datatypes import F32, U8, Detections
from pipeline.errors import EngineFailure
from pipeline.export_detector import resolve_detector
from pipeline.pictures import detector_input, example_pictures

MAX_IOU = 0.7  # two boxes that overlap more are one person; NMS-free heads still repeat one now and then


class Detector:
    """A person detector: RGB in 0..1 in, boxes out.

    Args:
        engine: a YOLO exported by this project or by ultralytics; where its height and width are dynamic, pictures
            are shrunk to the longer side that its metadata name (`imgsz`) and padded no further than needed.
        source: the file, for messages.
        min_score: boxes below are dropped.
        size: another longer side than the one in the metadata; a multiple of 32.

    Attributes:
        metadata: the engine's, with `size` where that was given.

    Raises:
        EngineFailure: the file is no detector, knows no class "person", or takes no pictures of this size.
    """

    def __init__(
        self,
        engine: engines.Engine,
        source: str,
        min_score: float = DetectorConfig().min_score,
        size: int | None = None,
    ) -> None:
        self.engine = engine
        self.min_score = min_score
        self._source = source
        _check_kind(engine, source)
        self._person = _person_class(engine, source)
        self.metadata = {**engine.metadata, **({} if size is None else _of_size(engine, source, size))}

    @classmethod
    def load(cls, config: DetectorConfig, *, threads: int = 0, largest: int = 0) -> "Detector":
        """The detector that the settings name; a `.pt` is exported first.

        Args:
            threads: CPU threads for one call; 0 = one for each core.
            largest: pictures in a call, at most.

        Raises:
            ConfigError: the model cannot be found or exported.
            EngineFailure: missing, of the wrong kind, or not runnable here.
        """
        path = resolve_detector(config.model)
        try:
            engine = engines.load(
                path, config.backend, config.precision, threads, examples=example_pictures, largest=largest
            )
            return cls(engine, str(path), config.min_score, config.size)
        except engines.EngineError as error:
            raise EngineFailure(f"detector.model: {error}") from error

    def scale(self, image_bgr: U8) -> float:
        """How large the network sees a picture (H, W, 3), as a share of its size."""
        return detector_input([image_bgr], self.engine.inputs[0], self.metadata)[1][0]

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
        batch, scales = detector_input(images_bgr, self.engine.inputs[0], self.metadata)
        return [
            self._people(row, scale, image.shape[:2])
            for row, scale, image in zip(self._run(batch), scales, images_bgr, strict=True)
        ]

    def _run(self, batch: F32) -> F32:
        """(N, 3, H, W) -> the head's (N, ...), also where the file's batch size is fixed."""
        step = self.engine.inputs[0].shape[0] or len(batch)
        padded = np.concatenate([batch, np.zeros((-len(batch) % step, *batch.shape[1:]), np.float32)])
        try:
            parts = [self.engine(padded[start : start + step])[0] for start in range(0, len(padded), step)]
        except engines.EngineError as error:
            raise EngineFailure(f"{self._source}: {error}") from error
        return np.concatenate(parts)[: len(batch)]

    def _people(self, rows: F32, scale: float, image_hw: tuple[int, int]) -> Detections:
        """One picture's rows of the head as boxes in its own pixels."""
        boxes, score = _decode(rows, self._person)
        keep = (score >= self.min_score) & np.isfinite(score) & np.isfinite(boxes).all(1)
        boxes, score = boxes[keep], score[keep]
        sizes = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        kept = np.array(cv2.dnn.NMSBoxes(sizes.tolist(), score.tolist(), 0.0, MAX_IOU), np.intp)
        height, width = image_hw
        boxes = np.clip(boxes[kept] / np.float32(scale), 0, np.array([width, height, width, height], np.float32))
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return Detections(boxes[inside], score[kept][inside])


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


def _of_size(engine: engines.Engine, source: str, size: int) -> dict[str, str]:
    """The metadata that say this size."""
    *_, height, width = engine.inputs[0].shape
    if height and width:
        raise EngineFailure(
            f"detector.size: {size}, but {source} takes pictures of {width}x{height} alone; leave size out, or export "
            "it with open height and width"
        )
    row = BACKENDS.get(engine.backend)
    if row and row.on_gpu and size > long_side(engine.metadata):
        raise EngineFailure(
            f"detector.size: {size}, but plans of {source} are for pictures up to {long_side(engine.metadata)}; set "
            "detector.backend to openvino, or give a file that was exported at this size"
        )
    return {"imgsz": f"[{size}, {size}]"}


def _person_class(engine: engines.Engine, source: str) -> int:
    """The class to keep: "person", or the only one there is."""
    names: dict[int, str] = ast.literal_eval(engine.metadata.get("names", "{0: 'person'}"))
    if len(names) == 1:
        return next(iter(names))
    for index, name in names.items():
        if name == "person":
            return index
    raise EngineFailure(f"{source}: finds {', '.join(names.values())}, not 'person'; give a person detector")
