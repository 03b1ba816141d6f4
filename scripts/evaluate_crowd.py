"""Score the matcher on crowds of labelled people: how many can be known before they are mixed up?

python scripts/evaluate_crowd.py --weights W --data DIR --people 30 100 300 700
python scripts/evaluate_crowd.py --weights W --data DIR --people 30 100 300 700 --set crowd_penalty=0
python scripts/evaluate_crowd.py --weights W --data MARKET1501 --split everyone --sequence 1
python scripts/evaluate_crowd.py --weights W --data MARKET1501 --split everyone --sequence 1 --afterwards

All images of a person in one camera, at most --views of them, are one track; the tracks of so many people pass one
after the other, nobody beside anybody, in an order drawn anew for every seed, so that looks alone count
(transition_weight is 0 unless --set). With --sequence the people of a sequence of Market-1501 pass when they did, and
images of one person in one camera more than a minute apart are two tracks. A track is decided when it has ended; with
--afterwards all of them when the last one has, as `mspf-pipeline regroup` does.

IDF1 counts tracks: those that the best pairing of identities and people explains. Precision and recall count pairs of
tracks with one identity, of one person.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from evaluate import load
from numpy.typing import NDArray
from passages import CLOCKS, Passage, crowd, passages, seconds
from progress import counting, make_bar, stop
from rich.console import Console
from scipy.optimize import linear_sum_assignment

import engines
from mspf.datasets import ImageList
from mspf.descriptors import describe_all
from mspf.errors import MSPFError
from mspf.ranges import at_least
from mspf.scoring import choose_split
from pipeline.config import MatcherConfig
from pipeline.datatypes import Assignment, CameraUpdate, Merge, Tracklet
from pipeline.gallery import mean_embedding
from pipeline.grouping import Tracks, grouped
from pipeline.matcher import Matcher
from pipeline.timetable import Passages

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
STEP = 1000  # pixels, further than anybody gets between two tracks
BOX = np.array([0, 0, 64, 128], np.float32)


USUAL = {"forget_after_s": 1e9, "min_embeddings": 1}  # nobody is forgotten, and one view is evidence enough


class Scores(NamedTuple):
    """Shares in 0..1, and how many identities there were."""

    idf1: float
    precision: float
    recall: float
    identities: int


def identities(passing: Sequence[Passage], descriptors: F32, config: MatcherConfig) -> I64:
    """(N,) the identity of each track in the end, merges carried out; -1 - n for the n-th where it was given none.

    Args:
        passing: in the order in which they end; descriptors: (images, D) unit rows.
    """
    matcher, given = Matcher(config, descriptors.shape[1]), -1 - np.arange(len(passing))
    for number, one in enumerate(passing):
        views, box = descriptors[list(one.rows)], BOX + np.float32(STEP * (number % 1000))
        weights = np.ones(len(views), np.float32)
        track = Tracklet(number + 1, len(views), one.first, one.last, views, weights, box, 1.0, closed=True)
        outcome = matcher.step(CameraUpdate(str(one.camera), 0, number, one.last, one.last, (track,)))
        for done in outcome.decisions:
            if isinstance(done, Assignment):
                given[number] = done.identity_id
            elif isinstance(done, Merge):
                given[given == done.replaces] = done.identity_id
    return given


def identities_afterwards(passing: Sequence[Passage], descriptors: F32, config: MatcherConfig) -> I64:
    """(N,) the identity of each track, decided with all of them in view."""
    looks = np.stack([mean_embedding(views := descriptors[list(one.rows)], np.ones(len(views))) for one in passing])
    cameras, camera = np.unique([one.camera for one in passing], return_inverse=True)
    times = (np.array([one.first for one in passing]), np.array([one.last for one in passing]))
    known = identities(passing, descriptors, config)
    return grouped(Tracks(looks, Passages(camera, *times), len(cameras), known), config)


def score(person: I64, identity: I64) -> Scores:
    """Scores of tracks (N,)."""
    people, row = np.unique(person, return_inverse=True)
    known, column = np.unique(identity, return_inverse=True)
    table = np.zeros((len(people), len(known)), np.int64)
    np.add.at(table, (row, column), 1)
    best = linear_sum_assignment(table, maximize=True)
    together, found, true = (pairs(counts) for counts in (table, table.sum(0), table.sum(1)))
    return Scores(table[best].sum() / len(person), together / max(found, 1), together / max(true, 1), len(known))


def pairs(counts: I64) -> int:
    """How many pairs groups of such sizes have."""
    return int((counts * (counts - 1) // 2).sum())


def matcher_config(changes: Sequence[str], usual: Mapping[str, object]) -> MatcherConfig:
    """The matcher's defaults, but for what is usual here, changed.

    Raises:
        ValueError: not KEY=VALUE, no such key, no such value.
    """
    if wrong := [change for change in changes if "=" not in change]:
        raise ValueError(f"--set {wrong[0]}: give KEY=VALUE, as in crowd_penalty=0")
    given: Mapping[str, str] = dict(change.split("=", 1) for change in changes)
    try:
        changed = msgspec.convert({**usual, **given}, MatcherConfig, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"--set {' '.join(changes)}: {error}") from error
    return changed


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", choices=("test", "held-out", "everyone"), default="test")
    parser.add_argument("--people", type=at_least(1), nargs="+", action="extend", default=[], metavar="N")
    parser.add_argument("--sequence", type=int, choices=sorted(CLOCKS), help="of Market-1501, as its people passed")
    parser.add_argument("--seeds", type=at_least(1), default=3, help="crowds of each size (3)")
    parser.add_argument("--views", type=at_least(1), default=4, help="images of a track, at most (4)")
    parser.add_argument("--afterwards", action="store_true", help="decide with everybody in view, as regroup does")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the matcher")
    parser.add_argument("--normalise-outside", action="store_true", help="for foreign files: ImageNet mean and std")
    parser.add_argument("--threads", type=at_least(0), default=0, help="of torch; 0 for one a core")
    parser.set_defaults(parts=False, size=None, device="cpu")
    options = parser.parse_args()
    if bool(options.people) == bool(options.sequence):
        parser.error("give either --people or --sequence")
    return options


def run(options: argparse.Namespace) -> None:
    """Print a line for each size of a crowd, or for the sequence."""
    usual = USUAL if options.sequence else USUAL | {"transition_weight": 0}
    config, network = matcher_config(options.set, usual), load(options.weights, options)
    split = choose_split(options.data, options.split)
    sides = [split.query] if split.gallery is split.query else [split.query, split.gallery]
    images = together(sides)
    times = seconds(images.paths, options.sequence) if options.sequence else np.zeros(len(images))
    images, passed = passages(images, times, options.views)
    wanted = [*runs(passed, options)]
    bar = make_bar(Console(stderr=True), passing=True)
    try:
        described = describe_all(images, network.describe, network.size_hw, watch=counting(bar, len(images), "images"))
    finally:
        stop(bar)
    name = "compact" if "compact" in described else next(iter(described))
    decide = identities_afterwards if options.afterwards else identities
    for title, crowds in wanted:
        scores = [
            score(np.array([one.person for one in each]), decide(each, described[name].embeddings, config))
            for each in crowds
        ]
        mean = Scores(*np.mean(scores, 0))
        print(
            f"{options.weights.name} ({name}) {title}, {np.mean([len(each) for each in crowds]):.0f} tracks: "
            f"IDF1 {mean.idf1:.3f}  precision {mean.precision:.2f}  recall {mean.recall:.2f}  "
            f"{mean.identities:.0f} identities  ({len(crowds)} crowds)",
            flush=True,
        )


def runs(passed: Sequence[Passage], options: argparse.Namespace) -> Iterator[tuple[str, list[list[Passage]]]]:
    """What each line is about, and the crowds that it is the mean of.

    Raises:
        ValueError: there are not so many people.
    """
    there = len({one.person for one in passed})
    if options.sequence:
        if not passed:
            raise ValueError(f"--sequence {options.sequence}: {options.data} has nobody of it in this split")
        yield f"sequence {options.sequence}, {there} people", [sorted(passed, key=lambda one: one.last)]
    for people in options.people:
        if people > there:
            raise ValueError(f"--people {people}: {options.data} has {there} in this split")
        yield f"{people} people", [crowd(passed, people, seed) for seed in range(options.seeds)]


def together(sides: Sequence[ImageList]) -> ImageList:
    """One list of several."""
    paths = tuple(path for side in sides for path in side.paths)
    return ImageList(paths, np.concatenate([side.pids for side in sides]), np.concatenate([s.camids for s in sides]))


def main() -> None:
    """Score, or say in one line what is in the way."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        run(options)
    except (MSPFError, OSError, ValueError, engines.EngineError) as error:
        sys.exit(f"evaluate_crowd: {error}")


if __name__ == "__main__":
    main()
