"""Perspective cameras: where they hang, what they project to which pixel, and how their sensor colours the world."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.simulator.scene import PlaceName

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Xyz = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """Sensor: exposure and white balance multiply linear light; blur in pixels; noise in 8-bit levels."""

    exposure: float = 0.7
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    vignette: float = 0.15
    blur: float = 0.5
    noise: float = 2.5


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera without distortion; world metres, z up."""

    camera_id: str
    place: PlaceName
    eye: Xyz
    target: Xyz
    horizontal_fov_deg: float
    size_wh: tuple[int, int]
    look: Look = Look()

    @property
    def intrinsics(self) -> F64:
        """(3, 3) pixels; the centre of the upper left pixel is (0.5, 0.5)."""
        width, height = self.size_wh
        focal = width / 2 / np.tan(np.radians(self.horizontal_fov_deg) / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    @property
    def rotation(self) -> F64:
        """(3, 3) world to camera; camera axes are right, down, forward, as in OpenCV."""
        forward = np.subtract(self.target, self.eye)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    @property
    def translation(self) -> F64:
        """(3,) so that camera = rotation @ world + translation."""
        return np.asarray(-self.rotation @ np.array(self.eye))

    @property
    def ground_to_image(self) -> F64:
        """(3, 3) homography from ground metres (x, y, 1) to pixels."""
        return np.asarray(self.intrinsics @ np.column_stack([self.rotation[:, :2], self.translation]))

    def project(self, points: ArrayLike) -> F64:
        """(N, 3) pixel x, pixel y and depth in metres of world points (N, 3); depth <= 0 is behind the camera."""
        seen = np.asarray(points, np.float64) @ self.rotation.T + self.translation
        depth = seen[:, 2:]
        pixels = seen @ self.intrinsics.T
        return np.hstack([pixels[:, :2] / np.where(np.abs(depth) < 1e-6, 1e-6, depth), depth])

    def view_projection(self, near: float = 0.2, far: float = 80.0) -> F64:
        """(4, 4) world to OpenGL clip space."""
        view = np.eye(4)
        view[:3, :3] = self.rotation * np.array([[1], [-1], [-1]])
        view[:3, 3] = self.translation * np.array([1, -1, -1])
        width, height = self.size_wh
        scale = 1 / np.tan(np.radians(self.horizontal_fov_deg) / 2)
        projection = np.zeros((4, 4))
        projection[0, 0], projection[1, 1] = scale, scale * width / height
        projection[2, 2] = -(far + near) / (far - near)
        projection[2, 3] = -2 * far * near / (far - near)
        projection[3, 2] = -1
        return np.asarray(projection @ view)


@dataclass(frozen=True, slots=True)
class _Mount:
    """Place, eye, target and horizontal field of view of one camera."""

    place: PlaceName
    eye: Xyz
    target: Xyz
    fov: float


# The first two look at the plaza from two sides, the third and fourth see nothing of it; later ones add overlap.
_MOUNTS = (
    _Mount(PlaceName.PLAZA, (-2.2, -8.3, 3.1), (0.3, 1.5, 0.75), 62),
    _Mount(PlaceName.PLAZA, (8.7, -1.6, 3.8), (-1.5, 0.9, 0.65), 64),
    _Mount(PlaceName.COURTYARD, (-29.6, -6.0, 3.3), (-20.2, 0.8, 0.7), 62),
    _Mount(PlaceName.HALL, (14.6, 7.2, 2.8), (21.5, -0.9, 0.75), 64),
    _Mount(PlaceName.PLAZA, (1.0, 8.4, 5.0), (0.0, -0.5, 0.4), 66),
    _Mount(PlaceName.COURTYARD, (-14.3, -7.2, 4.6), (-21.8, 0.6, 0.5), 64),
    _Mount(PlaceName.HALL, (30.4, -7.0, 4.0), (21.0, -0.2, 0.5), 62),
    _Mount(PlaceName.PLAZA, (-8.6, 6.8, 4.2), (-0.2, -0.4, 0.5), 62),
)
MAX_CAMERAS = len(_MOUNTS)


def site_cameras(count: int, size_wh: tuple[int, int], seed: int) -> tuple[Camera, ...]:
    """cam1, cam2, ...: fixed places, sensors that differ by seed; count is at most MAX_CAMERAS."""
    rng = np.random.default_rng([seed, 3])
    return tuple(
        Camera(f"cam{number}", mount.place, mount.eye, mount.target, mount.fov, size_wh, random_look(rng))
        for number, mount in enumerate(_MOUNTS[:count], start=1)
    )


def random_look(rng: np.random.Generator) -> Look:
    """A sensor with its own exposure, colour cast, sharpness and noise."""
    warmth, magenta = rng.uniform(-0.11, 0.11), rng.uniform(-0.03, 0.03)
    return Look(
        exposure=float(rng.uniform(0.5, 0.85)),
        white_balance=(float(1 + warmth), float(1 - magenta), float(1 - warmth)),
        saturation=float(rng.uniform(0.75, 1.08)),
        vignette=float(rng.uniform(0.05, 0.25)),
        blur=float(rng.uniform(0.35, 0.6)),
        noise=float(rng.uniform(0.6, 1.6)),
    )
