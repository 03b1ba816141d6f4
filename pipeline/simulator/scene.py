"""The static world: three walled places in a row, joined by corridors that no camera sees into.

    courtyard ── corridor ── plaza ── corridor ── hall        x to the right (east), y to the north, z up, metres

Every place is its own piece of geometry with its own light, so cameras of one place never see another.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.simulator.textures import Surface

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rgb = tuple[float, float, float]
WHITE: Rgb = (1.0, 1.0, 1.0)


class PlaceName(StrEnum):
    """Where people walk."""

    COURTYARD = "courtyard"
    PLAZA = "plaza"
    HALL = "hall"


@dataclass(frozen=True, slots=True)
class Light:
    """Sun or lamp (linear RGB; direction in degrees) over an ambient hemisphere."""

    azimuth: float
    elevation: float
    sun: Rgb
    sky: Rgb
    ground: Rgb

    @property
    def direction(self) -> F64:
        """Unit vector (3,) towards the light."""
        azimuth, elevation = np.radians(self.azimuth), np.radians(self.elevation)
        flat = np.cos(elevation)
        return np.array([np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(elevation)])


@dataclass(frozen=True, slots=True)
class Prop:
    """Something that stands in the way: walkers keep `radius_m` from its centre."""

    x: float
    y: float
    radius_m: float


@dataclass(frozen=True, slots=True)
class Place:
    """One place.

    Attributes:
        stroll: x low, y low, x high, y high of where people like to be.
        sight_x: abscissas between which somebody can be seen from the place, also through its openings.
    """

    name: PlaceName
    centre: tuple[float, float]
    stroll: tuple[float, float, float, float]
    light: Light
    props: tuple[Prop, ...]
    sight_x: tuple[float, float]
    vertices: F32 = field(repr=False)


@dataclass(frozen=True, slots=True)
class Scene:
    """The places and the corridors between them.

    Attributes:
        seed: decides tints and textures.
        corridors: ground path (N, 2) from inside the first place to inside the second.
    """

    seed: int
    places: dict[PlaceName, Place]
    corridors: dict[tuple[PlaceName, PlaceName], F64]


class _Builder:
    """Collects textured triangles: position, normal, texture (u, v, layer), tint."""

    def __init__(self) -> None:
        self.rows: list[F64] = []

    def quad(self, corners: F64, normal: F64, surface: Surface, repeats: tuple[float, float], tint: Rgb) -> None:
        """Two triangles over corners (4, 3), counter-clockwise from the lower left."""
        u, v = repeats
        texture = np.array([[0, v, surface], [u, v, surface], [u, 0, surface], [0, 0, surface]])
        rows = np.hstack([corners, np.tile(normal, (4, 1)), texture, np.tile(tint, (4, 1))])
        self.rows.append(rows[[0, 1, 2, 0, 2, 3]])

    def floor(
        self, low: tuple[float, float], high: tuple[float, float], surface: Surface, tile_m: float, *, z: float = 0.0
    ) -> None:
        """Rectangle on the ground, or just above another one."""
        (x0, y0), (x1, y1) = low, high
        corners = np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]], float)
        self.quad(corners, np.array([0, 0, 1.0]), surface, ((x1 - x0) / tile_m, (y1 - y0) / tile_m), WHITE)

    def box(
        self,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        surface: Surface,
        tile_m: float = 1.0,
        *,
        tint: Rgb = WHITE,
        turned: bool = False,
    ) -> None:
        """Box; `turned` swaps its x and y extent."""
        size = np.array((half[1], half[0], half[2]) if turned else half)
        for axis in range(3):
            for sign in (-1.0, 1.0):
                normal, right, up = np.zeros(3), np.zeros(3), np.zeros(3)
                normal[axis] = sign
                if axis == 2:
                    right[0], up[1] = sign, 1
                else:
                    right[1 - axis] = sign if axis == 0 else -sign
                    up[2] = 1
                signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
                corners = np.stack([np.array(centre) + (normal + a * right + b * up) * size for a, b in signs])
                repeats = (2 * abs(right @ size) / tile_m, 2 * abs(up @ size) / tile_m)
                self.quad(corners, normal, surface, repeats, tint)

    def pole(self, x: float, y: float, radius: float, height: float, *, tint: Rgb, sides: int = 14) -> None:
        """Upright metal cylinder without a lid."""
        angles = np.linspace(0, 2 * np.pi, sides + 1)
        rim = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
        for index in range(sides):
            first, second = rim[index], rim[index + 1]
            corners = np.array([[*first, 0], [*second, 0], [*second, height], [*first, height]])
            middle = (angles[index] + angles[index + 1]) / 2
            normal = np.array([np.cos(middle), np.sin(middle), 0])
            self.quad(corners, normal, Surface.METAL, (1, 1), tint)

    def bench(self, x: float, y: float, turned: bool = False) -> Prop:
        """Wooden bench, backed by a rest."""
        self.box((x, y, 0.45), (0.9, 0.24, 0.04), Surface.WOOD, turned=turned)
        self.box((x, y, 0.22), (0.7, 0.05, 0.2), Surface.METAL, turned=turned)
        behind = (x + 0.22, y, 0.75) if turned else (x, y + 0.22, 0.75)
        self.box(behind, (0.9, 0.03, 0.18), Surface.WOOD, turned=turned)
        return Prop(x, y, 1.1)

    def planter(self, x: float, y: float, hedge_m: float = 0.5) -> Prop:
        """Plaster box with a hedge that hides legs."""
        self.box((x, y, 0.3), (0.7, 0.7, 0.3), Surface.PLASTER, 2.0, tint=(0.8, 0.8, 0.8))
        self.box((x, y, 0.6 + hedge_m / 2), (0.58, 0.58, hedge_m / 2), Surface.HEDGE, 1.2)
        return Prop(x, y, 1.25)

    def pillar(self, x: float, y: float, height: float = 6.0) -> Prop:
        """Square column that hides a person."""
        self.box((x, y, height / 2), (0.28, 0.28, height / 2), Surface.PLASTER, 2.0, tint=(0.85, 0.83, 0.8))
        return Prop(x, y, 0.9)

    def bin(self, x: float, y: float) -> Prop:
        """Litter bin."""
        self.pole(x, y, 0.28, 0.9, tint=(0.35, 0.5, 0.4))
        return Prop(x, y, 0.75)

    def bollards(self, points: list[tuple[float, float]]) -> tuple[Prop, ...]:
        """Knee-high posts."""
        for x, y in points:
            self.pole(x, y, 0.07, 0.9, tint=(0.5, 0.5, 0.5))
        return tuple(Prop(x, y, 0.5) for x, y in points)

    def done(self) -> F32:
        """(V, 12) float32 triangles."""
        return np.concatenate(self.rows).astype(np.float32)


def build_scene(seed: int) -> Scene:
    """The world of a seed: the plan is fixed, tints, textures and the sun's direction vary."""
    rng = np.random.default_rng([seed, 2])
    places = (_plaza(rng), _courtyard(rng), _hall(rng))
    west = np.array([[-6.5, -3.5], [-9.0, -3.5], [-11.2, -3.2], [-11.2, 3.2], [-13.4, 3.5], [-16.0, 3.5]])
    corridors = {
        (PlaceName.PLAZA, PlaceName.COURTYARD): west,
        (PlaceName.PLAZA, PlaceName.HALL): -west,
    }
    corridors |= {(second, first): path[::-1] for (first, second), path in corridors.items()}
    return Scene(seed, {place.name: place for place in places}, corridors)


def _tint(rng: np.random.Generator, spread: float = 0.12) -> Rgb:
    red, green, blue = rng.uniform(1 - spread, 1 + spread / 2, 3)
    return float(red), float(green), float(blue)


def _side_walls(
    builder: _Builder, x: float, gate: tuple[float, float] | None, surface: Surface, *, tile_m: float, tint: Rgb
) -> None:
    """Wall along y at x, 7 m high, with an opening between the two ordinates of `gate`."""
    spans = [(-14.0, 14.0)] if gate is None else [(-14.0, gate[0]), (gate[1], 14.0)]
    for low, high in spans:
        builder.box((x, (low + high) / 2, 3.5), (0.25, (high - low) / 2, 3.5), surface, tile_m, tint=tint)


def _plaza(rng: np.random.Generator) -> Place:
    builder = _Builder()
    builder.floor((-14, -14), (14, 14), Surface.PAVEMENT, 3.2)
    builder.floor((-14, -14), (14, -9.2), Surface.ASPHALT, 3.0, z=0.008)
    builder.box((0, 9.5, 4.5), (10, 0.5, 4.5), Surface.WINDOWS, 6.0, tint=_tint(rng))
    builder.box((-3, 8.95, 1.5), (4, 0.06, 1.5), Surface.SHOP, 4.0)
    builder.box((5.5, 8.95, 1.4), (2.5, 0.06, 1.4), Surface.SHOP, 2.5)
    builder.box((0, -13, 3), (14, 0.5, 3), Surface.PLASTER, 5.0, tint=_tint(rng))
    _side_walls(builder, -9.3, (-5, -2), Surface.BRICK, tile_m=2.4, tint=_tint(rng))
    _side_walls(builder, 9.3, (2, 5), Surface.WINDOWS, tile_m=7.0, tint=_tint(rng))
    builder.box((-12.6, 0, 3), (0.25, 9, 3), Surface.PLASTER, 4.0, tint=(0.7, 0.7, 0.72))
    builder.box((12.6, 0, 3), (0.25, 9, 3), Surface.PLASTER, 4.0, tint=(0.7, 0.7, 0.72))
    props = (
        builder.bench(-4.5, 7.2),
        builder.bench(3.0, 7.3),
        builder.planter(-6.8, 4.2),
        builder.planter(1.2, -0.6, 0.35),
        builder.bin(5.8, 6.6),
        builder.pillar(-3.4, 2.9, 4.5),
        *builder.bollards([(x, -6.4) for x in (-7.0, -4.2, 1.4, 4.2, 7.0)]),
    )
    light = Light(
        float(rng.uniform(235, 300)), float(rng.uniform(40, 52)), (2.9, 2.7, 2.4), (0.75, 0.85, 1.0), (0.42, 0.40, 0.36)
    )
    return Place(PlaceName.PLAZA, (0, 0), (-5.0, -3.8, 5.2, 5.0), light, props, (-12.4, 12.4), builder.done())


def _courtyard(rng: np.random.Generator) -> Place:
    builder = _Builder()
    builder.floor((-36, -14), (-10, 14), Surface.ASPHALT, 4.0)
    builder.floor((-27, -5), (-17, 6), Surface.TILES, 3.0, z=0.008)
    builder.box((-23, 9, 3.5), (10, 0.5, 3.5), Surface.BRICK, 2.4, tint=_tint(rng))
    builder.box((-23, -9, 3.5), (10, 0.5, 3.5), Surface.PLASTER, 5.0, tint=_tint(rng))
    _side_walls(builder, -13.2, (2, 5), Surface.PLASTER, tile_m=4.0, tint=_tint(rng))
    _side_walls(builder, -31.5, None, Surface.WINDOWS, tile_m=6.0, tint=_tint(rng))
    builder.box((-9.8, 0, 3), (0.25, 9, 3), Surface.BRICK, 2.4, tint=(0.7, 0.7, 0.72))
    props = (
        builder.planter(-20.5, -1.2, 0.4),
        builder.planter(-17.0, 7.4),
        builder.bench(-23.5, 7.3),
        builder.bench(-14.2, -2.0, turned=True),
        builder.bin(-26.5, 7.6),
    )
    light = Light(float(rng.uniform(200, 340)), 60.0, (0.9, 0.9, 0.95), (1.15, 1.25, 1.45), (0.55, 0.55, 0.58))
    return Place(
        PlaceName.COURTYARD, (-21.5, 0), (-25.5, -4.2, -16.5, 5.2), light, props, (-31.0, -10.0), builder.done()
    )


def _hall(rng: np.random.Generator) -> Place:
    builder = _Builder()
    builder.floor((10, -14), (36, 14), Surface.TILES, 3.6)
    builder.box((23, 9, 3.5), (10, 0.5, 3.5), Surface.SHOP, 5.0, tint=_tint(rng))
    builder.box((23, -9, 3.5), (10, 0.5, 3.5), Surface.PLASTER, 5.0, tint=_tint(rng))
    _side_walls(builder, 13.2, (-5, -2), Surface.PLASTER, tile_m=4.0, tint=_tint(rng))
    _side_walls(builder, 31.5, None, Surface.WOOD, tile_m=3.0, tint=_tint(rng))
    builder.box((9.8, 0, 3), (0.25, 9, 3), Surface.PLASTER, 2.4, tint=(0.7, 0.7, 0.72))
    props = (
        builder.pillar(20.2, 2.6),
        builder.pillar(25.5, -2.8),
        builder.bench(17.5, 7.4),
        builder.planter(29.0, 6.5),
        builder.bin(15.0, 3.4),
    )
    light = Light(float(rng.uniform(0, 360)), 74.0, (1.9, 1.55, 1.1), (0.85, 0.75, 0.62), (0.45, 0.38, 0.30))
    return Place(PlaceName.HALL, (21.5, 0), (16.5, -5.2, 26.5, 4.2), light, props, (10.0, 31.0), builder.done())
