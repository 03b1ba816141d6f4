"""The tracks of a whole run gathered to people, with all of them in view. Pure.

A run decides while people come, by whoever came before. Afterwards every track is compared with every other. Groups of
tracks become one by the mean over all their pairs (`linkage`): how alike they look without what their cameras add, how
likely their times and places are (`timetable`, learnt from the groups of the round before), and whether the run took
them for one person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.camera_bias import CameraBias, CameraMean
from pipeline.config import MatcherConfig
from pipeline.crowd import taken_off
from pipeline.datatypes import F32
from pipeline.linkage import linked
from pipeline.timetable import Passages, Timetable
from pipeline.vectors import unit_rows

I64 = NDArray[np.int64]
_MEAN_IS_LESS = 0.1  # than the similarity of the most similar pair, of which `min_similarity` is
_KNOWN = 0.1  # added to pairs of one person by the run, which also knew where in the picture its camera lost them
_SURE = 0.2  # more in the first round: times and places are learnt from whom looks alone give away
_TIMES = 3.0  # as much as a run adds by times and places
_ROUNDS = 5
_NEAREST = 64  # tracks most like a track, of those that are at all like it, with which it may become one
_AT_ALL = 0.2  # less than the least mean similarity: pairs less alike say little but that
_AT_ONCE = 1 << 24  # pairs that are compared


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """All tracks of a run.

    Attributes:
        descriptors: (N, D) unit rows as their cameras show them.
        passages: (N,) where and when.
        cameras: how many there are.
        known: (N,) whom the run took each for in the end.
    """

    descriptors: F32
    passages: Passages
    cameras: int
    known: I64


def grouped(tracks: Tracks, config: MatcherConfig) -> I64:
    """(N,) numbers of the people to whom tracks belong, from 0 on, in the order in which they came.

    Args:
        config: `min_similarity` and `crowd_penalty` say how alike one person's tracks are, `transition_weight` how
            much times and places count, `remove_camera_bias` whether what cameras add is taken off.
    """
    if not len(tracks.passages):
        return np.zeros(0, np.int64)
    looks = _without_bias(tracks) if config.remove_camera_bias else tracks.descriptors
    least = config.min_similarity - _MEAN_IS_LESS
    pairs, alike = _alike(looks, least - _AT_ALL)
    passages = tracks.passages
    group, table = np.arange(len(passages)), Timetable.unknown(tracks.cameras)
    for number in range(_ROUNDS):
        people = min(len(np.unique(group)), len(np.unique(tracks.known)))
        crowd = taken_off(people, config.crowd_penalty)
        raised = least + (crowd if number else _SURE)
        extra = _TIMES * config.transition_weight * table.likelier(passages, pairs)
        if number:
            extra += _KNOWN * (tracks.known[pairs[:, 0]] == tracks.known[pairs[:, 1]])
        apart = partial(_apart, passages, table)
        before, group = group, linked(looks, pairs, alike, extra.astype(np.float32), raised, apart)
        if number and np.array_equal(before, group):
            break
        sure = pairs[(alike >= config.min_similarity) & (group[pairs[:, 0]] == group[pairs[:, 1]])]
        table = Timetable.learnt(passages, group, sure, tracks.cameras)
        pairs, alike = _with_groups(looks, group, pairs, alike, least - _AT_ALL)
    return _numbered(group, passages)


def _without_bias(tracks: Tracks) -> F32:
    """(N, D) unit rows without what each camera adds: everybody counts once, however many tracks they have there."""
    looks = tracks.descriptors.copy()
    for camera in np.unique(tracks.passages.camera):
        own = tracks.passages.camera == camera
        people, place, count = np.unique(tracks.known[own], return_inverse=True, return_counts=True)
        means = np.zeros((len(people), looks.shape[1]), np.float32)
        np.add.at(means, place, looks[own])
        mean = CameraMean("", len(people), (means / count[:, None].astype(np.float32)).mean(axis=0))
        looks[own] = CameraBias([mean]).take_off("", looks[own])
    return looks


def _apart(passages: Passages, table: Timetable, some: Sequence[int], others: Sequence[int]) -> bool:
    return table.apart(passages.at(some), passages.at(others))


def _alike(looks: F32, least: float) -> tuple[I64, F32]:
    """(P, 2) each track with those most like it, each pair once, and (P,) how alike they are."""
    count = min(_NEAREST, len(looks) - 1)
    pairs, alike = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    block = max(_AT_ONCE // len(looks), 1)
    for start in range(0, len(looks) if count else 0, block):
        similarity = looks[start : start + block] @ looks.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -1
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        found = np.take_along_axis(similarity, nearest, axis=1).ravel()
        both = np.stack([np.repeat(start + rows, count), nearest.ravel()], axis=1)
        pairs.append(np.sort(both[found >= least], axis=1))
        alike.append(found[found >= least])
    once, place = np.unique(np.concatenate(pairs), axis=0, return_index=True)
    return once, np.concatenate(alike)[place]


def _with_groups(looks: F32, group: I64, pairs: I64, alike: F32, least: float) -> tuple[I64, F32]:
    """Pairs and how alike they are, with one more for each two groups that are alike.

    Whoever has more tracks before one camera than are looked at is else never compared with those before another.
    """
    _, first, place, count = np.unique(group, return_index=True, return_inverse=True, return_counts=True)
    if count.max() < _NEAREST // 2:
        return pairs, alike
    means = np.zeros((len(first), looks.shape[1]), np.float32)
    np.add.at(means, place, looks)
    more = np.sort(first[_alike(unit_rows(means), least)[0]], axis=1)
    once, places = np.unique(np.concatenate([pairs, more]), axis=0, return_index=True)
    products = np.einsum("pd,pd->p", looks[more[:, 0]], looks[more[:, 1]])
    return once, np.concatenate([alike, products])[places]


def _numbered(group: I64, passages: Passages) -> I64:
    """Groups by the order in which their first track began."""
    ordered = group[order := np.argsort(passages.since, kind="stable")]
    _, first, place = np.unique(ordered, return_index=True, return_inverse=True)
    number = np.empty(len(group), np.int64)
    number[order] = np.argsort(np.argsort(first))[place]
    return number
