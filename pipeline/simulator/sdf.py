"""Signed distances to simple solids (negative inside), and their smooth union. Points are (..., 3) float32 metres.

Source: Quilez, "Distance functions" and "Smooth minimum" (polynomial).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]


def common(*distances: F32) -> F32:
    """What lies in all of at least one solid; cutting off z > a is `common(solid, z - a)`."""
    return np.asarray(np.maximum.reduce(distances), np.float32)


def union(*distances: F32) -> F32:
    """What lies in any of at least one solid."""
    return np.asarray(np.minimum.reduce(distances), np.float32)


def smooth_min(first: F32, second: F32, radius: float) -> F32:
    """Union of two solids whose seam is rounded over `radius` metres."""
    overlap = np.maximum(radius - np.abs(first - second), 0) / radius
    return np.asarray(np.minimum(first, second) - overlap * overlap * (radius * 0.25), np.float32)


def smooth_union(distances: list[F32], radius: float) -> F32:
    """Union of at least one solid, every seam rounded."""
    union = distances[0]
    for distance in distances[1:]:
        union = smooth_min(union, distance, radius)
    return union


def round_cone(points: F32, start: ArrayLike, end: ArrayLike, start_radius: float, end_radius: float) -> F32:
    """Capsule from start to end whose radius varies linearly."""
    a = np.asarray(start, np.float32)
    axis = np.asarray(end, np.float32) - a
    offset = points - a
    along = np.clip((offset @ axis) / np.float32(axis @ axis), 0, 1)
    offset -= along[..., None] * axis
    distance = np.sqrt(np.einsum("...i,...i->...", offset, offset))
    return np.asarray(distance - (start_radius + (end_radius - start_radius) * along), np.float32)


def ellipsoid(points: F32, centre: ArrayLike, radii: ArrayLike) -> F32:
    """Ellipsoid, exact at the surface, a bound elsewhere."""
    r = np.asarray(radii, np.float32)
    scaled = (points - np.asarray(centre, np.float32)) / r
    level = np.sqrt(np.einsum("...i,...i->...", scaled, scaled))
    scaled /= r
    slope = np.sqrt(np.einsum("...i,...i->...", scaled, scaled)) + 1e-9
    return np.asarray(level * (level - 1) / slope, np.float32)


def rounded_box(points: F32, centre: ArrayLike, half_size: ArrayLike, rounding: float) -> F32:
    """Box of the given half size (rounding included) with rounded edges."""
    offset = np.abs(points - np.asarray(centre, np.float32)) - (np.asarray(half_size, np.float32) - rounding)
    outside = np.sqrt(np.square(np.maximum(offset, 0)).sum(-1))
    return np.asarray(outside + np.minimum(offset.max(-1), 0) - rounding, np.float32)


def elliptic_cone(points: F32, radius_x: ArrayLike, radius_y: ArrayLike) -> F32:
    """Vertical tube around the z axis; radii may vary with z (arrays of the points' shape). A bound, not exact."""
    rx, ry = np.asarray(radius_x, np.float32), np.asarray(radius_y, np.float32)
    level = np.sqrt(np.square(points[..., 0] / rx) + np.square(points[..., 1] / ry))
    return np.asarray((level - 1) * np.minimum(rx, ry), np.float32)
