"""Everybody known: a few prototypes per identity, searched by cosine, quickly also among millions. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32, Identity, Sightings, TrackKey
from pipeline.sketch import Each, Rows, Scan, Sketch
from pipeline.vectors import unit_rows

Slots = NDArray[np.int32]
_ROOM = 4096  # rows by which arrays grow: 8 MB of 512 numbers
_SKETCHED_FROM = 8192  # prototypes; measured: from there on a sketch and exact products of its shortlist are quicker
_SHORTLIST = 384  # prototypes compared exactly, or twice what the identities asked for may have
_SAMPLE = 2048  # prototypes that choose a sketch's axes
_NOBODY: Slots = np.zeros(0, np.int32)
_STRETCH = 32  # prototypes that a new sketch takes in with every one written


@dataclass(slots=True)
class _Entry:
    """Facts of one identity; its prototypes lie in the gallery's rows, in the order of `keys` and `weights`."""

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

    Prototypes lie in one array without gaps; `_place` holds the rows of each identity, one of them repeated up to P.
    Row 0 is zero and nobody's: the place of those without prototypes.
    But for `turn`, no change takes longer when more are known: arrays grow in place, and a new sketch a little with
    every prototype written, while the one before it still serves. Choosing its axes is the longest, 20 ms of a core
    when D is 512.
    Memory: 4 D + 132 bytes a prototype, 4 more for each that an identity may have, and about 1 kB an identity.

    Args:
        dimension: D, length of an embedding.
        prototypes: P, most prototypes an identity keeps; beyond it the two most similar are averaged.
        sketched_from: prototypes from which `nearest` asks a sketch where to look.
    """

    def __init__(self, dimension: int, prototypes: int, sketched_from: int = _SKETCHED_FROM) -> None:
        self._rows: F32 = np.zeros((_ROOM, dimension), np.float32)
        self._owner = np.zeros(_ROOM, np.int32)
        self._used = 1
        self._place = np.zeros((_ROOM, prototypes), np.int32)
        self._ids = np.zeros(_ROOM, np.int64)
        self._last_seen = np.zeros(_ROOM)
        self._last_camera = np.zeros(_ROOM, np.int64)
        self._cameras: dict[str, int] = {}  # places that `_last_camera` tells
        self._entries: list[_Entry] = []
        self._slot: dict[int, int] = {}
        self._sketched_from = sketched_from
        self._sketch: Sketch | None = None
        self._next: Sketch | None = None
        self._begun_with, self._written = 0, 0  # rows when the newest sketch was begun, and written since then

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
        cosine = queries @ self._rows[: self._used].T
        best: F32 = cosine[:, self._place[: len(self)]].max(axis=2)
        return best

    def nearest(self, queries: F32, count: int, each: Each = map) -> Nearest:
        """The `count` identities, or all where they are fewer, that each query (Q, D) resembles most.

        Similarities are exact; in a large gallery one of a thousand may be missed (docs/architecture.md, The gallery).

        Args:
            each: how to work on parts of it; the map of a thread pool uses more cores.
        """
        count = min(count, len(self))
        if self._sketch is None:
            best = [_first(count, self.ids, row) for row in self.similarity(queries)]
        else:
            best = self._near(self._sketch.scan(queries, each), queries, count, each=each)
            if any(len(one.ids) < count for one in best):  # too few have prototypes
                best = [_first(count, self.ids, row) for row in self.similarity(queries)]
        ids = np.array([one.ids for one in best], np.int64).reshape(len(queries), count)
        return Nearest(ids, np.array([one.similarity for one in best], np.float32).reshape(len(queries), count))

    def candidates(self, queries: F32, count: int, beside: Collection[int] = ()) -> Candidates:
        """Those of `beside` who are known, and the `count` others that each query (Q, D) resembles most.

        In a small gallery all others. In the column order of `similarity`, and as sure as `nearest`.
        """
        if self._sketch is None or len(self) <= count + len(beside):
            return Candidates(self.ids, self.similarity(queries))
        apart = np.array([self._slot[who] for who in beside if who in self._slot], np.int32)
        near = self._near(self._sketch.scan(queries), queries, count, apart)
        others = [self._slot[who] for one in near for who in one.ids.tolist()]
        slots = np.union1d(apart, np.array(others, np.int32))
        cosine = queries @ self._rows.take(self._place[slots].ravel(), axis=0).T
        best: F32 = cosine.reshape(len(queries), len(slots), -1).max(axis=2)
        return Candidates(self._ids[slots], best)

    def _near(self, scan: Scan, queries: F32, count: int, apart: Slots = _NOBODY, each: Each = map) -> list[Nearest]:
        """The best identities for each query but for some slots: `count`, or all that have prototypes."""
        few = max(1, count * self._place.shape[1])
        enough = max(_SHORTLIST, 2 * few)
        shortlists = scan.rows(range(len(queries)), enough)

        def best_of(query: int) -> Nearest:
            rows, asked = self._owned_by_others(shortlists[query], apart), enough
            while 2 * len(rows) < enough and asked < self._used:
                asked *= 2
                rows = self._owned_by_others(scan.rows([query], asked)[0], apart)
            similarity = self._rows.take(rows, axis=0) @ queries[query]
            if few < len(rows):
                best = similarity >= np.partition(similarity, -few)[-few]
                rows, similarity = rows[best], similarity[best]
            slots, owner = np.unique(self._owner[rows], return_inverse=True)
            best = np.full(len(slots), -np.inf, np.float32)
            np.maximum.at(best, owner, similarity)
            return _first(count, self._ids[slots], best)

        return [*each(best_of, range(len(queries)))]

    def _owned_by_others(self, rows: Rows, apart: Slots) -> Rows:
        rows = rows[rows > 0]
        return rows[np.isin(self._owner[rows], apart, invert=True)] if len(apart) else rows

    def add(self, identity: Identity, keys: Iterable[TrackKey | None] = ()) -> None:
        """Makes an identity known, with its prototypes."""
        slot = self._slot[identity.identity_id] = len(self)
        if slot == len(self._ids):
            _lengthen(self._ids, self._place, self._last_seen, self._last_camera)
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
        return Identity(identity_id, self._prototypes(slot), *seen, cameras, entry.confirmed, last_camera, weights)

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
            self._owner[self._place[slot, : len(last.keys)]] = slot
            self._slot[last.identity_id] = slot

    def absorb(self, identity_id: int, other_id: int) -> None:
        """Moves all that is known of `other_id` to `identity_id` and removes it."""
        slot, other_slot = self._slot[identity_id], self._slot[other_id]
        entry, other = self._entries[slot], self._entries[other_slot]
        for key, weight, prototype in zip(other.keys, other.weights, self._prototypes(other_slot), strict=True):
            self.describe(identity_id, key, prototype, weight)
        entry.first_seen = min(entry.first_seen, other.first_seen)
        if self._last_seen[other_slot] > self._last_seen[slot]:
            self._last_seen[slot] = self._last_seen[other_slot]
            self._last_camera[slot] = self._last_camera[other_slot]
        entry.cameras |= other.cameras
        entry.confirmed |= other.confirmed
        self.remove(other_id)

    def turn(self, change: F32) -> None:
        """Multiplies every prototype by (D, D), to unit length again, and sketches them anew.

        The one change that takes longer when more are known: 1.4 s of a core at 160,000 prototypes of 512 numbers.
        """
        blocks = [slice(start, min(start + _ROOM, self._used)) for start in range(0, self._used, _ROOM)]
        for block in blocks:
            self._rows[block] = unit_rows(self._rows[block] @ change)
        if self._sketch is not None:
            self._sketch = self._begun_sketch()
            for block in blocks:
                self._sketch.write(block.start, self._rows[block])
        self._next = None

    def _begun_sketch(self) -> Sketch:
        """Without rows, on the axes of who is known now."""
        self._begun_with, self._written = self._used, 0
        return Sketch(self._rows[1 : self._used : -(-self._used // _SAMPLE)])

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

    def _prototypes(self, slot: int) -> F32:
        """(K, D), a copy."""
        rows: F32 = self._rows[self._place[slot, : len(self._entries[slot].keys)]]
        return rows

    def _append(self, slot: int, prototype: F32) -> int:
        """The row that the prototype now has."""
        row = self._used
        if row == len(self._rows):
            _lengthen(self._rows, self._owner)
        self._used += 1
        self._owner[row] = slot
        self._write(row, prototype)
        return row

    def _write(self, row: int, prototype: F32) -> None:
        self._rows[row] = prototype
        self._written += 1
        self._sketch_row(row)
        self._renew_sketch()

    def _sketch_row(self, row: int) -> None:
        for sketch in (self._sketch, self._next):
            if sketch is not None and row <= len(sketch):
                sketch.write(row, self._rows[row : row + 1])

    def _renew_sketch(self) -> None:
        """Brings the next sketch forward; it is begun, on the axes of who is known then, when as many rows were written
        as there were when the one before it was begun."""
        if 2 * self._used <= self._sketched_from or (self._sketch is None and self._used <= self._sketched_from):
            self._sketch = self._next = None
        elif self._next is not None:
            done = len(self._next)
            self._next.write(done, self._rows[done : min(done + _STRETCH, self._used)])
            if len(self._next) == self._used:
                self._sketch, self._next = self._next, None
        elif self._sketch is None or self._written > self._begun_with:
            self._next = self._begun_sketch()

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
            self._sketch_row(freed)
        for sketch in (self._sketch, self._next):
            if sketch is not None:
                sketch.cut(last)
        self._renew_sketch()

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


def _lengthen(*arrays: NDArray[np.generic]) -> None:
    """Room for more, of zeros, in place: what is large is moved by the page, not copied (measured: 7 ms at 1 GB)."""
    for array in arrays:
        array.resize((len(array) + _ROOM, *array.shape[1:]), refcheck=False)
