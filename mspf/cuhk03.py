"""CUHK03 as released (one .mat file of 28,000 images) unpacked into the folders of its new protocol, once."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import cv2
import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from mspf.errors import LayoutError

if TYPE_CHECKING:
    import h5py

Boxes = Literal["detected", "labeled"]
IMAGES = "cuhk-03.mat"
PARTS = {"train_idx": "bounding_box_train", "query_idx": "query", "gallery_idx": "bounding_box_test"}

log = logging.getLogger(__name__)


class Release(NamedTuple):
    """The two files that a part of CUHK03-NP is made of."""

    images: Path
    split: Path


def find_release(folder: Path, boxes: str) -> Release | None:
    """The release in a folder, if it is there with the split of these boxes."""
    images = next((path for path in (folder / "cuhk03_release" / IMAGES, folder / IMAGES) if path.exists()), None)
    split = folder / f"cuhk03_new_protocol_config_{boxes}.mat"
    return Release(images, split) if images and boxes in get_args(Boxes) and split.exists() else None


def unpack(release: Release, boxes: str, out: Path) -> None:
    """Write OUT/bounding_box_train, query and bounding_box_test as PPPP_cC_N.png; OUT appears when all is written.

    The new protocol is Zhong et al., CVPR 2017 (767 people to train, 700 to test); C is the view, 1 or 2.

    Raises:
        LayoutError: h5py is missing, or the files are not what they are named.
    """
    try:
        import h5py
    except ImportError as error:
        raise LayoutError(f"{release.images} needs h5py to be read: pip install h5py") from error
    partial = out.with_name(out.name + ".part")
    log.info("unpacking %s (%s boxes) into %s, once", release.images, boxes, out)
    try:
        split = loadmat(release.split)
        names = [str(name[0]) for name in split["filelist"].ravel()]
        people = split["labels"].ravel()
        with h5py.File(release.images) as file:
            for key, part in PARTS.items():
                folder = partial / part
                folder.mkdir(parents=True, exist_ok=True)
                for row in split[key].ravel() - 1:
                    _, _, view, number = (int(word) for word in Path(names[row]).stem.split("_"))
                    image = _image(file, boxes, names[row])
                    path = folder / f"{int(people[row]):04d}_c{view}_{number}.png"
                    if not cv2.imwrite(str(path), image):
                        raise LayoutError(f"{path}: cannot be written; free space or make the folder writable")
    except LayoutError:
        raise
    except (KeyError, OSError, ValueError, MatReadError) as error:
        raise LayoutError(f"{release.images} with {release.split.name}: {error}; download both again") from error
    partial.rename(out)


def _image(file: "h5py.File", boxes: str, name: str) -> np.ndarray:
    """The picture that a name like 1_001_2_06.png (pair of cameras, person, view, number) stands for, BGR."""
    pair, person, _, number = (int(word) for word in Path(name).stem.split("_"))
    cell = file[file[boxes][0][pair - 1]]  # stored transposed: 10 pictures x people
    rgb = np.asarray(file[cell[number - 1][person - 1]]).transpose(2, 1, 0)
    return np.ascontiguousarray(rgb[:, :, ::-1])
