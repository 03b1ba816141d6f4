"""The named types that flow from a camera to an identity.

Arrays are numpy; boxes are pixels of the original frame; times are UTC seconds. What crosses a socket is a msgspec
struct (`Tracklet`, `CameraUpdate`, `Assignment`, `CameraIdentities`), what stays in a process is a dataclass.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of one camera.

    Attributes:
        index: counts the frames that the source delivered, from 0; gaps are frames that were never processed.
        captured_at: UTC seconds; for a file its start plus the container's timestamp.
        arrived_at: monotonic seconds at which the decoded picture was ready; only for measuring latency.
        image_bgr: (H, W, 3) uint8.
    """

    camera_id: str
    index: int
    captured_at: float
    arrived_at: float
    image_bgr: U8


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """People found in one frame.

    Attributes:
        boxes_xyxy: (N, 4) float32, pixels of the frame.
        score: (N,) float32 in 0..1.
    """

    boxes_xyxy: F32
    score: F32

    def __post_init__(self) -> None:
        if self.boxes_xyxy.shape != (len(self.score), 4):
            raise ValueError(f"expected boxes (N, 4) and N scores, got {self.boxes_xyxy.shape}, {self.score.shape}")

    def __len__(self) -> int:
        return len(self.score)


class TrackState(StrEnum):
    """Tentative until seen often enough, lost while not seen, then gone."""

    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"
    LOST = "lost"
