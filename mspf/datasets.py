"""Re-identification image folders: Market-1501, DukeMTMC-reID, CUHK03-NP, MSMT17 and a user's own."""

import hashlib
import logging
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
CAMERA = re.compile(
    r"(?i)(?:^|[^a-z0-9])(?:c|cam[-_ ]?|camera[-_ ]?)(\d{1,3})(?=[a-z]\d|[^a-z0-9]|$)"
)  # in a person's folder
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
TRAIN = "bounding_box_train"
PARTS = {TRAIN, "bounding_box_test", "query", "gallery"}  # never a person
EXPECTED = """{root}: no data set in a layout that is known. Expected one of
  Market-1501, DukeMTMC-reID, CUHK03-NP    DIR/bounding_box_train/0002_c1s1_000451_03.jpg (person, camera)
                                           DIR/query/, DIR/bounding_box_test/
  MSMT17                                   DIR/list_train.txt, DIR/train/0000/... or DIR/mask_train_v2/0000/...
  CUHK03 as released                       PARENT/cuhk03_release/cuhk-03.mat,
                                           PARENT/cuhk03_new_protocol_config_detected.mat (or _labeled.mat);
                                           name it PARENT/detected or PARENT/labeled: unpacked there, once
  your own                                 DIR/anna/*.jpg, DIR/ben/*.jpg (camera 2 if the name has c2 or cam2)
                                           or DIR/0001_c2_anything.jpg
  your own, to score                       the same with --split everyone,
                                           or DIR/query/anna/*.jpg, DIR/gallery/anna/*.jpg
Found there: {found}"""
UNLABELLED = """{root}: no pictures in a layout that is known. Expected one of
  a folder per camera                      DIR/cam1/*.jpg, DIR/cam2/*.jpg, as in RUN_DIR/pictures of a run
  a data set                               DIR/bounding_box_train/, MSMT17, CUHK03 as released, DIR/0001_c2_anything.jpg
Found there: {found}"""

log = logging.getLogger(__name__)


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
    pictures = _pictures(folder)
    matched = [(path, match) for path in pictures if (match := NAME.match(path.name))]
    if matched:
        _warn_of(folder, set(pictures) - {path for path, _ in matched}, "without person and camera as in 0002_c1_7.jpg")
    kept = (Named(path, int(match[1]), int(match[2])) for path, match in matched if match[1] != "-1")
    return _listed(folder, kept)


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
    people, own = _people(root), _pictures(root)
    if any(NAME.match(path.name) for path in own):
        _warn_of(
            root, (picture for name in people for picture in _pictures(root / name)), "in folders beside the others"
        )
        return list_images(root)
    _warn_of(root, own, "in no person's folder")
    return _from_people(root, people)


def unlabelled_images(roots: Sequence[Path], held_out: int = 0) -> ImageList:
    """Pictures of unknown people (pid 0), of one or more folders.

    A folder holds a folder per camera, as `pictures/` of a run (a camera is called the same in all of them), or is a
    data set with cameras in its names, whose people are not looked at.

    Args:
        held_out: the last people of each data set that are left out, to be scored on.

    Raises:
        LayoutError: neither of both. RecipeError: nobody is left.
    """
    paths: list[Path] = []
    cameras: list[str] = []
    for root in map(_unpacked, roots):
        if (root / TRAIN).is_dir() or _msmt17(root) or any(NAME.match(path.name) for path in _pictures(root)):
            images = without_last(training_images(root), held_out)
            paths += images.paths
            cameras += [f"{root} {camera}" for camera in images.camids]
        elif folders := _people(root):
            found = [path for name in folders for path in _pictures(root / name)]
            paths += found
            cameras += [path.parent.name for path in found]
        else:
            raise _unknown_layout(root, UNLABELLED)
    camids = np.unique(cameras, return_inverse=True)[1]
    return ImageList(tuple(paths), np.zeros(len(paths), np.int64), camids.astype(np.int64))


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
    if not (query.is_dir() and gallery.is_dir()):
        raise _unknown_layout(root)
    people = sorted({*_people(query), *_people(gallery)})
    if people:
        return Split(_from_people(query, people), _from_people(gallery, people))
    return Split(list_images(query), list_images(gallery))


def held_out_split(images: ImageList, ids: int = 150) -> Split:
    """The last `ids` people of a training folder, each image a query against all (never against itself).

    Raises:
        RecipeError: not so many people there, or none wanted.
    """
    people = len(np.unique(images.pids))
    if not 0 < ids <= people:
        raise RecipeError(f"{ids} people to hold out; there are {people}, give 1 to {people}")
    held_out = images.where(np.isin(images.pids, np.unique(images.pids)[-ids:]))
    return Split(held_out, held_out)


def without_last(images: ImageList, ids: int) -> ImageList:
    """What `held_out_split` leaves to train on.

    Raises:
        RecipeError: nobody.
    """
    people = np.unique(images.pids)
    if ids >= len(people):
        raise RecipeError(f"{ids} people to hold out, and there are {len(people)}; give fewer")
    return images.where(~np.isin(images.pids, people[-ids:])) if ids else images


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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; download the data set again") from error
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data and _whole(data) else None
    if bgr is None:
        raise ImageError(f"{path}: not a whole image; delete it or download it again")
    if bgr.shape[:2] != size_hw:
        shrinks = bgr.shape[0] > height
        bgr = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(bgr[:, :, ::-1], np.uint8)


def _whole(data: bytes) -> bool:
    """Whether a JPEG or PNG has its end; decoders fill what is missing with grey."""
    if data.startswith(b"\xff\xd8"):
        at = 2
        while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":  # segments, up to the first scan
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
        return b"\xff\xd9" in data[at:]
    return b"IEND" in data if data.startswith(b"\x89PNG") else True


def _warn_of(folder: Path, left_out: Iterable[Path], why: str) -> None:
    """Say how many pictures are left out."""
    if names := sorted(left_out):
        log.warning("%s: %d pictures %s are left out, such as %s", folder, len(names), why, names[0].name)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)


def _people(folder: Path) -> list[str]:
    """Folders that hold pictures of a person, sorted by name."""
    return sorted(path.name for path in folder.glob("*/") if path.name not in PARTS and _pictures(path))


def _from_people(root: Path, people: Sequence[str]) -> ImageList:
    """A folder per person; pids count from 1 in the order of `people`, cameras are 0 where names have none."""
    number: Mapping[str, int] = {name: pid for pid, name in enumerate(people, 1)}
    found = [path for name in people for path in _pictures(root / name)]
    named = [Named(path, number[path.parent.name], _camera(path)) for path in found]
    unknown = [one.path.name for one in named if not CAMERA.search(one.path.stem)]
    if 0 < len(unknown) < len(named):
        log.warning("%s: %d of %d pictures have no camera in their names, such as %s; theirs is camera 0",
                    root, len(unknown), len(named), unknown[0])  # fmt: skip
    return _listed(root, named)


def _camera(path: Path) -> int:
    """Of a picture in a person's own folder; 0 where its name has none."""
    match = CAMERA.search(path.stem)
    return int(match[1]) if match else 0


def _from_lists(lists: Sequence[Path], folder: Path) -> ImageList:
    """MSMT17: lines of `0000/0000_000_01_0303morning_0015_0.jpg 0`; the camera is the name's third word."""
    named = []
    for path in lists:
        try:
            lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
            named += [Named(folder / name, int(pid), int(Path(name).name.split("_")[2])) for name, pid in lines]
        except OSError as error:
            raise LayoutError(f"{path}: {error.strerror}; MSMT17 comes with it") from error
        except (ValueError, IndexError) as error:
            example = "0000/0000_000_01_0303morning_0015_0.jpg 0"
            raise LayoutError(f"{path}: {error}; every line has to be as in {example}") from error
    return _listed(folder, named)


def _listed(root: Path, named: Iterable[Named]) -> ImageList:
    rows = sorted(named)
    if not rows:
        raise _unknown_layout(root)
    paths, pids, camids = zip(*rows, strict=True)
    return ImageList(paths, np.array(pids, np.int64), np.array(camids, np.int64))


def _unknown_layout(root: Path, expected: str = EXPECTED) -> LayoutError:
    """What to raise where no layout fits: it shows those that are known."""
    if not root.is_dir():
        return LayoutError(f"{root}: {'a file; give the folder' if root.exists() else 'no such folder'}")
    found = sorted(path.name for path in root.glob("*"))
    return LayoutError(expected.format(root=root, found=", ".join(found[:8]) or "nothing"))


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
