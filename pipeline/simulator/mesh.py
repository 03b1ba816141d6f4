"""One triangle mesh per person: marching cubes over every solid, ambient occlusion, and skin weights."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from pipeline.errors import ConfigError
from pipeline.simulator.clothes import LONG_TOPS, dressed
from pipeline.simulator.person import Bag, Bottom, Build, Material, Outfit
from pipeline.simulator.sdf import F32, round_cone, union
from pipeline.simulator.skeleton import BONES, SIDES, rest_joints

I32 = NDArray[np.int32]
BONE_INDEX = {bone: index for index, bone in enumerate(BONES)}
ARM_BONES = np.array([BONE_INDEX[f"{part}_{side}"] for part in ("upper_arm", "forearm", "hand") for side in "lr"])
OCCLUSION_STEPS = ((0.03, 1.0), (0.07, 0.7), (0.13, 0.5))  # (distance as fraction of height, weight)


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A body in its rest pose, metres.

    Attributes:
        vertices, normals: (V, 3).
        material, occlusion: (V,); occlusion is 1 in the open, 0 in a crease.
        bone_index, bone_weight: (V, 4); weights sum to 1.
        triangles: (F, 3) int32.
        joints: name to (3,), from `rest_joints`.
    """

    vertices: F32
    normals: F32
    material: F32
    occlusion: F32
    bone_index: I32
    bone_weight: F32
    triangles: I32
    joints: dict[str, F32]

    def skinned(self, bones: F32, every: int = 1) -> F32:
        """(V / every, 3) world positions under bone matrices (17, 4, 4)."""
        chosen = slice(None, None, every)
        blend = np.einsum("vk,vkij->vij", self.bone_weight[chosen], bones[self.bone_index[chosen], :3])
        return np.asarray(np.einsum("vij,vj->vi", blend[:, :, :3], self.vertices[chosen]) + blend[:, :, 3], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Shell:
    """The surface of one solid; vertices and normals (V, 3), triangles (F, 3), on the grid's own axes."""

    material: Material
    grid: F32
    normals: F32
    triangles: I32


def build_mesh(build: Build, outfit: Outfit, voxel_m: float = 0.018) -> Mesh:
    """Mesh of a dressed person; finer voxels cost time and memory by the third power.

    Raises:
        ConfigError: scikit-image is not installed.
    """
    height = build.height_m
    low = np.array([-0.36, -0.24, -0.01], np.float32) * np.float32(height)
    counts = np.ceil((np.array([0.36, 0.24, 1.05]) * height - low) / voxel_m).astype(int)
    axes = [low[i] + voxel_m * np.arange(counts[i]) for i in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)
    joints = rest_joints(build)
    solids = dressed(points, build, outfit, joints)
    surface = union(*solids.values())
    shells = [_shell(material, solids, voxel_m, height) for material in solids if solids[material].min() < 0]
    vertices = np.concatenate([shell.grid for shell in shells]) * np.float32(voxel_m) + low
    normals = np.concatenate([shell.normals for shell in shells])
    material = np.concatenate([np.full(len(shell.grid), shell.material, np.float32) for shell in shells])
    starts = np.cumsum([0, *(len(shell.grid) for shell in shells[:-1])])
    triangles = np.concatenate([shell.triangles + start for shell, start in zip(shells, starts, strict=True)])
    occlusion = _occlusion(surface, (vertices - low) / np.float32(voxel_m), normals, voxel_m, height)
    weights = _skin_weights(vertices, material, build, outfit, joints)
    strongest = np.argsort(-weights, axis=1)[:, :4]
    chosen = np.take_along_axis(weights, strongest, 1)
    return Mesh(
        vertices=np.asarray(vertices, np.float32),
        normals=normals,
        material=material,
        occlusion=occlusion,
        bone_index=strongest.astype(np.int32),
        bone_weight=np.asarray(chosen / chosen.sum(1, keepdims=True), np.float32),
        triangles=triangles.astype(np.int32),
        joints=joints,
    )


def _shell(material: Material, solids: dict[Material, F32], voxel_m: float, height: float) -> _Shell:
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise ConfigError('scikit-image is missing: pip install "mspf-pipeline[simulate]"') from error
    solid = solids[material]
    grid, triangles, _, _ = marching_cubes(solid, 0, gradient_direction="ascent")  # type: ignore[no-untyped-call]
    gradient: list[F32] = [_sampled(np.asarray(slope, np.float32), grid) for slope in np.gradient(solid)]
    normals = np.stack(gradient, 1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    cover = _cover(material, solids)
    if cover is not None:
        hidden = _sampled(cover, grid) < -0.003 * height
        triangles = triangles[~hidden[triangles].all(1)]
        used, triangles = np.unique(triangles, return_inverse=True)
        grid, normals, triangles = grid[used], normals[used], triangles.reshape(-1, 3)
    return _Shell(material, grid.astype(np.float32), normals.astype(np.float32), triangles.astype(np.int32))


def _sampled(field: F32, grid: F32) -> F32:
    """(V,) values of a field between grid points (V, 3), trilinear."""
    return np.asarray(map_coordinates(field, grid.T, order=1, mode="nearest"), np.float32)


def _cover(material: Material, solids: dict[Material, F32]) -> F32 | None:
    """What hides this solid: clothes hide skin and hair, a top hides trousers."""
    if material is Material.BOTTOM:
        return solids[Material.TOP]
    if material in (Material.SKIN, Material.HAIR):
        clothes = (Material.TOP, Material.BOTTOM, Material.SHOE, Material.HAT)
        return union(*(solids[garment] for garment in clothes if garment in solids))
    return None


def _occlusion(surface: F32, grid: F32, normals: F32, voxel_m: float, height: float) -> F32:
    """Ambient occlusion from three samples of the distance field along the normal (Evans, SIGGRAPH 2006)."""
    total = np.zeros(len(grid), np.float32)
    for step, weight in OCCLUSION_STEPS:
        free = _sampled(surface, grid + normals * np.float32(step * height / voxel_m))
        total += weight * np.clip(free / (step * height), 0, 1)
    return total / np.float32(sum(weight for _, weight in OCCLUSION_STEPS))


@dataclass(frozen=True, slots=True)
class _Segment:
    """Where a bone pulls: from start to end, fading over its radius."""

    start: F32
    end: F32
    radius: float


def _segments(height: float, joints: dict[str, F32]) -> dict[str, _Segment]:
    up = np.array([0, 0, height], np.float32)
    segments = {
        "pelvis": _Segment(joints["pelvis"] - 0.02 * up, joints["spine"], 0.085),
        "spine": _Segment(joints["spine"], joints["chest"], 0.08),
        "chest": _Segment(joints["chest"], joints["neck"] - 0.02 * up, 0.092),
        "neck": _Segment(joints["neck"], joints["head"], 0.034),
        "head": _Segment(joints["head"] + 0.02 * up, joints["head"] + 0.09 * up, 0.05),
    }
    for side, _ in SIDES:
        shoulder, elbow, wrist = (joints[f"{part}_{side}"] for part in ("upper_arm", "forearm", "hand"))
        hip, knee, ankle = (joints[f"{part}_{side}"] for part in ("thigh", "shin", "foot"))
        segments |= {
            f"upper_arm_{side}": _Segment(shoulder + 0.12 * (elbow - shoulder), elbow, 0.033),
            f"forearm_{side}": _Segment(elbow, wrist, 0.027),
            f"hand_{side}": _Segment(wrist, joints[f"hand_tip_{side}"], 0.022),
            f"thigh_{side}": _Segment(hip, knee, 0.055),
            f"shin_{side}": _Segment(knee, ankle, 0.037),
            f"foot_{side}": _Segment(ankle, joints[f"toe_{side}"], 0.03),
        }
    return segments


def _skin_weights(vertices: F32, material: F32, build: Build, outfit: Outfit, joints: dict[str, F32]) -> F32:
    """(V, 17) weights that sum to 1, fading with the distance to each bone measured in bone radii."""
    height = build.height_m
    segments = _segments(height, joints)
    weights = np.empty((len(vertices), len(BONES)), np.float32)
    for index, bone in enumerate(BONES):
        segment = segments[bone]
        distance = round_cone(vertices, segment.start, segment.end, 0, 0) / (segment.radius * height)
        weights[:, index] = np.exp(-np.minimum(distance, 9) / 0.16)
    x, z = vertices[:, 0] / height, vertices[:, 2] / height
    weights[np.ix_((z < 0.60) & (np.abs(x) < 0.125), ARM_BONES)] = 0  # resting hands do not pull the hips
    for side, sign in SIDES:
        arm = np.array([BONE_INDEX[f"{part}_{side}"] for part in ("upper_arm", "forearm", "hand")])
        leg = np.array([BONE_INDEX[f"{part}_{side}"] for part in ("thigh", "shin", "foot")])
        weights[np.ix_(sign * x < 0.050, arm)] = 0
        weights[np.ix_((sign * x < -0.012) | ((sign * x < 0) & (z < 0.45)), leg)] *= 0.02
    _weigh_cloth(weights, x, z, material, outfit)
    _weigh_attached(weights, x, z, material, outfit)
    return np.asarray(weights / (weights.sum(1, keepdims=True) + 1e-20), np.float32)


def _weigh_cloth(weights: F32, x: F32, z: F32, material: F32, outfit: Outfit) -> None:
    """Let skirts, coats and dresses hang between both thighs; changes `weights`."""
    hangs = np.zeros(len(x), bool)
    if outfit.top in LONG_TOPS:
        hangs |= material == Material.TOP
    if outfit.bottom is Bottom.SKIRT:
        hangs |= material == Material.BOTTOM
    is_arm = weights[:, ARM_BONES].sum(1) > 0.5 * weights.sum(1)
    hangs &= (z < 0.56) & (np.abs(x) < 0.2) & ~is_arm
    swing = 0.93 * np.clip((0.57 - z[hangs]) / 0.16, 0, 1)
    left = 1 / (1 + np.exp(x[hangs] / 0.020))
    weights[hangs] = 0
    weights[hangs, BONE_INDEX["pelvis"]] = 1 - swing
    weights[hangs, BONE_INDEX["thigh_l"]] = swing * left
    weights[hangs, BONE_INDEX["thigh_r"]] = swing * (1 - left)


def _weigh_attached(weights: F32, x: F32, z: F32, material: F32, outfit: Outfit) -> None:
    """Fix hair, hat, face and bag to their bones; changes `weights`."""
    on_head = (material == Material.HAIR) | (material == Material.HAT)
    share = np.clip((z[on_head] - 0.84) / 0.04, 0, 1)
    weights[on_head] = 0
    weights[on_head, BONE_INDEX["head"]] = share
    weights[on_head, BONE_INDEX["chest"]] = 1 - share
    face = (material == Material.SKIN) & (z > 0.885) & (np.abs(x) < 0.08)
    weights[face] = 0
    weights[face, BONE_INDEX["head"]] = 1
    bag = material == Material.BAG
    low = 0.0 if outfit.bag is Bag.BACKPACK else 1.0
    share = np.clip((z[bag] - 0.56) / 0.12, 0, 1) if low else np.ones(int(bag.sum()), np.float32)
    weights[bag] = 0
    weights[bag, BONE_INDEX["chest"]] = share
    weights[bag, BONE_INDEX["pelvis"]] = 1 - share
