"""From which similarity on two images show the same person, at a chosen rate of false matches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mspf.datasets import F32, I64
from mspf.metrics import Described, judge, similarities


@dataclass(frozen=True, slots=True)
class Threshold:
    """Pairs at or above `min_similarity` count as one person.

    Attributes:
        false_match_rate: at most this share of the pairs of different people does.
        true_match_rate: this share of the pairs of one person does.
        false_pairs, true_pairs: how many pairs of each kind there were; a rate below 1 / false_pairs means little.
    """

    false_match_rate: float
    min_similarity: float
    true_match_rate: float
    false_pairs: int
    true_pairs: int


def same_person_thresholds(
    query: Described, gallery: Described, rates: Sequence[float], ignore_cameras: bool = False
) -> list[Threshold]:
    """The lowest exact threshold for each rate, over every pair that the protocol compares.

    Only the most similar pairs of different people are kept in memory: the largest rate times all pairs.

    Raises:
        ValueError: a rate outside 0..1, no pair of one person, or none of different people.
    """
    if not all(0 <= rate < 1 for rate in rates):
        raise ValueError(f"false-match rates {list(rates)}; give shares from 0 to below 1, such as 1e-3")
    room = int(max(rates, default=0) * len(query) * len(gallery)) + 1
    hardest, true = np.zeros(0, np.float32), [np.zeros(0, np.float32)]
    false_pairs = start = 0
    for block in similarities(query, gallery):
        same, kept = judge(query, gallery, slice(start, start + len(block)), ignore_cameras)
        false = block[kept & ~same]
        hardest = np.concatenate((hardest, false))
        hardest = -np.partition(-hardest, room)[:room] if len(hardest) > room else hardest
        true.append(block[kept & same])
        false_pairs, start = false_pairs + len(false), start + len(block)
    matches = np.concatenate(true)
    if not (false_pairs and len(matches)):
        raise ValueError(f"{len(matches)} pairs of one person and {false_pairs} of two; a threshold needs both")
    hardest = -np.sort(-hardest)
    thresholds: list[Threshold] = []
    for rate in rates:
        lowest = np.nextafter(hardest[int(rate * false_pairs)], np.float32(np.inf))
        share = float((matches >= lowest).mean())
        thresholds.append(Threshold(rate, float(lowest), share, false_pairs, len(matches)))
    return thresholds


def carried_over(thresholds: Sequence[float], before: F32, after: F32, pids: I64, camids: I64) -> list[float]:
    """What thresholds of one network become with another one, so that as many pairs of two people are above them.

    Args:
        before, after: unit rows (N, D) of the same images by both; pairs of two people in two cameras are compared,
            where there is one camera alone, all pairs of two people.

    Raises:
        ValueError: there is no such pair.
    """
    elsewhere = (camids[:, None] != camids) | (np.ptp(camids) == 0)
    pairs = np.triu((pids[:, None] != pids) & elsewhere)
    if not pairs.any():
        raise ValueError("no pair of two people, by which thresholds could be carried over")
    first, second = np.sort((before @ before.T)[pairs]), np.sort((after @ after.T)[pairs])
    places = np.searchsorted(first, np.array(thresholds, np.float32))
    return [float(second[min(place, len(second) - 1)]) for place in places]
