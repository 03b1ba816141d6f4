"""Embeddings of lists of images, by a torch network or by an exported one that is handed in as a function."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional

from mspf.datasets import F32, U8, ImageList, read_images
from mspf.metrics import Described
from mspf.network import MSPF
from mspf.normalisation import MEAN, STD, normalise

Describe = Callable[[U8], tuple[F32, ...]]  # RGB (N, H, W, 3) -> rows (N, D) of every descriptor there is
BATCH = 64


def torch_describer(network: MSPF) -> Describe:
    """Describes by the compact head, if the network has one, and by the full descriptor."""

    @torch.inference_mode()
    def describe(images: U8) -> tuple[F32, ...]:
        full = network.describe(normalise(torch.from_numpy(images).permute(0, 3, 1, 2).float()))
        rows = (full,) if network.compact is None else (functional.normalize(network.compact(full)), full)
        return tuple(row.numpy() for row in rows)

    return describe


def exported_describer(run: Callable[[F32], Sequence[F32]], normalised: bool = False) -> Describe:
    """Describes by the first output of `run`, which takes RGB (N, 3, H, W) float32 in 0..255.

    Args:
        normalised: it takes images normalised by ImageNet's mean and deviation, as foreign files do.
    """
    mean, std = (np.array(values, np.float32)[:, None, None] * 255 for values in (MEAN, STD))

    def describe(images: U8) -> tuple[F32, ...]:
        batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        return (np.asarray(run((batch - mean) / std if normalised else batch)[0], np.float32),)

    return describe


def describe_all(
    images: ImageList, describe: Describe, size_hw: tuple[int, int], flip: bool = False
) -> tuple[Described, ...]:
    """Unit rows of all images, one set for each descriptor; images are read a batch at a time.

    Args:
        flip: sum the unit rows of each image and its mirror image.
    """
    batches: list[tuple[F32, ...]] = []
    for start in range(0, len(images), BATCH):
        pixels = read_images(images.paths[start : start + BATCH], size_hw)
        rows = [unit_rows(row) for row in describe(pixels)]
        if flip:
            mirrored = describe(np.ascontiguousarray(pixels[:, :, ::-1]))
            rows = [unit_rows(row + unit_rows(other)) for row, other in zip(rows, mirrored, strict=True)]
        batches.append(tuple(rows))
    descriptors = zip(*batches, strict=True)
    return tuple(Described(np.concatenate(rows), images.pids, images.camids) for rows in descriptors)


def unit_rows(rows: F32) -> F32:
    """The rows (N, D) at unit length."""
    unit: F32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
