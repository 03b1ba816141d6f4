"""Everybody known: a few prototypes per identity, searched by cosine, quickly also among millions. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32, Identity, TrackKey
from pipeline.sketch import Each, Sketch

_T = TypeVar("_T", bound=np.generic)
_GROWTH = 2
_FIRST_CAPACITY = 64
_SKETCHED_FROM = 8192  # prototypes; measured: from there on a sketch and exact products of its shortlist are quicker
_SHORTLIST = 512  # prototypes compared exactly, or four times what the identities asked for may have


@dataclass(slots=True)
class _Entry:
    """Facts of one identity; its prototypes lie in the gallery's rows, in the order of `keys` and `weights`."""

    identity_id: int
    first_seen: float
    last_seen: float
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


class Gallery:
    """Identities and their prototypes; a prototype is the mean embedding of one tracklet, or of several like ones.

    Prototypes lie in one array without gaps; `_place` holds the rows of each identity, one of them repeated up to P.
    Row 0 is zero and nobody's: the place of those without prototypes.
    Memory: 4 D bytes a prototype, 4 more for each that an identity may have, and about 1 kB an identity; arrays double
    when full.

    Args:
        dimension: D, length of an embedding.
        prototypes: P, most prototypes an identity keeps; beyond it the two most similar are averaged.
        sketched_from: prototypes from which `nearest` asks a sketch (128 bytes more for each) where to look.
    """

    def __init__(self, dimension: int, prototypes: int, sketched_from: int = _SKETCHED_FROM) -> None:
        self._rows: F32 = np.zeros((_FIRST_CAPACITY, dimension), np.float32)
        self._owner = np.full(_FIRST_CAPACITY, -1, np.int32)
        self._used = 1
        self._place = np.zeros((_FIRST_CAPACITY, prototypes), np.int32)
        self._ids = np.zeros(_FIRST_CAPACITY, np.int64)
        self._entries: list[_Entry] = []
        self._slot: dict[int, int] = {}
        self._sketched_from = sketched_from
        self._sketch: Sketch | None = None
        self._written = 0  # rows since the sketch was begun

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, identity_id: object) -> bool:
        return identity_id in self._slot

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) identity ids in the column order of `similarity`; a view, valid until the next change."""
        return self._ids[: len(self)]

    def similarity(self, queries: F32) -> F32:
        """(Q, N) best cosine of each query (Q, D) to each identity's prototypes; (Q, 0) when nobody is known."""
        cosine = queries @ self._rows[: self._used].T
        best: F32 = cosine[:, self._place[: len(self)]].max(axis=2)
        return best

    def nearest(self, queries: F32, count: int, each: Each = map) -> Nearest:
        """The `count` identities, or all where they are fewer, that each query (Q, D) resembles most.

        Similarities are exact; in a large gallery one of them may be missed (measured on 100,000 people: none of
        256 by `make bench`).

        Args:
            each: how to work on parts of it; the map of a thread pool uses more cores.
        """
        count = min(count, len(self))
        sketch = self._current_sketch()
        if sketch is None or not len(queries):
            best = [_first(count, self.ids, row) for row in self.similarity(queries)]
        else:
            shortlists = sketch.shortlist(queries, max(_SHORTLIST, 4 * count * self._place.shape[1]), each)
            best = [*each(lambda query: self._best_of(shortlists[query], queries[query], count), range(len(queries)))]
        ids = np.array([one.ids for one in best], np.int64).reshape(len(queries), count)
        return Nearest(ids, np.array([one.similarity for one in best], np.float32).reshape(len(queries), count))

    def _current_sketch(self) -> Sketch | None:
        """The sketch; begun anew, on the axes of who is known now, when as many rows were written as it began with."""
        if self._used <= self._sketched_from:
            self._sketch = None
        elif self._sketch is None or self._written > self._sketch.begun_with:
            self._sketch, self._written = Sketch(self._rows[: self._used]), 0
        return self._sketch

    def _best_of(self, rows: NDArray[np.intp], query: F32, count: int) -> Nearest:
        """The best identities for one query (D,) among the owners of these rows; of all where they are too few."""
        rows = rows[rows > 0]
        slots, owner = np.unique(self._owner[rows], return_inverse=True)
        if len(slots) < count:
            return _first(count, self.ids, self.similarity(query[None])[0])
        best = np.full(len(slots), -np.inf, np.float32)
        np.maximum.at(best, owner, self._rows[rows] @ query)
        return _first(count, self._ids[slots], best)

    def add(self, identity: Identity, keys: Iterable[TrackKey | None] = ()) -> None:
        """Makes an identity known, with its prototypes."""
        slot = self._slot[identity.identity_id] = len(self)
        if slot == len(self._ids):
            self._ids, self._place = _grown(self._ids), _grown(self._place)
        self._ids[slot], self._place[slot] = identity.identity_id, 0
        seen = (identity.first_seen, identity.last_seen)
        self._entries.append(_Entry(identity.identity_id, *seen, set(identity.cameras), identity.confirmed, [], []))
        for prototype, key in zip(identity.prototypes, [*keys] or [None] * len(identity.prototypes), strict=True):
            self.describe(identity.identity_id, key, prototype, 1.0)

    def get(self, identity_id: int) -> Identity:
        """What is known of one identity; its arrays are the caller's. Raises KeyError for an unknown id."""
        entry = self._entry(identity_id)
        prototypes = self._prototypes(self._slot[identity_id])
        cameras = frozenset(entry.cameras)
        return Identity(identity_id, prototypes, entry.first_seen, entry.last_seen, cameras, entry.confirmed)

    def keys(self, identity_id: int) -> tuple[TrackKey | None, ...]:
        """The track behind each prototype, None for an average of several."""
        return tuple(self._entry(identity_id).keys)

    def describe(self, identity_id: int, key: TrackKey | None, prototype: F32, weight: float) -> None:
        """Sets the prototype (D,) of one tracklet, making room by averaging the two most similar others."""
        entry, slot = self._entry(identity_id), self._slot[identity_id]
        if key is not None and key in entry.keys:
            place = entry.keys.index(key)
            entry.weights[place] = weight
            self._write(int(self._place[slot, place]), prototype)
            return
        if len(entry.keys) == self._place.shape[1]:
            self._average_most_similar(slot)
        entry.keys.append(key)
        entry.weights.append(weight)
        self._place[slot, len(entry.keys) - 1 :] = self._append(slot, prototype)

    def forget(self, identity_id: int, key: TrackKey) -> None:
        """Drops the prototype of one tracklet, as when it turns out to be somebody else's."""
        entry = self._entry(identity_id)
        if key in entry.keys:
            self._drop(self._slot[identity_id], entry.keys.index(key))

    def see(self, identity_id: int, camera_id: str, at: float) -> None:
        """Notes a sighting."""
        entry = self._entry(identity_id)
        entry.last_seen = max(entry.last_seen, at)
        entry.cameras.add(camera_id)

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
            self._ids[slot] = last.identity_id
            self._place[slot] = self._place[len(self._entries)]
            self._owner[self._place[slot, : len(last.keys)]] = slot
            self._slot[last.identity_id] = slot

    def absorb(self, identity_id: int, other_id: int) -> None:
        """Moves all that is known of `other_id` to `identity_id` and removes it."""
        other = self._entry(other_id)
        prototypes = self._prototypes(self._slot[other_id])
        for key, weight, prototype in zip(other.keys, other.weights, prototypes, strict=True):
            self.describe(identity_id, key, prototype, weight)
        entry = self._entry(identity_id)
        entry.first_seen = min(entry.first_seen, other.first_seen)
        entry.last_seen = max(entry.last_seen, other.last_seen)
        entry.cameras |= other.cameras
        entry.confirmed |= other.confirmed
        self.remove(other_id)

    def last_seen(self) -> dict[int, float]:
        """When each identity was last seen."""
        return {entry.identity_id: entry.last_seen for entry in self._entries}

    def _entry(self, identity_id: int) -> _Entry:
        return self._entries[self._slot[identity_id]]

    def _prototypes(self, slot: int) -> F32:
        """(K, D), a copy."""
        rows: F32 = self._rows[self._place[slot, : len(self._entries[slot].keys)]]
        return rows

    def _append(self, slot: int, prototype: F32) -> int:
        """The row that the prototype now has."""
        row = self._used
        if row == len(self._rows):
            self._rows, self._owner = _grown(self._rows), _grown(self._owner)
        self._used += 1
        self._owner[row] = slot
        self._write(row, prototype)
        return row

    def _write(self, row: int, prototype: F32) -> None:
        self._rows[row] = prototype
        self._written += 1
        if self._sketch is not None:
            self._sketch.write(row, self._rows[row : row + 1])

    def _drop(self, slot: int, place: int) -> None:
        """Deletes one prototype; the last row takes its row."""
        entry, places = self._entries[slot], self._place[slot]
        freed, self._used = int(places[place]), self._used - 1
        places[place:-1] = places[place + 1 :]
        del entry.keys[place], entry.weights[place]
        places[len(entry.keys) :] = places[0] if entry.keys else 0
        last = self._used
        if freed != last:
            moved = self._place[self._owner[last]]
            moved[moved == last] = freed
            self._rows[freed], self._owner[freed] = self._rows[last], self._owner[last]
        if self._sketch is not None:
            self._sketch.move(last, freed)

    def _average_most_similar(self, slot: int) -> None:
        entry, prototypes = self._entries[slot], self._prototypes(slot)
        cosine = prototypes @ prototypes.T
        np.fill_diagonal(cosine, -np.inf)
        a, b = sorted(int(row) for row in np.unravel_index(int(np.argmax(cosine)), cosine.shape))
        pair = np.array([entry.weights[a], entry.weights[b]], np.float32)
        self._write(int(self._place[slot, a]), mean_embedding(prototypes[[a, b]], pair))
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


def _grown(array: NDArray[_T]) -> NDArray[_T]:
    """The array, longer; the rest is 0."""
    grown = np.zeros((len(array) * _GROWTH, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
