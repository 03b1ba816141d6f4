"""Clothes, hair, hats and bags as signed distances: the body inflated, then cut at hem, cuff and collar.

Every garment is a solid of its own, meshed apart, so that colours meet at sharp edges. Fractions are of body height.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.simulator.body import body_parts
from pipeline.simulator.person import Bag, Bottom, Build, Hair, Hat, Material, Outfit, Top
from pipeline.simulator.sdf import (
    F32,
    common,
    ellipsoid,
    elliptic_cone,
    round_cone,
    rounded_box,
    smooth_min,
    smooth_union,
    union,
)
from pipeline.simulator.skeleton import SIDES


@dataclass(frozen=True, slots=True)
class TopCut:
    """Hem height, sleeve length (0..1 upper arm, 1..2 forearm) and cloth thickness."""

    hem: float
    sleeve: float
    thickness: float


TOPS = {
    Top.TEE: TopCut(0.49, 0.55, 0.008),
    Top.SHIRT: TopCut(0.475, 1.93, 0.010),
    Top.JUMPER: TopCut(0.485, 1.95, 0.011),
    Top.HOODIE: TopCut(0.47, 1.95, 0.015),
    Top.JACKET: TopCut(0.47, 1.97, 0.014),
    Top.COAT: TopCut(0.33, 1.97, 0.016),
    Top.DRESS: TopCut(0.33, 0.45, 0.007),
}
LONG_TOPS = (Top.COAT, Top.DRESS)
TROUSER_THICKNESS = {Bottom.TROUSERS: 0.013, Bottom.JEANS: 0.008, Bottom.SHORTS: 0.018, Bottom.LEGGINGS: 0.003}
TROUSER_HEM = {Bottom.TROUSERS: 0.032, Bottom.JEANS: 0.032, Bottom.SHORTS: 0.30, Bottom.LEGGINGS: 0.05}


@dataclass(frozen=True, slots=True)
class Figure:
    """What every garment is cut from: the grid, the wearer and the body's parts on that grid."""

    points: F32
    build: Build
    outfit: Outfit
    joints: dict[str, F32]
    parts: dict[str, F32]

    def at(self, *fractions: float) -> F32:
        """Fractions of body height in metres."""
        return np.array(fractions, np.float32) * np.float32(self.build.height_m)


def dressed(points: F32, build: Build, outfit: Outfit, joints: dict[str, F32]) -> dict[Material, F32]:
    """Distance in metres to every solid that this person shows, by material; body parts under clothes included."""
    figure = Figure(points, build, outfit, joints, body_parts(points, build, joints))
    bottom = _bottom(figure)
    solids = {
        Material.SKIN: _skin(figure),
        Material.TOP: _top(figure, bottom),
        Material.SHOE: _shoes(figure),
    }
    optional = {
        Material.HAIR: _hair(figure),
        Material.BOTTOM: bottom,
        Material.BAG: _bag(figure),
        Material.HAT: _hat(figure),
    }
    return solids | {material: solid for material, solid in optional.items() if solid is not None}


def _skin(figure: Figure) -> F32:
    h = figure.build.height_m
    limbs = [
        figure.parts[f"{part}_{side}"] for part in ("upper_arm", "forearm", "hand", "thigh", "shin") for side in "lr"
    ]
    skin = smooth_union([figure.parts["torso"], figure.parts["neck"], *limbs], 0.022 * h)
    skin = smooth_min(skin, figure.parts["head"], 0.012 * h)
    return common(skin, _leg_gap(figure, 0.02)) if figure.outfit.bottom in TROUSER_HEM else skin


def _shoes(figure: Figure) -> F32:
    h, z = figure.build.height_m, figure.points[..., 2]
    shins = union(figure.parts["shin_l"], figure.parts["shin_r"]) - 0.004 * h
    shaft = common(shins, z - (0.085 if figure.outfit.boots else 0.052) * h)
    feet = union(figure.parts["foot_l"], figure.parts["foot_r"]) - 0.004 * h
    return smooth_min(feet, shaft, 0.01 * h)


def _top(figure: Figure, bottom: F32 | None) -> F32:
    h, z, top = figure.build.height_m, figure.points[..., 2], figure.outfit.top
    cut = TOPS[top]
    cloth = _long_torso(figure) if top in LONG_TOPS else _short_torso(figure)
    sleeve_slack = 0.004 if cut.sleeve < 1 else 0.002
    for side, _ in SIDES:
        cloth = smooth_min(cloth, figure.parts[f"upper_arm_{side}"] - sleeve_slack * h, 0.028 * h)
    if cut.sleeve > 1:
        for side, _ in SIDES:
            cloth = smooth_min(cloth, figure.parts[f"forearm_{side}"] - 0.001 * h, 0.016 * h)
    cloth = cloth - cut.thickness * figure.outfit.looseness * h
    if bottom is not None:  # hang over the waistband
        cloth = smooth_min(cloth, bottom - 0.005 * h, 0.01 * h)
    cloth = common(cloth, cut.hem * h - z)
    cloth = _cut_collar(figure, cloth)
    for side, sign in SIDES:
        cloth = _cut_sleeve(figure, cloth, cut.sleeve, side, sign)
    if top is Top.HOODIE:
        hood = ellipsoid(figure.points, figure.at(0, -0.055, 0.835), figure.at(0.055, 0.03, 0.04))
        cloth = smooth_min(cloth, hood, 0.02 * h)
    if top in (Top.JACKET, Top.COAT, Top.SHIRT):
        collar = common(figure.parts["neck"] - 0.010 * h, z - 0.855 * h, 0.80 * h - z)
        cloth = smooth_min(cloth, collar, 0.01 * h)
    return cloth


def _short_torso(figure: Figure) -> F32:
    h, girth = figure.build.height_m, figure.build.girth
    radius_x = 0.086 * h * girth * (1 + 0.03 * (figure.build.hips - 1))
    tube = elliptic_cone(figure.points, radius_x, 0.063 * h * girth)
    return smooth_min(figure.parts["torso"], common(tube, figure.points[..., 2] - 0.62 * h), 0.02 * h)


def _long_torso(figure: Figure) -> F32:
    h, girth = figure.build.height_m, figure.build.girth
    flare = 0.14 if figure.outfit.top is Top.COAT else 0.30
    drop = np.maximum(0.56 * h - figure.points[..., 2], 0)
    radius_x = (0.088 + 0.01 * (girth - 1)) * h * girth + 0.55 * flare * drop
    radius_y = 0.064 * h * girth + 0.6 * flare * drop
    tube = 0.9 * elliptic_cone(figure.points, radius_x, radius_y)
    cloth = smooth_min(figure.parts["torso"], common(tube, figure.points[..., 2] - 0.60 * h), 0.03 * h)
    for side, _ in SIDES:
        cloth = smooth_min(cloth, figure.parts[f"thigh_{side}"] - 0.012 * h, 0.05 * h)
    return cloth


def _cut_collar(figure: Figure, cloth: F32) -> F32:
    h = figure.build.height_m
    x, y, z = np.moveaxis(figure.points, -1, 0)
    radius = (0.056 if figure.build.female else 0.050) * h
    below = np.maximum((0.822 * h - 0.30 * y) - z, 0) * 1.6
    opening = radius - np.sqrt(x * x + np.square(y + 0.006 * h) + below * below)
    opening = np.where(z < 0.80 * h - 0.30 * y, np.float32(-1), opening)
    return common(cloth, opening, z - 0.872 * h)


def _cut_sleeve(figure: Figure, cloth: F32, sleeve: float, side: str, sign: float) -> F32:
    start, end = ("upper_arm", "forearm") if sleeve < 1 else ("forearm", "hand")
    origin = figure.joints[f"{start}_{side}"]
    axis = figure.joints[f"{end}_{side}"] - origin
    length = float(np.linalg.norm(axis))
    beyond = (figure.points - origin) @ (axis / length) - np.float32((sleeve % 1) * length)
    h = figure.build.height_m
    is_arm = (sign * figure.points[..., 0] > 0.10 * h) & (figure.points[..., 2] > (0.60 if sleeve < 1 else 0.0) * h)
    return np.asarray(np.where(is_arm, common(cloth, beyond), cloth), np.float32)


def _bottom(figure: Figure) -> F32 | None:
    if figure.outfit.bottom is Bottom.NONE:
        return None
    return _skirt(figure) if figure.outfit.bottom is Bottom.SKIRT else _trousers(figure)


def _skirt(figure: Figure) -> F32:
    h, girth, z = figure.build.height_m, figure.build.girth, figure.points[..., 2]
    drop = np.maximum(0.60 * h - z, 0)
    tube = 0.9 * elliptic_cone(figure.points, 0.076 * h * girth + 0.20 * drop, 0.058 * h * girth + 0.20 * drop)
    cloth = smooth_min(tube, figure.parts["torso"], 0.02 * h) - 0.008 * h
    for side, _ in SIDES:
        cloth = smooth_min(cloth, figure.parts[f"thigh_{side}"] - 0.014 * h, 0.05 * h)
    return common(cloth, z - 0.60 * h, figure.outfit.skirt_hem * h - z)


def _trousers(figure: Figure) -> F32:
    h, z, bottom = figure.build.height_m, figure.points[..., 2], figure.outfit.bottom
    thickness = TROUSER_THICKNESS[bottom] * figure.outfit.looseness * h
    thigh_slack = 0.5 * thickness if bottom is Bottom.SHORTS else 0.0
    shin_slack = 0.6 * thickness if bottom is Bottom.TROUSERS else 0.0
    legs = []
    for side, _ in SIDES:
        leg = smooth_min(
            figure.parts[f"thigh_{side}"] - thigh_slack, figure.parts[f"shin_{side}"] - shin_slack, 0.02 * h
        )
        if bottom in (Bottom.TROUSERS, Bottom.JEANS):
            hem = figure.joints[f"foot_{side}"] - figure.at(0, 0, 0.01)
            tube = round_cone(figure.points, figure.joints[f"shin_{side}"], hem, 0.030 * h, 0.027 * h)
            leg = smooth_min(leg, tube, 0.02 * h)
        legs.append(leg)
    cloth = smooth_min(common(figure.parts["torso"], z - 0.6 * h), union(*legs), 0.02 * h) - thickness
    return common(cloth, _leg_gap(figure, 0.008), z - 0.60 * h, TROUSER_HEM[bottom] * h - z)


def _leg_gap(figure: Figure, half_width: float) -> F32:
    """Negative but for a gap between the legs, wider than a voxel: legs that touch would be meshed as a skirt."""
    h, points = figure.build.height_m, figure.points
    above_crotch = np.maximum(points[..., 2] - np.float32(0.45 * h), 0)
    return np.asarray(half_width * h - np.abs(points[..., 0]) - above_crotch, np.float32)


def _hair(figure: Figure) -> F32 | None:
    style, h, points = figure.outfit.hair, figure.build.height_m, figure.points
    if style is Hair.BALD:
        return None
    face = rounded_box(points, figure.at(0, 0.075, 0.915), figure.at(0.036, 0.055, 0.043), 0.018 * h)
    hair = ellipsoid(points, figure.at(0, -0.008, 0.948), figure.at(0.0505, 0.061, 0.0635))
    hair = common(hair, -face)
    if style is not Hair.LONG:
        hair = common(hair, (0.905 * h + 0.35 * points[..., 1]) - points[..., 2])
    if style is Hair.LONG:
        mane = rounded_box(points, figure.at(0, -0.032, 0.865), figure.at(0.056, 0.034, 0.085), 0.03 * h)
        hair = smooth_min(hair, common(mane, points[..., 1] - 0.012 * h), 0.02 * h)
    elif style is Hair.BUN:
        bun = ellipsoid(points, figure.at(0, -0.062, 0.975), figure.at(0.026, 0.026, 0.026))
        hair = smooth_min(hair, bun, 0.012 * h)
    elif style is Hair.TAIL:
        tail = round_cone(points, figure.at(0, -0.064, 0.96), figure.at(0, -0.085, 0.85), 0.019 * h, 0.010 * h)
        hair = smooth_min(hair, tail, 0.012 * h)
    elif style is Hair.AFRO:
        ball = ellipsoid(points, figure.at(0, -0.014, 0.962), figure.at(0.068, 0.072, 0.064))
        hair = common(smooth_min(hair, ball, 0.01 * h), -face)
    return hair


def _hat(figure: Figure) -> F32 | None:
    h, points = figure.build.height_m, figure.points
    if figure.outfit.hat is Hat.CAP:
        crown = ellipsoid(points, figure.at(0, -0.004, 0.952), figure.at(0.053, 0.063, 0.062))
        peak = rounded_box(points, figure.at(0, 0.075, 0.954), figure.at(0.038, 0.038, 0.006), 0.005 * h)
        return union(common(crown, 0.95 * h - points[..., 2]), peak)
    if figure.outfit.hat is Hat.BEANIE:
        wool = ellipsoid(points, figure.at(0, -0.006, 0.952), figure.at(0.054, 0.064, 0.068))
        return common(wool, 0.945 * h - points[..., 2] - 0.15 * points[..., 1])
    return None


def _bag(figure: Figure) -> F32 | None:
    h, points, torso = figure.build.height_m, figure.points, figure.parts["torso"]
    x, y, z = np.moveaxis(points, -1, 0)
    cloth = torso - TOPS[figure.outfit.top].thickness * figure.outfit.looseness * h
    if figure.outfit.bag is Bag.BACKPACK:
        sack = rounded_box(
            points, figure.at(0, -0.125 * figure.build.girth**0.5, 0.70), figure.at(0.078, 0.05, 0.12), 0.035 * h
        )
        for _, sign in SIDES:
            width = np.abs(x - sign * 0.058 * h) - 0.010 * h
            strap = common(width, cloth - 0.009 * h, 0.68 * h - z, -0.06 * h - y)
            sack = union(sack, strap)
        return sack
    if figure.outfit.bag is Bag.SHOULDER:
        side = 0.135 * figure.build.girth**0.5 * h + 0.01
        pouch = rounded_box(points, np.array([side, 0, 0.50 * h]), figure.at(0.030, 0.075, 0.065), 0.02 * h)
        across = np.abs(0.62 * x + 0.78 * (z - 0.66 * h)) - 0.010 * h
        strap = common(across, cloth - 0.008 * h, z - 0.86 * h)
        return union(pouch, strap)
    return None
