"""The gallery in the benchmark: searches among up to a million people, answers that they miss, and a matcher's steps"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import psutil
from benchmark_timing import Row, in_turn

from pipeline.config import MatcherConfig
from pipeline.datatypes import F32, CameraUpdate, Identity, Tracklet
from pipeline.gallery import Gallery
from pipeline.matcher import Matcher
from pipeline.matcher_state import MatcherState

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
DIMENSION = 512
QUERIES, COUNT = 16, 16  # timed at once, and nearest that each asks for
ASKED = 128  # people who are looked for to count missed answers
DRESSED = ("freely", "alike", "changing")  # changing: views of one person differ as people do
LOOKS = 300  # ways to dress where people dress alike
AT_ONCE = 10_000
STEPS, CAMERAS, IN_VIEW = 400, 20, 4


def spectrum(total: float, bend: int, power: float) -> F32:
    """(D,) strengths of directions whose variances add up to `total`."""
    variance = 1 / (1 + (np.arange(DIMENSION) / bend) ** power)
    return np.sqrt(total * variance / variance.sum()).astype(np.float32)


# As the shipped network's descriptors of Market-1501's training people vary: between people, and within one.
PEOPLE, VIEWS = spectrum(0.61, 8, 1.75), spectrum(0.34, 32, 1.5)
HARD_VIEWS = spectrum(1.3, 8, 1.75)  # in the directions in which people differ, and more than they


@dataclass(frozen=True, slots=True)
class Crowd:
    """People to search.

    Attributes:
        queries: (ASKED, D) further views of some of them; similarity: (ASKED, COUNT), exact, of their nearest.
        enrol_us: core time to enrol one.
    """

    people: Gallery
    queries: F32
    similarity: F32
    enrol_us: float


def gallery(largest: int) -> list[Row]:
    """16 queries for their 16 nearest, in galleries of different size: 4 prototypes a person, 2 from 1,000,000 on."""
    return [
        searched(size, 2 if size >= 1_000_000 else 4, dressed)
        for size in SIZES
        for dressed in DRESSED
        if size <= largest and (size >= 100_000 or dressed == "freely")
    ]


def searched(size: int, prototypes: int, dressed: str) -> Row:
    """One line of the table."""
    before = psutil.Process().memory_info().rss
    crowd = crowd_of(size, prototypes, dressed)
    people, queries = crowd.people, crowd.queries[:QUERIES]
    memory = psutil.Process().memory_info().rss - before
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        calls: dict[str, Callable[[], object]] = {
            "one thread": lambda: people.nearest(queries, COUNT),
            "all cores": lambda: people.nearest(queries, COUNT, pool.map),
            "exact": lambda: people.similarity(queries),
            "leaves and comes": lambda: come_and_go(people),
        }
        if size > 100_000:
            del calls["exact"]  # its answer alone takes gigabytes
        taken = in_turn(calls)
    nearest = people.nearest(crowd.queries, COUNT).similarity
    below = nearest < crowd.similarity[:, : nearest.shape[1]] - 1e-5
    return {
        "identities": size,
        "prototypes": size * prototypes,
        "dressed": dressed,
        "best above 2nd": float(np.median(crowd.similarity[:, 0] - crowd.similarity[:, 1])),
        **{f"{name}, ms": 1000 * one.wall_s for name, one in taken.items()},
        "one thread, core ms": 1000 * taken["one thread"].core_s,
        "missed": int(below.sum()),
        "of": below.size,
        "missed best": int(below[:, 0].sum()),
        "memory, MB": memory / 1e6,
        "enrol, core us": crowd.enrol_us,
    }


def crowd_of(size: int, prototypes: int, dressed: str) -> Crowd:
    """A gallery, views of its first people, and what an exact search finds for them, computed while they come."""
    people, queries, nearest, enrol_s = Gallery(DIMENSION, 8), np.zeros((0, DIMENSION), np.float32), [], 0.0
    for first, views in viewed(size, prototypes + 1, dressed):
        queries = views[:ASKED, 0].copy() if first == 0 else queries
        started = time.process_time()
        for place, rows in enumerate(views[:, 1:]):
            people.add(Identity(first + place, rows, 0.0, 0.0, frozenset(), True))
        enrol_s += time.process_time() - started
        best = (queries @ views[:, 1:].reshape(-1, DIMENSION).T).reshape(len(queries), len(views), -1).max(axis=2)
        nearest = [-np.sort(-np.hstack([*nearest, best]), axis=1)[:, :COUNT]]
    return Crowd(people, queries, nearest[0], 1e6 * enrol_s / size)


def viewed(size: int, views: int, dressed: str) -> Iterator[tuple[int, F32]]:
    """Views (N, views, D) of the people from each number on; those dressed alike differ from a look by a third."""
    rng = np.random.default_rng(0)
    spread = HARD_VIEWS if dressed == "changing" else VIEWS
    looks = PEOPLE * rng.standard_normal((LOOKS, DIMENSION), np.float32)
    for first in range(0, size, AT_ONCE):
        count = min(AT_ONCE, size - first)
        people = PEOPLE * rng.standard_normal((count, DIMENSION), np.float32)
        if dressed == "alike":
            people = looks[rng.integers(0, LOOKS, count)] + people / 3
        seen = 0.6 * spread * rng.standard_normal((count, views, DIMENSION), np.float32)  # tracklets are means
        seen += people[:, None]
        yield first, unit(seen)


def come_and_go(people: Gallery) -> None:
    """The oldest identity leaves and comes back."""
    identity = people.get(int(people.ids[0]))
    people.remove(identity.identity_id)
    people.add(identity)


def matching(largest: int) -> list[Row]:
    """Steps of a matcher that knows many people from before, of whom some come into view of 20 cameras."""
    rows: list[Row] = []
    for size in (size for size in SIZES[1:] if size <= min(largest, 100_000)):
        known: list[tuple[Identity, tuple[None, ...]]] = []
        coming = np.zeros((0, DIMENSION), np.float32)
        for first, views in viewed(size, 5, "freely"):
            coming = coming if first else views[:, 0]
            for who, prototypes in enumerate(views[:, 1:], first + 1):
                known.append((Identity(who, prototypes, 0.0, 0.0, frozenset("a"), True), (None,) * 4))
        state = MatcherState(tuple(known), next_identity_id=size + 1)
        matcher, taken = Matcher(MatcherConfig(max_identities=2 * size), DIMENSION, state), []
        for update in walks(coming):
            started = time.process_time()
            matcher.step(update)
            taken.append(1000 * (time.process_time() - started))
        median, late, longest = np.percentile(taken, [50, 99, 100])
        rows.append({"identities": size, "median, core ms": median, "p99, core ms": late, "longest, core ms": longest})
    return rows


def walks(coming: F32) -> Iterator[CameraUpdate]:
    """Frames of all cameras in turn; every fifth of each shows somebody new beside three others, little at first."""
    in_view: dict[int, list[int]] = {camera: [] for camera in range(CAMERAS)}
    for step in range(STEPS):
        frame, camera = divmod(step, CAMERAS)
        if frame % 5 == 0:
            in_view[camera] = [*in_view[camera][1 - IN_VIEW :], step]
        now = 100 + step / CAMERAS
        tracks = tuple(
            tracklet(born, coming[born], min(8, 1 + (step - born) // CAMERAS), now) for born in in_view[camera]
        )
        yield CameraUpdate(f"camera {camera}", 1, frame, now, now, tracks)


def tracklet(track_id: int, look: F32, count: int, now: float) -> Tracklet:
    """A track with so many embeddings."""
    box = np.array([0, 0, 40, 100], np.float32) + 50 * np.array([track_id % 9, 0, track_id % 9, 0], np.float32)
    return Tracklet(track_id, count, now, now, np.repeat(look[None], count, 0), np.ones(count, np.float32), box, 0.9)


def unit(rows: F32) -> F32:
    """Vectors (..., D) of length 1."""
    lengths: F32 = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / lengths
