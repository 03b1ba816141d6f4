"""Who looks like whom, by the weights that a run starts from: the people whom a batch should tell apart.

Batches of people who look alike (graph sampling, Liao and Shao, CVPR 2022, arXiv 2104.01546) hold the pairs that a
network still confuses; among people drawn at random these are rare. Measured in docs/mspf.md.
"""

from collections.abc import Iterator

import numpy as np
import torch

from mspf.datasets import F32, I64
from mspf.descriptors import unit_rows, without_camera_means
from mspf.network import MSPF
from mspf.normalisation import normalise
from mspf.photographs import Photographs

BATCH = 128
IMAGES = 8  # of each person, evenly spread over theirs


def lookalikes(network: MSPF, pool: Photographs, count: int) -> I64:
    """Of every person of a pool, in the order of their labels, the `count` who look most like them, nearest first.

    A person is the mean of their descriptors without what their cameras add: (people, count or all others), numbers
    of people.
    """
    people, order = np.unique(pool.labels), np.argsort(pool.labels, kind="stable")
    theirs = np.split(order, np.flatnonzero(np.diff(pool.labels[order])) + 1)
    chosen = [rows[np.unique(np.linspace(0, len(rows) - 1, IMAGES).round().astype(int))] for rows in theirs]
    seen = np.concatenate(chosen)
    rows = without_camera_means(np.concatenate(list(_describe(network, pool, seen))), pool.cameras[seen])
    whose = np.repeat(np.arange(len(people)), [len(of_one) for of_one in chosen])
    means = np.stack([rows[whose == person].mean(0) for person in range(len(people))])
    similarity = unit_rows(means) @ unit_rows(means).T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, : min(count, len(people) - 1)]


@torch.inference_mode()
def _describe(network: MSPF, pool: Photographs, chosen: I64) -> Iterator[F32]:
    """Unit rows of some images of a pool, a batch at a time."""
    network.eval()
    for batch in np.array_split(chosen, -(-len(chosen) // BATCH)):
        images = pool.images[torch.from_numpy(batch).to(pool.images.device)].float()
        with torch.autocast(images.device.type, torch.bfloat16):
            rows = network.describe(normalise(images).contiguous(memory_format=torch.channels_last))
        yield unit_rows(rows.float().cpu().numpy())
