"""Everybody known: a few prototypes per identity, searched by cosine, quickly also among millions. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32, Identity, Sightings, TrackKey
from pipeline.prototypes import SKETCHED_FROM, Prototypes, Slots, lengthen
from pipeline.sketch import Each, Rows, Scan

_SHORTLIST = 384  # prototypes compared exactly, or twice what the identities asked for may have
_NOBODY: Slots = np.zeros(0, np.int32)


@dataclass(slots=True)
class _Entry:
    """Facts of one identity; its prototypes lie in rows, in the order of `keys` and `weights`."""

    identity_id: int
    first_seen: float
    cameras: set[str]
    confirmed: bool
    keys: list[TrackKey | None]
    weights: list[float]


@dataclass(frozen=True, slots=True)
class Nearest:
    """Identities most like each of Q queries, best first, the older one first where equal.

    Attributes:
        ids, similarity: (Q, K) each.
    """

    ids: NDArray[np.int64]
    similarity: F32


@dataclass(frozen=True, slots=True)
class Candidates:
    """Identities that Q queries were compared with.

    Attributes:
        ids: (C,); similarity: (Q, C).
    """

    ids: NDArray[np.int64]
    similarity: F32


class Gallery:
    """Identities and their prototypes; a prototype is the mean embedding of one tracklet, or of several like ones.

    `_place` holds the rows of each identity's prototypes, one of them repeated up to P, or row 0 of one without any.
    But for `turn`, no change takes longer when more are known.
    Memory: 4 D + 132 bytes a prototype, 4 more for each that an identity may have, and about 1 kB an identity.

    Args:
        dimension: D, length of an embedding.
        prototypes: P, most prototypes an identity keeps; beyond it the two most similar are averaged.
        sketched_from: prototypes from which `nearest` asks a sketch where to look.
    """

    def __init__(self, dimension: int, prototypes: int, sketched_from: int = SKETCHED_FROM) -> None:
        self._prototypes = Prototypes(dimension, sketched_from)
        self._place = np.zeros((0, prototypes), np.int32)
        self._ids = np.zeros(0, np.int64)
        self._last_seen = np.zeros(0)
        self._last_camera = np.zeros(0, np.int64)
        self._cameras: dict[str, int] = {}  # places that `_last_camera` tells
        self._entries: list[_Entry] = []
        self._slot: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, identity_id: object) -> bool:
        return identity_id in self._slot

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) identity ids in the column order of `similarity`."""
        return self._ids[: len(self)].copy()

    def similarity(self, queries: F32) -> F32:
        """(Q, N) best cosine of each query (Q, D) to each identity's prototypes; (Q, 0) when nobody is known."""
        cosine = queries @ self._prototypes.rows.T
        best: F32 = cosine[:, self._place[: len(self)]].max(axis=2)
        return best

    def nearest(self, queries: F32, count: int, each: Each = map) -> Nearest:
        """The `count` identities, or all where they are fewer, that each query (Q, D) resembles most.

        Similarities are exact; in a large gallery one of a thousand may be missed (docs/architecture.md, The gallery).

        Args:
            each: how to work on parts of it; the map of a thread pool uses more cores.
        """
        count = min(count, len(self))
        if self._prototypes.sketch is None:
            best = [_first(count, self.ids, row) for row in self.similarity(queries)]
        else:
            best = self._near(self._prototypes.sketch.scan(queries, each), queries, count, each=each)
            if any(len(one.ids) < count for one in best):  # too few have prototypes
                best = [_first(count, self.ids, row) for row in self.similarity(queries)]
        ids = np.array([one.ids for one in best], np.int64).reshape(len(queries), count)
        return Nearest(ids, np.array([one.similarity for one in best], np.float32).reshape(len(queries), count))

    def candidates(self, queries: F32, count: int, beside: Collection[int] = ()) -> Candidates:
        """Those of `beside` who are known, and the `count` others that each query (Q, D) resembles most.

        In a small gallery all others. In the column order of `similarity`, and as sure as `nearest`.
        """
        if self._prototypes.sketch is None or len(self) <= count + len(beside):
            return Candidates(self.ids, self.similarity(queries))
        apart = np.array([self._slot[who] for who in beside if who in self._slot], np.int32)
        near = self._near(self._prototypes.sketch.scan(queries), queries, count, apart)
        others = [self._slot[who] for one in near for who in one.ids.tolist()]
        slots = np.union1d(apart, np.array(others, np.int32))
        cosine = queries @ self._prototypes.rows.take(self._place[slots].ravel(), axis=0).T
        best: F32 = cosine.reshape(len(queries), len(slots), -1).max(axis=2)
        return Candidates(self._ids[slots], best)

    def _near(self, scan: Scan, queries: F32, count: int, apart: Slots = _NOBODY, each: Each = map) -> list[Nearest]:
        """The best identities for each query but for some slots: `count`, or all that have prototypes."""
        few = max(1, count * self._place.shape[1])
        enough = max(_SHORTLIST, 2 * few)
        shortlists = scan.rows(range(len(queries)), enough)

        def best_of(query: int) -> Nearest:
            rows, asked = self._owned_by_others(shortlists[query], apart), enough
            while 2 * len(rows) < enough and asked < len(self._prototypes):
                asked *= 2
                rows = self._owned_by_others(scan.rows([query], asked)[0], apart)
            similarity = self._prototypes.rows.take(rows, axis=0) @ queries[query]
            if few < len(rows):
                best = similarity >= np.partition(similarity, -few)[-few]
                rows, similarity = rows[best], similarity[best]
            slots, owner = np.unique(self._prototypes.owner[rows], return_inverse=True)
            best = np.full(len(slots), -np.inf, np.float32)
            np.maximum.at(best, owner, similarity)
            return _first(count, self._ids[slots], best)

        return [*each(best_of, range(len(queries)))]

    def _owned_by_others(self, rows: Rows, apart: Slots) -> Rows:
        rows = rows[rows > 0]
        return rows[np.isin(self._prototypes.owner[rows], apart, invert=True)] if len(apart) else rows

    def add(self, identity: Identity, keys: Iterable[TrackKey | None] = ()) -> None:
        """Makes an identity known, with its prototypes."""
        slot = self._slot[identity.identity_id] = len(self)
        if slot == len(self._ids):
            lengthen(self._ids, self._place, self._last_seen, self._last_camera)
        self._ids[slot], self._place[slot], self._last_seen[slot] = identity.identity_id, 0, identity.last_seen
        self._last_camera[slot] = self._camera(identity.last_camera)
        cameras = set(identity.cameras)
        self._entries.append(_Entry(identity.identity_id, identity.first_seen, cameras, identity.confirmed, [], []))
        nameless, alike = [None] * len(identity.prototypes), [1.0] * len(identity.prototypes)
        for prototype, key, weight in zip(
            identity.prototypes, [*keys] or nameless, identity.weights.tolist() or alike, strict=True
        ):
            self.describe(identity.identity_id, key, prototype, weight)

    def get(self, identity_id: int) -> Identity:
        """What is known of one identity; its arrays are the caller's. Raises KeyError for an unknown id."""
        entry = self._entry(identity_id)
        slot = self._slot[identity_id]
        seen = (entry.first_seen, float(self._last_seen[slot]))
        last_camera = [*self._cameras][self._last_camera[slot]]
        cameras, weights = frozenset(entry.cameras), np.array(entry.weights, np.float32)
        return Identity(identity_id, self._rows_of(slot), *seen, cameras, entry.confirmed, last_camera, weights)

    def keys(self, identity_id: int) -> tuple[TrackKey | None, ...]:
        """The track behind each prototype, None for an average of several."""
        return tuple(self._entry(identity_id).keys)

    def describe(self, identity_id: int, key: TrackKey | None, prototype: F32, weight: float) -> None:
        """Sets the prototype (D,) of one tracklet, making room by averaging the two most similar others."""
        entry, slot = self._entry(identity_id), self._slot[identity_id]
        if key is not None and key in entry.keys:
            place = entry.keys.index(key)
            entry.weights[place] = weight
            self._prototypes.write(int(self._place[slot, place]), prototype)
            return
        if len(entry.keys) == self._place.shape[1]:
            self._average_most_similar(slot)
        entry.keys.append(key)
        entry.weights.append(weight)
        self._place[slot, len(entry.keys) - 1 :] = self._prototypes.append(slot, prototype)

    def forget(self, identity_id: int, key: TrackKey) -> None:
        """Drops the prototype of one tracklet, as when it turns out to be somebody else's."""
        entry = self._entry(identity_id)
        if key in entry.keys:
            self._drop(self._slot[identity_id], entry.keys.index(key))

    def see(self, identity_id: int, camera_id: str, at: float) -> None:
        """Notes a sighting."""
        slot = self._slot[identity_id]
        if at >= self._last_seen[slot]:
            self._last_seen[slot] = at
            self._last_camera[slot] = self._camera(camera_id)
        self._entries[slot].cameras.add(camera_id)

    def sightings(self, ids: Iterable[int] | None = None) -> Sightings:
        """Where and when each of these was last seen, or everybody."""
        slots = slice(len(self)) if ids is None else np.array([self._slot[who] for who in ids], np.int64)
        return Sightings((*self._cameras,), self._last_camera[slots], self._last_seen[slots])

    def _camera(self, camera_id: str) -> int:
        return self._cameras.setdefault(camera_id, len(self._cameras))

    def is_confirmed(self, identity_id: int) -> bool:
        """Whether an identity is no longer provisional."""
        return self._entry(identity_id).confirmed

    def confirm(self, identity_id: int) -> None:
        """Ends an identity's provisional state."""
        self._entry(identity_id).confirmed = True

    def remove(self, identity_id: int) -> None:
        """Forgets an identity; the last one takes its slot."""
        slot = self._slot[identity_id]
        while self._entries[slot].keys:
            self._drop(slot, len(self._entries[slot].keys) - 1)
        del self._slot[identity_id]
        last = self._entries.pop()
        if slot < len(self._entries):
            self._entries[slot] = last
            self._ids[slot], self._last_seen[slot] = last.identity_id, self._last_seen[len(self._entries)]
            self._last_camera[slot] = self._last_camera[len(self._entries)]
            self._place[slot] = self._place[len(self._entries)]
            self._prototypes.owner[self._place[slot, : len(last.keys)]] = slot
            self._slot[last.identity_id] = slot

    def absorb(self, identity_id: int, other_id: int) -> None:
        """Moves all that is known of `other_id` to `identity_id` and removes it."""
        slot, other_slot = self._slot[identity_id], self._slot[other_id]
        entry, other = self._entries[slot], self._entries[other_slot]
        for key, weight, prototype in zip(other.keys, other.weights, self._rows_of(other_slot), strict=True):
            self.describe(identity_id, key, prototype, weight)
        entry.first_seen = min(entry.first_seen, other.first_seen)
        if self._last_seen[other_slot] > self._last_seen[slot]:
            self._last_seen[slot] = self._last_seen[other_slot]
            self._last_camera[slot] = self._last_camera[other_slot]
        entry.cameras |= other.cameras
        entry.confirmed |= other.confirmed
        self.remove(other_id)

    def turn(self, change: F32) -> None:
        """Multiplies every prototype by (D, D), to unit length again (`Prototypes.turn`)."""
        self._prototypes.turn(change)

    def longest_unseen(self, count: int) -> dict[int, float]:
        """The `count` identities, or all, whom nobody has seen for longest, and when they were seen.

        The longest unseen first, the older identity first where equal.
        """
        last_seen = self._last_seen[: len(self)]
        latest = np.partition(last_seen, count - 1)[count - 1] if 0 < count < len(self) else np.inf
        slots = np.flatnonzero(last_seen <= latest)
        slots = slots[np.lexsort((self._ids[slots], last_seen[slots]))][:count]
        return dict(zip(self._ids[slots].tolist(), last_seen[slots].tolist(), strict=True))

    def _entry(self, identity_id: int) -> _Entry:
        return self._entries[self._slot[identity_id]]

    def _rows_of(self, slot: int) -> F32:
        """(K, D), a copy."""
        rows: F32 = self._prototypes.rows[self._place[slot, : len(self._entries[slot].keys)]]
        return rows

    def _drop(self, slot: int, place: int) -> None:
        """Deletes one prototype; the last row takes its row."""
        entry, places = self._entries[slot], self._place[slot]
        freed = int(places[place])
        places[place:-1] = places[place + 1 :]
        del entry.keys[place], entry.weights[place]
        places[len(entry.keys) :] = places[0] if entry.keys else 0
        moved = self._place[self._prototypes.owner[-1]]
        moved[moved == len(self._prototypes) - 1] = freed
        self._prototypes.remove(freed)

    def _average_most_similar(self, slot: int) -> None:
        entry, prototypes = self._entries[slot], self._rows_of(slot)
        cosine = prototypes @ prototypes.T
        np.fill_diagonal(cosine, -np.inf)
        a, b = sorted(int(row) for row in np.unravel_index(int(np.argmax(cosine)), cosine.shape))
        pair = np.array([entry.weights[a], entry.weights[b]], np.float32)
        self._prototypes.write(int(self._place[slot, a]), mean_embedding(prototypes[[a, b]], pair))
        entry.keys[a], entry.weights[a] = None, float(pair.sum())
        self._drop(slot, b)


def mean_embedding(embeddings: F32, quality: F32) -> F32:
    """Unit mean (D,) of (K, D) rows, K > 0, weighted by quality (K,)."""
    mean: F32 = (embeddings * np.maximum(quality, 1e-3)[:, None]).sum(axis=0)
    unit: F32 = mean / np.maximum(np.linalg.norm(mean), 1e-12)
    return unit


def _first(count: int, ids: NDArray[np.int64], similarity: F32) -> Nearest:
    """The `count` best of (N,) identities as (count,) arrays."""
    order = np.lexsort((ids, -similarity))[:count]
    return Nearest(ids[order], similarity[order])
