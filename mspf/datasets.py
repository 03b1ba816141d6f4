"""Re-identification image folders: Market-1501, DukeMTMC-reID, CUHK03-NP, MSMT17 and a user's own."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mspf.cuhk03 import find_release, unpack
from mspf.errors import ImageError, LayoutError, RecipeError

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

NAME = re.compile(r"(-1|\d+)_c(\d+)")  # 0002_c1s1_000451_03.jpg, 0001_c1_1.png
CAMERA = re.compile(r"(?:^|_)c(\d+)")  # of a picture in a person's own folder
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
TRAIN = "bounding_box_train"
EXPECTED = """{root}: no data set in a layout that is known. Expected one of
  Market-1501, DukeMTMC-reID, CUHK03-NP    DIR/bounding_box_train/0002_c1s1_000451_03.jpg (person, camera)
                                           DIR/query/, DIR/bounding_box_test/
  MSMT17                                   DIR/list_train.txt, DIR/train/0000/... or DIR/mask_train_v2/0000/...
  CUHK03 as released                       PARENT/cuhk03_release/cuhk-03.mat,
                                           PARENT/cuhk03_new_protocol_config_detected.mat (or _labeled.mat);
                                           name it PARENT/detected or PARENT/labeled: unpacked there, once
  your own                                 DIR/anna/*.jpg, DIR/ben/*.jpg (camera 2 if the name has _c2)
                                           or DIR/0001_c2_anything.jpg
  your own, to score                       DIR/query/anna/*.jpg, DIR/gallery/anna/*.jpg
Found there: {found}"""


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


class Named(NamedTuple):
    """One image of a list that is being read."""

    path: Path
    pid: int
    camid: int


def named_folders(arguments: Sequence[str]) -> dict[str, Path]:
    """["market=a/b", "c/photos"] -> {"market": a/b, "photos": c/photos}.

    Raises:
        RecipeError: two of one name.
    """
    pairs = [text.split("=", 1) if "=" in text else (Path(text).resolve().name, text) for text in arguments]
    folders = {name: Path(folder) for name, folder in pairs}
    if len(folders) < len(pairs):
        raise RecipeError(f"two data sets are called the same ({', '.join(arguments)}); give name=DIR")
    return folders


def list_images(folder: Path) -> ImageList:
    """Every PPPP_cC* image of a folder, junk (pid -1) dropped; distractors (pid 0) stay.

    Raises:
        LayoutError: no such image there.
    """
    matched = [(path, match) for path in _pictures(folder) if (match := NAME.match(path.name)) and match[1] != "-1"]
    return _listed(folder, (Named(path, int(match[1]), int(match[2])) for path, match in matched))


def training_images(root: Path, with_validation: bool = False) -> ImageList:
    """The images to train on, of a data set in any known layout.

    Args:
        with_validation: of MSMT17, also list_val.txt: 32,621 images, not 30,248.

    Raises:
        LayoutError: no known layout; the message shows them.
    """
    root = _unpacked(root)
    if (root / TRAIN).is_dir():
        return list_images(root / TRAIN)
    if lists := _msmt17(root):
        names = ["list_train.txt", "list_val.txt"] if with_validation else ["list_train.txt"]
        return _from_lists([lists / name for name in names], _first(lists, "mask_train_v2", "train"))
    if any(NAME.match(path.name) for path in _pictures(root)):
        return list_images(root)
    return _from_people(root, _people(root))


def test_split(root: Path) -> Split:
    """Query and gallery of a data set in any known layout.

    Raises:
        LayoutError: no known layout; the message shows them.
    """
    root = _unpacked(root)
    if lists := _msmt17(root):
        folder = _first(lists, "mask_test_v2", "test")
        return Split(*(_from_lists([lists / f"list_{half}.txt"], folder) for half in ("query", "gallery")))
    query, gallery = root / "query", _first(root, "bounding_box_test", "gallery")
    people = sorted({*_people(query), *_people(gallery)})
    if people:
        return Split(_from_people(query, people), _from_people(gallery, people))
    return Split(list_images(query), list_images(gallery))


def held_out_split(images: ImageList, ids: int = 150) -> Split:
    """The last `ids` people of a training folder, each image a query against all (never against itself)."""
    held_out = images.where(np.isin(images.pids, np.unique(images.pids)[-ids:]))
    return Split(held_out, held_out)


def without_last(images: ImageList, ids: int) -> ImageList:
    """What `held_out_split` leaves to train on."""
    return images.where(~np.isin(images.pids, np.unique(images.pids)[-ids:])) if ids else images


def checksum(images: ImageList) -> str:
    """Digest of names, people, cameras and file contents, in order."""
    digest = hashlib.sha256()
    for path, pid, camid in zip(images.paths, images.pids, images.camids, strict=True):
        digest.update(f"{path.name} {pid} {camid} ".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_images(paths: Sequence[Path], size_hw: tuple[int, int]) -> U8:
    """Decoded images, RGB: (N, H, W, 3); (0, H, W, 3) for none. Decoded by as many threads as there are cores.

    Raises:
        ImageError: a file that is no image.
    """
    images = np.empty((len(paths), *size_hw, 3), np.uint8)

    def read(row: int) -> None:
        images[row] = _read(paths[row], size_hw)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(read, range(len(paths))):
            pass
    return images


def _read(path: Path, size_hw: tuple[int, int]) -> U8:
    """One image, RGB (H, W, 3)."""
    height, width = size_hw
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ImageError(f"{path}: not an image; delete it or download it again")
    if bgr.shape[:2] != size_hw:
        shrinks = bgr.shape[0] > height
        bgr = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(bgr[:, :, ::-1], np.uint8)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)


def _people(folder: Path) -> list[str]:
    """Folders that hold pictures, sorted by name."""
    return sorted(path.name for path in folder.glob("*/") if _pictures(path))


def _from_people(root: Path, people: Sequence[str]) -> ImageList:
    """A folder per person; pids count from 1 in the order of `people`, cameras are 0 where names have none."""
    number: Mapping[str, int] = {name: pid for pid, name in enumerate(people, 1)}
    found = [path for name in people for path in _pictures(root / name)]
    return _listed(root, (Named(path, number[path.parent.name], _camera(path)) for path in found))


def _camera(path: Path) -> int:
    """Of a picture in a person's own folder; 0 where its name has none."""
    match = CAMERA.search(path.stem)
    return int(match[1]) if match else 0


def _from_lists(lists: Sequence[Path], folder: Path) -> ImageList:
    """MSMT17: lines of `0000/0000_000_01_0303morning_0015_0.jpg 0`; the camera is the name's third word."""
    lines = [line.split() for path in lists for line in path.read_text().splitlines() if line.strip()]
    return _listed(folder, (Named(folder / name, int(pid), int(Path(name).name.split("_")[2])) for name, pid in lines))


def _listed(root: Path, named: Iterable[Named]) -> ImageList:
    rows = sorted(named)
    if not rows:
        found = sorted(path.name for path in root.glob("*"))
        raise LayoutError(EXPECTED.format(root=root, found=", ".join(found[:8]) or "nothing"))
    paths, pids, camids = zip(*rows, strict=True)
    return ImageList(paths, np.array(pids, np.int64), np.array(camids, np.int64))


def _msmt17(root: Path) -> Path | None:
    """The folder of MSMT17's lists: this one, or the version's within."""
    folders = (root, root / "MSMT17_V2", root / "MSMT17_V1")
    return next((folder for folder in folders if (folder / "list_train.txt").exists()), None)


def _first(root: Path, *names: str) -> Path:
    """The first of these folders that is there; the last one if none is."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[-1])


def _unpacked(root: Path) -> Path:
    """The folder; where it is PARENT/detected or PARENT/labeled beside a CUHK03 release, unpacked on first use."""
    if not root.exists() and (release := find_release(root.parent, root.name)):
        unpack(release, root.name, root)
    return root
