"""Who looks like whom, by the weights that a run starts from: the people whom a batch should tell apart.

After graph sampling (Liao and Shao, CVPR 2022, arXiv 2104.01546), which finds the nearest people anew every epoch; here
they are found once. Measured in docs/other_cameras.md.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mspf.datasets import F32, I64
from mspf.descriptors import unit_rows, without_camera_means
from mspf.network import MSPF
from mspf.normalisation import normalise
from mspf.photographs import Photographs
from mspf.sampling import rows_of_people

BATCH = 128
IMAGES = 8  # of each person, evenly spread over theirs


def lookalikes(network: MSPF, pool: Photographs, size_hw: tuple[int, int], count: int) -> I64:
    """Whom the people of a pool look like: each is the mean of their descriptors without what their cameras add.

    Args:
        size_hw: at which the network sees the pool's images; it is left in eval mode.
        count: of how many; fewer where there are fewer others.

    Returns:
        (people, count): of everybody, in the order of their labels, the numbers of those nearest, nearest first.
    """
    of_people = [_evenly(rows) for rows in rows_of_people(pool.labels)]
    seen = np.concatenate(of_people)
    described = np.concatenate(list(_describe(network, pool.images, seen, size_hw)))
    rows = without_camera_means(described, pool.cameras[seen])
    means = np.stack([part.mean(0) for part in np.split(rows, np.cumsum([len(part) for part in of_people])[:-1])])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    similarity = means @ means.T
    np.fill_diagonal(similarity, -np.inf)
    nearest: I64 = np.argsort(-similarity, axis=1, kind="stable")
    return np.ascontiguousarray(nearest[:, : min(count, len(means) - 1)])


def _evenly(rows: I64) -> I64:
    """At most IMAGES of a person's rows."""
    chosen: I64 = rows[np.unique(np.linspace(0, len(rows) - 1, IMAGES).round().astype(int))]
    return chosen


@torch.inference_mode()
def _describe(network: MSPF, images: Tensor, chosen: I64, size_hw: tuple[int, int]) -> Iterator[F32]:
    """Unit rows of some of the images (N, 3, H, W), a batch at a time."""
    network.eval()
    for batch in np.array_split(chosen, -(-len(chosen) // BATCH)):
        pixels = images[torch.from_numpy(batch).to(images.device)].float()
        if tuple(pixels.shape[2:]) != size_hw:
            pixels = functional.interpolate(pixels, size_hw, mode="bilinear", antialias=True)
        yield unit_rows(network.describe(normalise(pixels)).float().cpu().numpy())
