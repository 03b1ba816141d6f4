"""Tiny data sets: every person has two colours of their own, in any layout."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from mspf.datasets import U8


def picture(person: int, shot: int = 0, size_hw: tuple[int, int] = (64, 32)) -> U8:
    """BGR (H, W, 3): the person's colours above and below the belt, with the shot's noise."""
    colours = np.random.default_rng(person).integers(0, 256, (2, 1, 1, 3))
    halves = np.repeat(colours, (size_hw[0] // 2, size_hw[0] - size_hw[0] // 2), 0)[:, 0]
    image = np.broadcast_to(halves, (*size_hw, 3))
    noise = np.random.default_rng((person, shot)).normal(0, 20, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def write(folder: Path, names: Iterable[str], person: int = 0) -> Path:
    """Pictures of these names; of the person that a name begins with, or of one."""
    for shot, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        who = int(path.name[:4]) if path.name[:4].isdigit() else person
        cv2.imwrite(str(path), picture(who, shot))
    return folder


def market(root: Path, people: int, cameras: int = 2, shots: int = 2) -> Path:
    """A training folder in the layout of Market-1501."""
    every = ((p, c, n) for p in range(1, people + 1) for c in range(1, cameras + 1) for n in range(shots))
    write(root / "bounding_box_train", (f"{p:04d}_c{c}s1_{n:06d}_01.jpg" for p, c, n in every))
    return root
