"""Labelled people passing cameras: tracks of images, one after the other in a drawn order or when they truly passed.

Market-1501's file names tell camera, sequence and frame, as 0002_c1s1_000451_03.jpg. In sequence 1 the clocks of its
six cameras agree: of the people seen by two of them nearly all came to both within a hundred seconds. In sequences 2
and 3 they do not; CLOCKS sets them right by where the differences of labelled people lie densest.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mspf.datasets import ImageList

F64 = NDArray[np.float64]
GAP_S = 60.0  # images of one person in one camera that are further apart are two tracks
APART_S = 5.0  # between two tracks of a drawn crowd
FPS = 25
NAME = re.compile(r"_c(\d)s(\d)_(\d+)_")
CLOCKS = {  # by sequence: seconds to add to each camera's clock; cameras that shared hardly anybody are left out
    1: {1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0},
    2: {2: 0, 3: -105, 5: -115, 6: 150},
    3: {2: 0, 3: -240, 5: -250, 6: -1180},
}


class Passage(NamedTuple):
    """One person before one camera, from the first to the last second: rows of the images that show it."""

    person: int
    camera: int
    first: float
    last: float
    rows: tuple[int, ...]


def seconds(paths: Sequence[Path], sequence: int) -> F64:
    """(N,) when each image of Market-1501 was taken; not a number where in another sequence.

    Raises:
        ValueError: a name tells no time.
    """
    return np.array([_second(path, sequence) for path in paths])


def _second(path: Path, sequence: int) -> float:
    found = NAME.search(path.name)
    if found is None:
        raise ValueError(f"{path}: expected a name of Market-1501, as 0002_c1s1_000451_03.jpg; leave --sequence out")
    camera, of, frame = map(int, found.groups())
    return frame / FPS + CLOCKS[sequence].get(camera, np.nan) if of == sequence else np.nan


def passages(images: ImageList, times: F64, views: int) -> tuple[ImageList, list[Passage]]:
    """Tracks, by person, camera and time, and the images that show them: of each at most `views`, drawn.

    Distractors (pid 0 and below) and images whose time (N,) is not a number are left out.
    """
    timed = (images.pids > 0) & ~np.isnan(times)
    drawn = np.random.default_rng(0).permutation(len(images))
    track = _tracks(images, times)
    shown = defaultdict(list)
    for row in drawn[timed[drawn]]:
        if len(shown[track[row]]) < views:
            shown[track[row]].append(row)
    kept = np.isin(np.arange(len(images)), [row for rows in shown.values() for row in rows])
    place = np.cumsum(kept) - 1
    found = []
    for number, rows in sorted(shown.items()):
        when, who = times[timed & (track == number)], (int(images.pids[rows[0]]), int(images.camids[rows[0]]))
        found.append(Passage(*who, float(when.min()), float(when.max()), tuple(sorted(place[rows].tolist()))))
    return images.where(kept), found


def _tracks(images: ImageList, times: F64) -> NDArray[np.int64]:
    """(N,) numbers of tracks, by person, camera and time."""
    order = np.lexsort((times, images.camids, images.pids))
    changes = (np.diff(images.pids[order]) != 0) | (np.diff(images.camids[order]) != 0)
    begins = np.r_[False, changes | (np.diff(times[order]) > GAP_S)][: len(order)]
    track = np.empty(len(order), np.int64)
    track[order] = np.cumsum(begins)
    return track


def crowd(passed: Sequence[Passage], people: int, seed: int) -> list[Passage]:
    """The tracks of so many people, one after the other in a drawn order."""
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(np.unique([one.person for one in passed]))[:people]
    of_them = [one for one in passed if one.person in chosen]
    order = draw.permutation(len(of_them))
    return [of_them[row]._replace(first=APART_S * at, last=APART_S * at) for at, row in enumerate(order)]
