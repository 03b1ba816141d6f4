"""Re-identification image folders (Market-1501 and Zhong's CUHK03 layouts) and batches of P people x K images."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

NAME = re.compile(r"(-1|\d+)_c(\d+)")  # 0002_c1s1_000451_03.jpg, 0001_c1_1.png


@dataclass(frozen=True, slots=True, eq=False)
class ImageList:
    """Images of people, as files.

    Attributes:
        paths: sorted; pids: (N,) as the files say; camids: (N,).
    """

    paths: tuple[Path, ...]
    pids: I64
    camids: I64

    def __len__(self) -> int:
        return len(self.paths)

    def where(self, keep: NDArray[np.bool_]) -> "ImageList":
        """The images that a mask (N,) keeps."""
        paths = tuple(path for path, kept in zip(self.paths, keep, strict=True) if kept)
        return ImageList(paths, self.pids[keep], self.camids[keep])


class Split(NamedTuple):
    """What a protocol compares."""

    query: ImageList
    gallery: ImageList


def list_images(folder: Path) -> ImageList:
    """Every PPPP_cC*.jpg or .png of a folder, junk (pid -1) dropped; distractors (pid 0) stay.

    Raises:
        FileNotFoundError: no such image there.
    """
    found = sorted(path for path in folder.glob("*") if path.suffix in {".jpg", ".png"})
    matched = [(path, match) for path in found if (match := NAME.match(path.name)) and match[1] != "-1"]
    if not matched:
        raise FileNotFoundError(f"{folder}: no image named PPPP_cC*.jpg or .png; name the folder that holds them")
    pids = np.array([int(match[1]) for _, match in matched], np.int64)
    camids = np.array([int(match[2]) for _, match in matched], np.int64)
    return ImageList(tuple(path for path, _ in matched), pids, camids)


def test_split(root: Path) -> Split:
    """`query/` against `bounding_box_test/`, the layout of Market-1501 and CUHK03-NP."""
    return Split(list_images(root / "query"), list_images(root / "bounding_box_test"))


def held_out_split(images: ImageList, ids: int = 150) -> Split:
    """The last `ids` people of a training folder, each image a query against all (with its camera ignored)."""
    held_out = images.where(np.isin(images.pids, np.unique(images.pids)[-ids:]))
    return Split(held_out, held_out)


def read_images(paths: Sequence[Path], size_hw: tuple[int, int]) -> U8:
    """Decoded images, RGB: (N, H, W, 3); (0, H, W, 3) for none.

    Raises:
        ValueError: a file that is no image.
    """
    height, width = size_hw
    images = np.empty((len(paths), height, width, 3), np.uint8)
    for row, path in enumerate(paths):
        bgr = cv2.imread(str(path))
        if bgr is None:
            raise ValueError(f"{path}: not an image; delete it or download it again")
        shrinks = bgr.shape[0] > height
        resized = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        images[row] = resized[:, :, ::-1]
    return images


class IdentitySampler:
    """Endless batches of P people x K images, every person once before any comes again.

    Args:
        labels: (N,) one per image.
        people: P of each batch; images: K of each person, repeated where there are fewer.
    """

    def __init__(self, labels: I64, people: int, images: int, rng: np.random.Generator) -> None:
        self._rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self._people, self._images, self._rng = people, images, rng

    def __iter__(self) -> Iterator[I64]:
        """Rows of the next batch: (P x K,)."""
        queue: list[int] = []
        while True:
            if len(queue) < self._people:
                queue.extend(self._rng.permutation(len(self._rows)).tolist())
            chosen, queue = queue[: self._people], queue[self._people :]
            yield np.concatenate([self._pick(self._rows[person]) for person in chosen])

    def _pick(self, rows: I64) -> I64:
        return self._rng.choice(rows, self._images, replace=len(rows) < self._images)
