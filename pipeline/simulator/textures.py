"""Tileable procedural textures of a city: pavement, asphalt, brick, plaster, windows, wood, metal, hedge, shop."""

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
SIZE = 512


class Surface(IntEnum):
    """What a static face is covered with; the value is its layer in the texture array."""

    PAVEMENT = 0
    ASPHALT = 1
    BRICK = 2
    PLASTER = 3
    WINDOWS = 4
    WOOD = 5
    METAL = 6
    HEDGE = 7
    SHOP = 8
    TILES = 9


def city_textures(seed: int) -> U8:
    """(10, 512, 512, 3) uint8 sRGB, one layer per `Surface`, the same for the same seed."""
    rng = np.random.default_rng([seed, 1])
    painters = (_pavement, _asphalt, _brick, _plaster, _windows, _wood, _metal, _hedge, _shop, _tiles)
    return np.stack([np.clip(paint(rng) * 255, 0, 255).astype(np.uint8) for paint in painters])


def _cloud(rng: np.random.Generator, blur: float | tuple[float, float]) -> F32:
    """(512, 512) smooth tileable noise of unit deviation."""
    noise = gaussian_filter(rng.standard_normal((SIZE, SIZE), np.float32), blur, mode="wrap")
    return np.asarray(noise / noise.std(), np.float32)


def _tinted(colour: ArrayLike, shade: F32) -> F32:
    """Colour times 1 + shade."""
    return np.asarray(np.asarray(colour, np.float32) * (1 + shade[..., None]), np.float32)


def _slabs(rng: np.random.Generator, colour: ArrayLike, count: int, spread: float) -> F32:
    slab = SIZE // count
    tone = np.kron(rng.standard_normal((count, count)) * spread, np.ones((slab, slab))).astype(np.float32)
    grain = _cloud(rng, 40) * 0.03 + _cloud(rng, 8) * 0.02 + _cloud(rng, 1) * 0.035
    joint = np.ones((SIZE, SIZE), np.float32)
    for start in range(0, SIZE, slab):
        joint[start : start + 3] = 0.62
        joint[:, start : start + 3] = 0.62
    return _tinted(colour, grain + tone) * joint[..., None]


def _pavement(rng: np.random.Generator) -> F32:
    return _slabs(rng, (0.56, 0.54, 0.51), 4, 0.05)


def _tiles(rng: np.random.Generator) -> F32:
    return _slabs(rng, (0.60, 0.55, 0.47), 8, 0.025)


def _asphalt(rng: np.random.Generator) -> F32:
    return _tinted((0.33, 0.33, 0.34), _cloud(rng, 60) * 0.06 + _cloud(rng, 0.8) * 0.10)


def _brick(rng: np.random.Generator) -> F32:
    rows, columns = 16, 8
    height, width = SIZE // rows, SIZE // columns
    tone = np.kron(1 + 0.10 * rng.standard_normal((rows, columns)), np.ones((height, width))).astype(np.float32)
    y, x = np.mgrid[:SIZE, :SIZE]
    x = x + (y // height % 2) * (width // 2)
    tone = np.take_along_axis(tone, x % SIZE, 1)
    mortar = (y % height < 3) | (x % width < 3)
    wall = np.where(mortar[..., None], np.array((0.62, 0.60, 0.56), np.float32), _tinted((0.52, 0.30, 0.24), tone - 1))
    grain = _cloud(rng, 40) * 0.04 + _cloud(rng, 8) * 0.026 + _cloud(rng, 1) * 0.045
    return np.asarray(wall * (1 + grain[..., None]), np.float32)


def _plaster(rng: np.random.Generator) -> F32:
    return _tinted((0.74, 0.71, 0.64), _cloud(rng, 30) * 0.04 + _cloud(rng, 1) * 0.02)


def _windows(rng: np.random.Generator) -> F32:
    wall = _tinted((0.66, 0.63, 0.58), _cloud(rng, 25) * 0.03 + _cloud(rng, 1) * 0.02)
    reflections = _cloud(rng, 20) * 0.03
    half = SIZE // 2
    height, width = int(0.55 * half), int(0.5 * half)
    glass = np.linspace(0.45, 0.18, height)[:, None, None] * np.array([0.75, 0.9, 1.05])
    for row in range(2):
        for column in range(2):
            top, left = int((row + 0.22) * half), int((column + 0.25) * half)
            wall[top - 8 : top + height + 8, left - 8 : left + width + 8] = (0.82, 0.81, 0.78)
            pane = wall[top : top + height, left : left + width]
            pane[:] = glass + reflections[top : top + height, left : left + width, None]
            pane[:, width // 2 - 3 : width // 2 + 3] = 0.8
            pane[height // 2 - 3 : height // 2 + 3] = 0.8
    return wall


def _wood(rng: np.random.Generator) -> F32:
    plank = np.ones((SIZE, SIZE), np.float32)
    for start in range(0, SIZE, SIZE // 8):
        plank[start : start + 4] = 0.45
    return _tinted((0.48, 0.33, 0.20), _cloud(rng, (2, 60)) * 0.10) * plank[..., None]


def _metal(rng: np.random.Generator) -> F32:
    return _tinted((0.42, 0.44, 0.46), _cloud(rng, 3) * 0.02)


def _hedge(rng: np.random.Generator) -> F32:
    return _tinted((0.22, 0.33, 0.14), _cloud(rng, 2) * 0.22 + _cloud(rng, 9) * 0.18)


def _shop(rng: np.random.Generator) -> F32:
    front = _tinted((0.30, 0.27, 0.25), _cloud(rng, 20) * 0.03)
    front[90:470, 20:245] = (0.16, 0.19, 0.22)
    front[90:470, 268:492] = (0.20, 0.22, 0.24)
    front[20:75] = rng.uniform(0.08, 0.4, 3)
    front[90:470] *= 1 + 0.25 * _cloud(rng, 18)[90:470, :, None]
    for index in range(5):
        left = 40 + index * 90
        front[300 + index % 2 * 40 : 460, left : left + 40] = rng.uniform(0.1, 0.6, 3)
    return front
