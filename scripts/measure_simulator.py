"""How well a detector that never saw the simulator finds its people: recall of unoccluded ones, false alarms a frame.

    python scripts/measure_simulator.py SITE --detector yolov8n.onnx

SITE is what `mspf-pipeline simulate --out SITE` wrote; the detector is a COCO YOLO with the raw (1, 84, N) head.
Counted are people more than 60 px tall, more than 85 % visible and more than 98 % in the frame.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.geometry import iou

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
INPUT_PX = 640
EDGE_PX = 1.0  # a box that touches the frame's edge is cut by it


@dataclass(slots=True)
class Tally:
    """Counts of one camera."""

    frames: int = 0
    people: int = 0
    found: int = 0
    false_alarms: int = 0
    missed: list[str] = field(default_factory=list)


def main() -> None:
    """Print one line a camera and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("--detector", type=Path, required=True, help="COCO YOLO as ONNX")
    parser.add_argument("--threshold", type=float, default=0.25)
    parser.add_argument("--every", type=int, default=5, help="use every n-th frame")
    parser.add_argument("--verbose", action="store_true", help="list the first misses")
    options = parser.parse_args()
    network = onnxruntime.InferenceSession(str(options.detector))
    total = Tally()
    for truth_file in sorted((options.site / "truth").glob("*.txt")):
        tally = Tally()
        people = read_people(truth_file)
        for index, image in decoded(options.site / f"{truth_file.stem}.mp4"):
            if index % options.every == 0:
                score_frame(tally, detect(network, image, options.threshold), people[index + 1], image.shape)
        report(truth_file.stem, tally)
        if options.verbose:
            print("\n".join(tally.missed[:12]))
        for name in ("frames", "people", "found", "false_alarms"):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
    report("all", total)


def report(name: str, tally: Tally) -> None:
    """One line: recall and false alarms."""
    recall = tally.found / max(tally.people, 1)
    alarms = tally.false_alarms / max(tally.frames, 1)
    print(f"{name}: {tally.found}/{tally.people} unoccluded people found ({recall:.3f}), "
          f"{alarms:.3f} false alarms a frame over {tally.frames} frames")  # fmt: skip


def read_people(path: Path) -> dict[int, F64]:
    """Rows (N, 9) of MOT ground truth by frame number from 1; frames without people give (0, 9)."""
    rows: dict[int, list[list[float]]] = defaultdict(list)
    with path.open() as lines:
        for row in csv.reader(lines):
            rows[int(row[0])].append([float(value) for value in row])
    return defaultdict(lambda: np.zeros((0, 9)), {frame: np.array(values) for frame, values in rows.items()})


def decoded(path: Path) -> Iterator[tuple[int, U8]]:
    """Index and BGR image of every frame."""
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            yield index, frame.to_ndarray(format="bgr24")


def detect(network: onnxruntime.InferenceSession, image_bgr: U8, threshold: float) -> F32:
    """(N, 4) people x1, y1, x2, y2 in pixels of the image, after letterboxing and NMS at IoU 0.6."""
    height, width = image_bgr.shape[:2]
    scale = INPUT_PX / max(height, width)
    size = (round(width * scale), round(height * scale))
    left, top = (INPUT_PX - size[0]) // 2, (INPUT_PX - size[1]) // 2
    canvas = np.full((INPUT_PX, INPUT_PX, 3), 114, np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(image_bgr, size)
    batch = canvas[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
    (head,) = network.run(None, {network.get_inputs()[0].name: batch})
    centre_x, centre_y, w, h, score = np.asarray(head)[0, :5]
    keep = score >= threshold
    boxes = np.stack([centre_x - w / 2 - left, centre_y - h / 2 - top, w, h], 1)[keep] / scale
    chosen = cv2.dnn.NMSBoxes(boxes.tolist(), score[keep].tolist(), threshold, 0.6)
    boxes = boxes[np.asarray(chosen, int).reshape(-1)].reshape(-1, 4)
    return np.asarray(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]), np.float32)


def score_frame(tally: Tally, detections: F32, people: F64, shape: tuple[int, ...]) -> None:
    """Add one frame to the tally."""
    boxes = np.hstack([people[:, 2:4], people[:, 2:4] + people[:, 4:6]])
    overlap = iou(boxes, detections)
    height, width = shape[:2]
    whole = (boxes[:, :2] > EDGE_PX).all(1) & (boxes[:, 2] < width - EDGE_PX) & (boxes[:, 3] < height - EDGE_PX)
    counted = whole & (people[:, 8] > 0.85) & (people[:, 5] > 60)
    found = overlap.max(1, initial=0) >= 0.5
    tally.frames += 1
    tally.people += int(counted.sum())
    tally.found += int((counted & found).sum())
    tally.false_alarms += int((overlap.max(0, initial=0) < 0.3).sum())
    tally.missed += [json.dumps(row) for row in people[counted & ~found].tolist()]


if __name__ == "__main__":
    main()
