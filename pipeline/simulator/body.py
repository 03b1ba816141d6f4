"""The bare body as signed distances: one solid per part, proportions as fractions of body height.

Proportions: own measurements of drawings, tuned until a COCO detector took the result for a person (docs/simulator.md).
"""

import numpy as np

from pipeline.simulator.person import Build
from pipeline.simulator.sdf import F32, ellipsoid, round_cone, smooth_min, smooth_union
from pipeline.simulator.skeleton import SIDES


def body_parts(points: F32, build: Build, joints: dict[str, F32]) -> dict[str, F32]:
    """Distance in metres to torso, neck, head and, on each side, upper_arm, forearm, hand, thigh, shin and foot."""
    parts = {"torso": _torso(points, build, joints), "neck": _neck(points, build), "head": _head(points, build)}
    for side, _ in SIDES:
        parts |= _arm(points, build, joints, side)
        parts |= _leg(points, build, joints, side)
    return parts


def _at(height: float, *fractions: float) -> F32:
    return np.array(fractions, np.float32) * np.float32(height)


def _torso(points: F32, build: Build, joints: dict[str, F32]) -> F32:
    h, girth = build.height_m, build.girth
    female = float(build.female)
    wide = np.array([girth, girth, 1], np.float32)
    chest = ellipsoid(
        points, _at(h, 0, -0.006, 0.735), _at(h, (0.090 - 0.006 * female) * build.shoulders, 0.060, 0.105) * wide
    )
    waist = ellipsoid(points, _at(h, 0, 0, 0.635), _at(h, 0.080 - 0.008 * female, 0.055, 0.10) * wide)
    pelvis = ellipsoid(
        points, _at(h, 0, -0.003, 0.545), _at(h, 0.084 * build.hips, 0.060 + 0.004 * female, 0.068) * wide
    )
    torso = smooth_union([chest, waist, pelvis], 0.028 * h)
    if build.belly > 0:
        belly = _at(h, 0.07, 0.045 + 0.03 * build.belly, 0.075) * wide
        torso = smooth_min(torso, ellipsoid(points, _at(h, 0, 0.02 + 0.02 * build.belly, 0.61), belly), 0.028 * h)
    limb = girth**0.75
    for side, sign in SIDES:
        if build.female:
            breast = ellipsoid(points, _at(h, sign * 0.042, 0.045, 0.735), _at(h, 0.036, 0.032, 0.036) * girth)
            torso = smooth_min(torso, breast, 0.02 * h)
        glute = ellipsoid(points, _at(h, sign * 0.042, -0.035, 0.525), _at(h, 0.042, 0.040, 0.048) * limb)
        torso = smooth_min(torso, glute, 0.03 * h)
        shoulder = joints[f"upper_arm_{side}"] + _at(h, -sign * 0.004, 0, -0.008)
        trapezius = round_cone(
            points, _at(h, sign * 0.022, -0.014, 0.828), shoulder, 0.033 * h * limb**0.7, 0.030 * h * limb
        )
        torso = smooth_min(torso, trapezius, 0.03 * h)
    return torso


def _neck(points: F32, build: Build) -> F32:
    h = build.height_m
    start, end = _at(h, 0, -0.014, 0.81), _at(h, 0, 0, 0.895)
    return round_cone(points, start, end, 0.034 * h * build.girth**0.5, 0.030 * h * build.girth**0.4)


def _head(points: F32, build: Build) -> F32:
    h = build.height_m
    head = ellipsoid(points, _at(h, 0, 0, 0.942), _at(h, 0.0445, 0.055, 0.060))
    jaw = ellipsoid(points, _at(h, 0, 0.016, 0.902), _at(h, 0.034, 0.038, 0.034) * build.girth**0.25)
    nose = ellipsoid(points, _at(h, 0, 0.054, 0.922), _at(h, 0.008, 0.013, 0.015))
    head = smooth_min(smooth_min(head, jaw, 0.02 * h), nose, 0.010 * h)
    for _, sign in SIDES:
        ear = ellipsoid(points, _at(h, sign * 0.046, -0.004, 0.928), _at(h, 0.006, 0.011, 0.017))
        head = smooth_min(head, ear, 0.006 * h)
    return head


def _arm(points: F32, build: Build, joints: dict[str, F32], side: str) -> dict[str, F32]:
    h, limb = build.height_m, build.girth**0.75
    shoulder, elbow = joints[f"upper_arm_{side}"], joints[f"forearm_{side}"]
    wrist, tip = joints[f"hand_{side}"], joints[f"hand_tip_{side}"]
    slim = 0.92 if build.female else 1.0
    upper = round_cone(points, shoulder, elbow, 0.0305 * h * limb * slim, 0.0235 * h * limb)
    fore = round_cone(points, elbow, wrist, 0.0235 * h * limb, 0.0165 * h * limb**0.6)
    muscle = round_cone(
        points, elbow + 0.12 * (wrist - elbow), elbow + 0.45 * (wrist - elbow), 0.026 * h * limb, 0.023 * h * limb
    )
    knuckles = wrist + 0.45 * (tip - wrist)
    palm = round_cone(points, wrist, knuckles, 0.016 * h, 0.021 * h)
    fingers = round_cone(points, knuckles, tip, 0.019 * h, 0.010 * h)
    thumb = round_cone(
        points,
        wrist + 0.2 * (tip - wrist),
        wrist + 0.55 * (tip - wrist) + _at(h, 0, 0.03, 0),
        0.010 * h,
        0.008 * h,
    )
    return {
        f"upper_arm_{side}": upper,
        f"forearm_{side}": smooth_min(fore, muscle, 0.02 * h),
        f"hand_{side}": smooth_min(smooth_min(palm, fingers, 0.012 * h), thumb, 0.01 * h),
    }


def _leg(points: F32, build: Build, joints: dict[str, F32], side: str) -> dict[str, F32]:
    h, limb = build.height_m, build.girth**0.75
    hip, knee = joints[f"thigh_{side}"], joints[f"shin_{side}"]
    ankle, toe = joints[f"foot_{side}"], joints[f"toe_{side}"]
    thigh = round_cone(points, hip, knee, 0.057 * h * limb, 0.035 * h * limb**0.6)
    upper = round_cone(points, hip + 0.1 * (knee - hip), hip + 0.45 * (knee - hip), 0.055 * h * limb, 0.048 * h * limb)
    shin = round_cone(points, knee, ankle, 0.033 * h * limb**0.6, 0.0215 * h)
    calf = round_cone(
        points,
        knee + 0.12 * (ankle - knee) + _at(h, 0, -0.010, 0),
        knee + 0.42 * (ankle - knee) + _at(h, 0, -0.012, 0),
        0.033 * h * limb**0.6,
        0.031 * h * limb**0.6,
    )
    ball = toe + _at(h, 0, -0.035, 0.004)
    heel = round_cone(points, ankle + _at(h, 0, -0.022, -0.018), ball + _at(h, 0, 0, 0.002), 0.024 * h, 0.024 * h)
    toes = round_cone(points, ball, toe, 0.024 * h, 0.017 * h)
    instep = round_cone(points, ankle, ankle + _at(h, 0, 0.03, -0.02), 0.024 * h, 0.022 * h)
    foot = smooth_union([heel, toes, instep], 0.02 * h)
    return {
        f"thigh_{side}": smooth_min(thigh, upper, 0.02 * h),
        f"shin_{side}": smooth_min(shin, calf, 0.02 * h),
        f"foot_{side}": np.maximum(foot, 0.002 * h - points[..., 2]),
    }
