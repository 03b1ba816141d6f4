"""Stand-ins that keep the real contracts: a network made of numpy, and short ways to write messages."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from engines.engine import Array, TensorSpec, check_batch
from pipeline.datatypes import F32, U8, CameraUpdate, Frame, Tracklet

F32_TYPE = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class FakeEngine:
    """An engine whose network is a function of arrays; as strict about its input as a real one."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: dict[str, str]
    function: Callable[[F32], F32]
    name: str = "fake"
    backend: str = "fake"
    precision: str = "float32"
    batch_sizes: list[int] = field(default_factory=list)

    def __call__(self, *batch: Array) -> tuple[Array, ...]:
        check_batch(self.name, self.inputs, batch)
        self.batch_sizes.append(len(batch[0]))
        return (self.function(batch[0]),)


def ask_to_stop(number: int = signal.SIGINT) -> None:
    """What a signal leads to, without it: after the tests of engines a real one ends this process with a crash."""
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)


def picture_spec(height: int | None, width: int | None) -> TensorSpec:
    return TensorSpec("images", (None, 3, height, width), F32_TYPE)


def bright_box_finder(rows: int = 8) -> FakeEngine:
    """A detector of one class: every bright rectangle on a dark ground is a person."""

    def find(images: F32) -> F32:
        found = np.zeros((len(images), rows, 6), np.float32)
        for row, image in enumerate(images):
            bright = (image.max(axis=0) > 0.55).astype(np.uint8)
            count, _, stats, _ = cv2.connectedComponentsWithStats(bright)
            for place, (x, y, w, h, area) in enumerate(s for s in stats[1:count] if s[4] > 50):
                found[row, place] = (x, y, x + w, y + h, 0.9, 0) if area < bright.size / 2 else 0
        return found

    spec = TensorSpec("boxes", (None, rows, 6), F32_TYPE)
    return FakeEngine((picture_spec(None, None),), (spec,), {"kind": "detector", "imgsz": "[160, 160]"}, find)


def colour_describer() -> FakeEngine:
    """A re-ID network whose descriptor, of length 3, is the mean colour; it is not normalised."""
    spec = TensorSpec("embeddings", (None, 3), F32_TYPE)
    return FakeEngine((picture_spec(16, 8),), (spec,), {"kind": "reid"}, lambda crops: crops.mean(axis=(2, 3)))


def picture(*people: tuple[int, int, int, int, tuple[int, int, int]], size_wh: tuple[int, int] = (160, 120)) -> U8:
    """Rectangles (x, y, w, h, BGR) on black."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for x, y, w, h, colour in people:
        image[y : y + h, x : x + w] = colour
    return image


def frame(image_bgr: U8, index: int = 0, at: float = 0.0, camera_id: str = "a") -> Frame:
    return Frame(camera_id, index, at, at, image_bgr)


def unit(*values: float) -> F32:
    """(D,) of length 1."""
    vector = np.array(values, np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def tracklet(
    track_id: int,
    embedding: Sequence[float] | F32,
    *,
    at: float,
    since: float = 0.0,
    count: int = 3,
    closed: bool = False,
) -> Tracklet:
    """`count` equal embeddings of a track seen from `since` to `at`."""
    return Tracklet(
        track_id=track_id,
        seq=count,
        first_seen=since,
        last_seen=at,
        embeddings=np.repeat(unit(*embedding)[None], count, axis=0),
        quality=np.ones(count, np.float32),
        box_xyxy=np.array([10 * track_id, 0, 10 * track_id + 8, 20], np.float32),
        score=0.9,
        closed=closed,
    )


def update(camera_id: str, at: float, *tracklets: Tracklet, epoch: int = 1) -> CameraUpdate:
    return CameraUpdate(camera_id, epoch, round(at * 10), at, at, tracklets)
