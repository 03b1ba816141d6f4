"""Seventeen bones: where their joints rest, and where a walking person puts them.

Axes: x right, y forward, z up, origin between the feet. The rest pose is an A-pose whose bone rotations are identity.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from pipeline.simulator.person import Build, Gait

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

PARENTS: dict[str, str | None] = {
    "pelvis": None, "spine": "pelvis", "chest": "spine", "neck": "chest", "head": "neck",
    "upper_arm_l": "chest", "forearm_l": "upper_arm_l", "hand_l": "forearm_l",
    "upper_arm_r": "chest", "forearm_r": "upper_arm_r", "hand_r": "forearm_r",
    "thigh_l": "pelvis", "shin_l": "thigh_l", "foot_l": "shin_l",
    "thigh_r": "pelvis", "shin_r": "thigh_r", "foot_r": "shin_r",
}  # fmt: skip
BONES = tuple(PARENTS)
SIDES = (("l", -1.0), ("r", 1.0))

# Flexion in degrees over one cycle that starts at heel strike; shapes after Winter, "Biomechanics of Human Movement".
_KNEE = CubicSpline([0, 0.14, 0.40, 0.60, 0.72, 0.86, 1], [5, 18, 5, 36, 60, 26, 5], bc_type="periodic")
_ANKLE = CubicSpline([0, 0.08, 0.45, 0.62, 0.80, 1], [0, -6, 10, -17, 1, 0], bc_type="periodic")


def rest_joints(build: Build) -> dict[str, F32]:
    """Position (3,) in metres of every bone's joint at rest, and of hand_tip_* and toe_*."""
    height = build.height_m
    joints: dict[str, F64] = {
        "pelvis": np.array([0, 0, 0.53]),
        "spine": np.array([0, -0.004, 0.60]),
        "chest": np.array([0, -0.006, 0.68]),
        "neck": np.array([0, -0.012, 0.83]),
        "head": np.array([0, 0, 0.872]),
    }
    half_width = 0.094 * build.shoulders * build.girth**0.35 * (0.95 if build.female else 1.0)
    for side, sign in SIDES:
        shoulder = np.array([sign * half_width, -0.01, 0.806])
        elbow = shoulder + 0.178 * _down_and_out(sign, 20, -0.03)
        wrist = elbow + 0.148 * _down_and_out(sign, 16, 0.08)
        joints[f"upper_arm_{side}"] = shoulder
        joints[f"forearm_{side}"] = elbow
        joints[f"hand_{side}"] = wrist
        joints[f"hand_tip_{side}"] = wrist + 0.095 * _down_and_out(sign, 14, 0.10)
        joints[f"thigh_{side}"] = np.array([sign * 0.052 * build.hips, 0, 0.515])
        joints[f"shin_{side}"] = np.array([sign * 0.056, 0.004, 0.283])
        joints[f"foot_{side}"] = np.array([sign * 0.058, -0.010, 0.042])
        joints[f"toe_{side}"] = np.array([sign * 0.068, 0.105, 0.016])
    return {name: np.asarray(place * height, np.float32) for name, place in joints.items()}


def _down_and_out(sign: float, degrees: float, forward: float) -> F64:
    angle = np.radians(degrees)
    return np.array([sign * np.sin(angle), forward, -np.cos(angle)])


def rotation(axis: str, degrees: float) -> F64:
    """(4, 4) right-handed rotation about "x", "y" or "z"."""
    matrix = np.eye(4)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    angle = np.radians(degrees)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i] = np.sin(angle)
    matrix[i, j] = -matrix[j, i]
    return matrix


def walking_rotations(gait: Gait, phase: float, amplitude: float) -> dict[str, F64]:
    """Local (4, 4) rotation of every bone; amplitude 0 stands still, 1 walks; phase is 0..1 from left heel strike."""
    cosine, sine = np.cos(2 * np.pi * phase), np.sin(2 * np.pi * phase)
    turns = {
        "pelvis": rotation("z", 4 * cosine * amplitude) @ rotation("y", 2.5 * sine * amplitude),
        "spine": rotation("x", -gait.lean * (0.4 + 0.6 * amplitude)) @ rotation("z", -4 * cosine * amplitude),
        "chest": rotation("z", -5 * cosine * amplitude)
        @ rotation("y", -2 * sine * amplitude)
        @ rotation("x", -gait.stoop),
        "neck": rotation("x", gait.stoop),
        "head": rotation("x", gait.lean * 0.6 - gait.nod) @ rotation("z", 5 * cosine * amplitude),
    }
    holds = {"l": gait.left_hold, "r": gait.right_hold}
    for (side, sign), lag in zip(SIDES, (0.0, 0.5), strict=True):
        turn = (phase + lag) % 1
        swing = np.cos(2 * np.pi * turn)
        turns[f"thigh_{side}"] = rotation("x", (8 + 23 * swing) * amplitude + 1 - amplitude) @ rotation(
            "y", -1.5 * sign
        )
        turns[f"shin_{side}"] = rotation("x", -float(_KNEE(turn)) * amplitude - 2)
        turns[f"foot_{side}"] = rotation("x", float(_ANKLE(turn)) * amplitude + 1)
        shoulder = -gait.arm_swing * swing * amplitude - 2
        elbow = gait.elbow + gait.arm_swing * 0.6 * max(0.0, -swing) * amplitude
        hold = holds[side]
        if hold:
            shoulder, elbow = hold[0] - 3 * swing * amplitude, hold[1]
        turns[f"upper_arm_{side}"] = rotation("x", shoulder) @ rotation("y", sign * gait.adduction)
        turns[f"forearm_{side}"] = rotation("x", elbow) @ rotation("y", -2 * sign)
        turns[f"hand_{side}"] = rotation("z", 15 * sign)
    return turns


def stride_m(build: Build, speed: float) -> float:
    """Metres walked in one gait cycle."""
    return float(0.78 * build.height_m * (max(speed, 0.05) / 1.3) ** 0.4)


def pose(joints: dict[str, F32], gait: Gait, phase: float, amplitude: float, *, ground_xy: F64, heading: float) -> F32:
    """Bone matrices (17, 4, 4), rest pose to world, lowest foot on the ground; heading is radians from +x."""
    turns = walking_rotations(gait, phase, amplitude)
    bones: dict[str, F64] = {}
    for bone, parent in PARENTS.items():
        local = turns[bone].copy()
        joint = joints[bone]
        local[:3, 3] = joint - local[:3, :3] @ joint
        bones[bone] = local if parent is None else bones[parent] @ local
    world = rotation("z", np.degrees(heading) - 90)
    world[:3, 3] = *ground_xy, -_lowest_foot(joints, bones)
    return np.asarray(np.stack([world @ bones[bone] for bone in BONES]), np.float32)


def _lowest_foot(joints: dict[str, F32], bones: dict[str, F64]) -> float:
    height = joints["head"][2] / 0.872
    soles = []
    for side, _ in SIDES:
        x, y, _ = joints[f"foot_{side}"]
        toe_x, toe_y, _ = joints[f"toe_{side}"]
        heel_and_toe = np.array([(x, y - 0.022 * height, 0, 1), (toe_x, toe_y, 0, 1)])
        soles.append((heel_and_toe @ bones[f"foot_{side}"][2]).min())
    return float(min(soles))
