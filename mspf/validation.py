"""Scores of a network in training, on people that it does not train on."""

from collections.abc import Iterable

import msgspec
import numpy as np
import torch

from mspf.metrics import Described, score
from mspf.network import MSPF
from mspf.normalisation import normalise
from mspf.photographs import HeldOut

BATCH = 128


class Score(msgspec.Struct, frozen=True):
    """Rank-1 and mAP of the full descriptor, shares in 0..1, no flip, no re-ranking."""

    name: str
    rank1: float
    mean_ap: float
    queries: int


@torch.inference_mode()
def validate(network: MSPF, held_out: Iterable[HeldOut]) -> list[Score]:
    """Every held-out image of a set against all others of it; the network is left in eval mode."""
    network.eval()
    scores = []
    for part in held_out:
        rows = [network(normalise(images.float())).float().cpu() for images in torch.split(part.images, BATCH)]
        described = Described(torch.cat(rows).numpy().astype(np.float32), part.pids, part.camids)
        found = score(described, described, ignore_cameras=part.one_camera)
        scores.append(Score(part.name, float(found.cmc[0]), found.mean_ap, found.queries))
    return scores
