r"""Score detectors on YOLO-format folders, through the same code as a run.

    python scripts/evaluate_detector.py pipeline/weights/person_detector.onnx yolov8n.onnx \
        --images person-det/images/val

Labels lie beside: images/val -> labels/val. AP is COCO's (supervision); recall and false alarms a picture are at
--min-score and IoU 0.5, recall also for people at least --min-height pixels tall.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from numpy.typing import NDArray
from supervision.metrics import MeanAveragePrecision

import engines
from pipeline.datatypes import F32, U8, Detections
from pipeline.detector import Detector
from pipeline.errors import PipelineError
from pipeline.pictures import example_pictures

BATCH = 8


@dataclass(frozen=True, slots=True)
class Score:
    """Shares are in 0..1; false alarms are a picture."""

    ap50: float
    ap50_95: float
    recall: float
    recall_tall: float
    precision: float
    false_alarms: float


def read_labels(path: Path, width: int, height: int) -> F32:
    """(N, 4) x1, y1, x2, y2 pixels from a YOLO label file; (0, 4) where there is none."""
    text = path.read_text() if path.is_file() else ""
    rows = np.array([line.split()[:5] for line in text.splitlines() if line.strip()], np.float32).reshape(-1, 5)[:, 1:]
    corners = np.hstack([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2])
    return corners * np.array([width, height, width, height], np.float32)


def read_picture(path: Path) -> U8:
    """(H, W, 3) BGR."""
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path}: not a picture that OpenCV reads; take it out of the folder")
    return image


def matched(found: Detections, truth: F32) -> NDArray[np.bool_]:
    """(N,) whether each true box is found at IoU >= 0.5, boxes taken best first and each once."""
    hit = np.zeros(len(truth), bool)
    if not len(truth) or not len(found):
        return hit
    iou = sv.box_iou_batch(truth, found.boxes_xyxy)
    for column in np.argsort(-found.score):
        row = int(np.where(hit, -1, iou[:, column]).argmax())
        hit[row] |= not hit[row] and iou[row, column] >= 0.5
    return hit


def as_supervision(boxes: F32, score: F32 | None = None) -> sv.Detections:
    """Boxes of one class in the form that the metric takes."""
    return sv.Detections(boxes, confidence=score, class_id=np.zeros(len(boxes), int))


def evaluate(detector: Detector, folder: Path, min_score: float, min_height: float) -> Score:
    """Score one detector, which must return boxes down to score 0.001, on one folder of images."""
    average = MeanAveragePrecision()
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".jpg", ".png"))
    if not paths:
        raise SystemExit(f"{folder}: no .jpg or .png in it; give a folder of pictures with --images")
    labels = folder.parent.parent / "labels" / folder.name
    hits, tall, alarms = [], [], 0
    for start in range(0, len(paths), BATCH):
        chunk = paths[start : start + BATCH]
        images = [read_picture(path) for path in chunk]
        for path, image, found in zip(chunk, images, detector.detect(images), strict=True):
            truth = read_labels(labels / f"{path.stem}.txt", image.shape[1], image.shape[0])
            average.update(as_supervision(found.boxes_xyxy, found.score), as_supervision(truth))
            sure = found.score >= min_score
            hit = matched(Detections(found.boxes_xyxy[sure], found.score[sure]), truth)
            hits.append(hit)
            tall.append(truth[:, 3] - truth[:, 1] >= min_height)
            alarms += int(sure.sum() - hit.sum())
    result = average.compute()
    hit, is_tall = np.concatenate(hits), np.concatenate(tall)
    precision = hit.sum() / max(hit.sum() + alarms, 1)
    return Score(result.map50, result.map50_95, hit.mean(), hit[is_tall].mean(), precision, alarms / len(paths))


def print_table(arguments: argparse.Namespace) -> None:
    """One row of a Markdown table for each network and folder.

    Raises:
        EngineError, EngineFailure: a file is no detector, or does not run.
    """
    tall = f"recall >= {arguments.min_height:g} px"
    print(f"| network | images | AP50 | AP50-95 | recall | {tall} | precision | false alarms |")
    print("|---|---|---|---|---|---|---|---|")
    for folder in arguments.images:
        for path in arguments.networks:
            engine = engines.load(path, precision=arguments.precision, examples=example_pictures)
            detector = Detector(engine, str(path), min_score=0.001, size=arguments.size)
            s = evaluate(detector, folder, arguments.min_score, arguments.min_height)
            print(
                f"| {path.name} | {folder.parent.parent.name}/{folder.name} | {s.ap50:.3f} | {s.ap50_95:.3f} "
                f"| {s.recall:.3f} | {s.recall_tall:.3f} | {s.precision:.3f} | {s.false_alarms:.2f} |",
                flush=True,
            )


def main() -> None:
    """Read the arguments, print the table, say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--images", type=Path, nargs="+", action="extend", required=True)
    parser.add_argument("--min-score", type=float, default=0.2)
    parser.add_argument("--min-height", type=float, default=60)
    parser.add_argument("--precision", default="auto", help="auto, f32 or bf16")
    parser.add_argument("--size", type=int, help="longer side of the pictures it sees; default: the network's own")
    arguments = parser.parse_args()
    try:
        print_table(arguments)
    except (engines.EngineError, PipelineError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
