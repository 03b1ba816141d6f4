"""Embeddings of lists of images, by a torch network or by an exported one that is handed in as a function."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mspf.datasets import F32, U8, ImageList, read_images
from mspf.metrics import Described
from mspf.network import MSPF
from mspf.normalisation import MEAN, STD, normalise

Describe = Callable[[U8], Mapping[str, F32]]  # RGB (N, H, W, 3) -> rows (N, D) of every descriptor, by its name
BATCH = 64


def torch_describer(network: MSPF) -> Describe:
    """Describes by the compact head, if the network has one, and by the full descriptor."""

    @torch.inference_mode()
    def describe(images: U8) -> Mapping[str, F32]:
        full = network.describe(_as_input(images, network))
        rows = {} if network.compact is None else {"compact": functional.normalize(network.compact(full))}
        return {name: row.cpu().numpy() for name, row in (rows | {"full": full}).items()}

    return describe


def part_describer(network: MSPF) -> Describe:
    """Describes by what the full descriptor is made of: each part that there is alone, and together in every way."""

    @torch.inference_mode()
    def describe(images: U8) -> Mapping[str, F32]:
        fused, local = network.features(_as_input(images, network))
        length = network.config.global_length
        necked = network.fused_neck(fused)
        parts = {"f_G": necked[:, :length], "f_M": necked[:, length:], "f_L": network.local_neck(local)}
        unit = {name: functional.normalize(part) for name, part in parts.items() if part.shape[1]}
        if {"f_G", "f_M"} <= unit.keys():
            unit["g"] = functional.normalize(necked)
        together = (("f_G", "f_L"), ("f_M", "f_L"), ("g", "f_L"), ("f_G", "f_M"), ("f_G", "f_M", "f_L"))
        joined = {" + ".join(names): [unit[n] for n in names] for names in together if unit.keys() >= set(names)}
        unit |= {name: torch.cat(rows, 1) for name, rows in joined.items()}
        return {name: rows.cpu().numpy() for name, rows in unit.items()}

    return describe


def _as_input(images: U8, network: MSPF) -> torch.Tensor:
    """RGB (N, H, W, 3) -> what the network takes, (N, 3, H, W) normalised, where it is."""
    device = next(network.parameters()).device
    return normalise(torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float())


def exported_describer(run: Callable[[F32], Sequence[F32]], normalised: bool = False) -> Describe:
    """Describes by the first output of `run`, which takes RGB (N, 3, H, W) float32 in 0..255.

    Args:
        normalised: it takes images normalised by ImageNet's mean and deviation, as foreign files do.
    """
    mean, std = (np.array(values, np.float32)[:, None, None] * 255 for values in (MEAN, STD))

    def describe(images: U8) -> Mapping[str, F32]:
        batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        return {"exported": np.asarray(run((batch - mean) / std if normalised else batch)[0], np.float32)}

    return describe


def describe_all(
    images: ImageList,
    describe: Describe,
    size_hw: tuple[int, int],
    flip: bool = False,
    watch: Callable[[int], None] = lambda _: None,
) -> dict[str, Described]:
    """Unit rows of all images for each descriptor, by its name; images are read a batch at a time.

    Args:
        flip: sum the unit rows of each image and its mirror image.
        watch: is told how many more are done.
    """

    def batches() -> Iterator[U8]:
        for start in range(0, len(images), BATCH):
            pixels = read_images(images.paths[start : start + BATCH], size_hw)
            yield pixels
            watch(len(pixels))

    rows = describe_batches(batches(), describe, flip)
    return {name: Described(found, images.pids, images.camids) for name, found in rows.items()}


def describe_batches(batches: Iterable[U8], describe: Describe, flip: bool = False) -> dict[str, F32]:
    """Unit rows (N, D) of RGB batches (n, H, W, 3), for each descriptor by its name; `flip` as in `describe_all`."""
    described: dict[str, list[F32]] = {}
    for pixels in batches:
        mirrored = describe(np.ascontiguousarray(pixels[:, :, ::-1])) if flip else {}
        for name, raw in describe(pixels).items():
            rows = unit_rows(raw)
            described.setdefault(name, []).append(unit_rows(rows + unit_rows(mirrored[name])) if flip else rows)
    return {name: np.concatenate(rows) for name, rows in described.items()}


def without_camera_means(rows: F32, camids: NDArray[np.int64]) -> F32:
    """Unit rows (N, D) without the mean of their camera (arXiv 2502.10195); zero for a row that is this mean."""
    rest = rows.copy()
    for camera in np.unique(camids):
        rest[camids == camera] -= rows[camids == camera].mean(0)
    unit: F32 = rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-12)
    return unit


def unit_rows(rows: F32) -> F32:
    """The rows (N, D) at unit length."""
    unit: F32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
