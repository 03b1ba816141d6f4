"""Ground truth that is exact by construction: boxes with visibility, ground positions, calibration."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.simulator.camera import Camera
from pipeline.simulator.mesh import Mesh
from pipeline.simulator.renderer import Renderer

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
NEAR_M = 0.3
MIN_VISIBILITY = 0.3
MIN_HEIGHT_PX = 40.0
MIN_INSIDE = 0.5


@dataclass(frozen=True, slots=True)
class PersonView:
    """One person in one frame of one camera.

    Attributes:
        box_xywh: the whole person, hidden parts included, clipped to the frame; pixels.
        visibility: visible pixels over those that would be visible if this person were alone, 0..1.
        inside: share of the unclipped box's area that lies in the frame, 0..1.
    """

    identity_id: int
    box_xywh: tuple[float, float, float, float]
    visibility: float
    inside: float

    @property
    def counts(self) -> bool:
        """Whether a tracker is to be scored on this box."""
        return self.visibility >= MIN_VISIBILITY and self.box_xywh[3] >= MIN_HEIGHT_PX and self.inside >= MIN_INSIDE


def measure_views(
    renderer: Renderer,
    camera: Camera,
    poses: Mapping[int, F32],
    bodies: Mapping[int, F32],
    owner: U8,
) -> list[PersonView]:
    """Everybody of whom at least a pixel is seen.

    Args:
        poses: bone matrices by actor number, as drawn.
        bodies: world points (V, 3) on the skin and clothes, by actor number.
        owner: `Picture.owner` of the same view.
    """
    seen = np.bincount(owner.ravel(), minlength=256)
    views = []
    for number, bones in poses.items():
        box = projected_box(camera, bodies[number])
        if box is None:
            continue
        clipped = np.clip(box, 0, [*camera.size_wh, *camera.size_wh])
        width, height = clipped[2:] - clipped[:2]
        if width < 2 or height < 2:
            continue
        if not seen[number]:
            continue
        alone = int(np.count_nonzero(renderer.alone(camera, number, bones)))
        inside = width * height / ((box[2] - box[0]) * (box[3] - box[1]))
        xywh = (float(clipped[0]), float(clipped[1]), float(width), float(height))
        views.append(PersonView(number, xywh, min(1.0, int(seen[number]) / alone), float(inside)))
    return views


def projected_box(camera: Camera, points: F32) -> F64 | None:
    """(4,) unclipped x1, y1, x2, y2 of world points; None when any is behind the camera or all are out of the frame."""
    pixels = camera.project(points)
    if (pixels[:, 2] < NEAR_M).any():
        return None
    low, high = pixels[:, :2].min(0), pixels[:, :2].max(0)
    if (high <= 0).any() or (low >= camera.size_wh).any():
        return None
    return np.concatenate([low, high])


def skin_points(mesh: Mesh, bones: F32) -> F32:
    """(V / 4, 3) world points that box a posed person to within a pixel."""
    return mesh.skinned(bones, every=4)


def mot_line(frame: int, view: PersonView) -> str:
    """MOT16 ground truth: frame (from 1), id, x, y, w, h, consider, class, visibility."""
    x, y, w, h = view.box_xywh
    return f"{frame},{view.identity_id},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{int(view.counts)},1,{view.visibility:.3f}"


def write_calibration(path: Path, cameras: Sequence[Camera]) -> None:
    """JSON by camera_id: K, R, t (camera = R world + t), size, place, and the homography from ground to image."""
    calibration = {
        camera.camera_id: {
            "size_wh": list(camera.size_wh),
            "place": str(camera.place),
            "K": camera.intrinsics.tolist(),
            "R": camera.rotation.tolist(),
            "t": camera.translation.tolist(),
            "ground_to_image": camera.ground_to_image.tolist(),
        }
        for camera in cameras
    }
    path.write_text(json.dumps(calibration, indent=1) + "\n")
