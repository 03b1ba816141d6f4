"""Scores of one network on one data set, stamped with everything that they depend on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from mspf.datasets import Split, held_out_split, test_split, training_images
from mspf.descriptors import Describe, describe_all, without_camera_means
from mspf.metrics import Described, score
from mspf.reranking import reranked_distances
from mspf.thresholds import Threshold, same_person_thresholds

RANKS = 50

PROTOCOLS = {  # by `ignore_cameras`
    False: "Market: pid -1 dropped, pid 0 distractors, per query no image of its own person and camera",
    True: "one camera: pid -1 dropped, pid 0 distractors, every other image counts",
}

SplitName = Literal["test", "held-out", "everyone"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a network is scored.

    Attributes:
        size_hw: to which images are resized.
        flip: describe each image together with its mirror image.
        remove_camera_bias: take the mean over all images of a camera off each.
        rerank: by k-reciprocal neighbours (Zhong et al. 2017).
        ignore_cameras: for sets of one camera; otherwise images of a query's own camera do not count.
        false_match_rates: at which the same-person threshold is wanted.
    """

    size_hw: tuple[int, int] = (256, 128)
    flip: bool = False
    remove_camera_bias: bool = False
    rerank: bool = False
    ignore_cameras: bool = False
    false_match_rates: tuple[float, ...] = ()


class Stamp(msgspec.Struct, frozen=True):
    """Which network was scored on what.

    Attributes:
        sha256: of the weights file; trained_on, seed: as the file says, or "unknown".
        data: the folder or clip; split: what of it was compared with what; protocol: what counted.
    """

    weights: str
    sha256: str
    trained_on: str
    seed: str
    data: str
    split: str
    protocol: str


class Result(msgspec.Struct, frozen=True):
    """One descriptor's scores; per cent, except for `thresholds`.

    Attributes:
        descriptor: compact, full, exported (an ONNX file's), or parts of the full one.
        queries: how many were scored, which is those with a match.
        cmc: share of queries with a match among the first 1..50.
    """

    stamp: Stamp
    settings: Settings
    descriptor: str
    descriptor_length: int
    query_images: int
    gallery_images: int
    people: int
    queries: int
    rank_1: float
    rank_5: float
    rank_10: float
    mean_ap: float
    mean_inp: float
    cmc: tuple[float, ...]
    thresholds: tuple[Threshold, ...]


def choose_split(folder: Path, name: SplitName, ids: int = 150) -> Split:
    """What a protocol compares.

    Args:
        name: `test`: the data set's query against its gallery. `held-out`: the last `ids` people of its training part,
            each image against all others. `everyone`: the same with all people of the training part, or of a folder.

    Raises:
        LayoutError: no data set in a known layout.
    """
    if name == "test":
        return test_split(folder)
    images = training_images(folder)
    return held_out_split(images, ids if name == "held-out" else len(np.unique(images.pids)))


def describe_split(
    split: Split, describe: Describe, settings: Settings, watch: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[str, Described, Described]]:
    """Each descriptor's name, query and gallery; the same object twice where they are the same images.

    Args:
        watch: is told how many more images are described.
    """
    query = describe_all(split.query, describe, settings.size_hw, settings.flip, watch)
    alone = split.gallery is split.query
    gallery = query if alone else describe_all(split.gallery, describe, settings.size_hw, settings.flip, watch)
    for name in query:
        if settings.remove_camera_bias:
            yield name, *_without_camera_means(query[name], gallery[name])
        else:
            yield name, query[name], gallery[name]


def _without_camera_means(query: Described, gallery: Described) -> tuple[Described, Described]:
    sets = (query,) if query is gallery else (query, gallery)
    rows = np.concatenate([one.embeddings for one in sets])
    rest = np.split(without_camera_means(rows, np.concatenate([one.camids for one in sets])), [len(query)])
    found = [Described(part, one.pids, one.camids) for part, one in zip(rest, sets, strict=False)]
    return found[0], found[-1]


def score_described(name: str, query: Described, gallery: Described, settings: Settings, stamp: Stamp) -> Result:
    """The scores of one descriptor.

    Raises:
        ValueError: no query has a match.
    """
    distances = reranked_distances(query, gallery) if settings.rerank else None
    scores = score(query, gallery, settings.ignore_cameras, RANKS, distances)
    if not scores.queries:
        raise ValueError(
            f"{stamp.data}: none of {len(query)} queries has a match in another camera; "
            "score sets of one camera with --ignore-cameras"
        )
    rates = settings.false_match_rates
    thresholds = same_person_thresholds(query, gallery, rates, settings.ignore_cameras) if rates else ()
    cmc = tuple((100 * scores.cmc).tolist())
    return Result(
        stamp=stamp,
        settings=settings,
        descriptor=name,
        descriptor_length=query.embeddings.shape[1],
        query_images=len(query),
        gallery_images=len(gallery),
        people=len(np.unique(query.pids)),
        queries=scores.queries,
        rank_1=cmc[0],
        rank_5=cmc[4],
        rank_10=cmc[9],
        mean_ap=100 * scores.mean_ap,
        mean_inp=100 * scores.mean_inp,
        cmc=cmc,
        thresholds=tuple(thresholds),
    )
