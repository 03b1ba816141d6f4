"""Everybody known: a few prototypes per identity, searched by exact matrix products. Pure numpy."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datatypes import F32, Identity, TrackKey

_GROWTH = 2
_FIRST_CAPACITY = 64


@dataclass(slots=True)
class _Entry:
    """Facts of one identity; its prototypes lie in the gallery's array, row by row with `keys` and `weights`."""

    identity_id: int
    first_seen: float
    last_seen: float
    cameras: set[str]
    confirmed: bool
    keys: list[TrackKey | None]
    weights: list[float]


class Gallery:
    """Identities and their prototypes; a prototype is the mean embedding of one tracklet, or of several like ones.

    Args:
        dimension: D, length of an embedding.
        prototypes: P, most prototypes an identity keeps; beyond it the two most similar are averaged.
    """

    def __init__(self, dimension: int, prototypes: int) -> None:
        self._vectors: F32 = np.zeros((_FIRST_CAPACITY, prototypes, dimension), np.float32)
        self._ids = np.zeros(_FIRST_CAPACITY, np.int64)
        self._entries: list[_Entry] = []
        self._slot: dict[int, int] = {}

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
        used = self._vectors[: len(self)]
        if not len(self) or not len(queries):
            return np.zeros((len(queries), len(self)), np.float32)
        cosine = queries @ used.reshape(-1, used.shape[2]).T
        best: F32 = cosine.reshape(len(queries), len(self), -1).max(axis=2)
        return best

    def add(self, identity: Identity, keys: Iterable[TrackKey | None] = ()) -> None:
        """Makes an identity known, with its prototypes."""
        if len(self) == len(self._vectors):
            grown = np.zeros((len(self) * _GROWTH, *self._vectors.shape[1:]), np.float32)
            grown[: len(self)] = self._vectors
            self._vectors = grown
            self._ids = np.resize(self._ids, len(grown))
        slot = self._slot[identity.identity_id] = len(self)
        self._ids[slot] = identity.identity_id
        seen = (identity.first_seen, identity.last_seen)
        self._entries.append(_Entry(identity.identity_id, *seen, set(identity.cameras), identity.confirmed, [], []))
        self._vectors[slot] = 0
        for prototype, key in zip(identity.prototypes, [*keys] or [None] * len(identity.prototypes), strict=True):
            self.describe(identity.identity_id, key, prototype, 1.0)

    def get(self, identity_id: int) -> Identity:
        """What is known of one identity; its arrays are the caller's. Raises KeyError for an unknown id."""
        entry = self._entry(identity_id)
        prototypes = self._vectors[self._slot[identity_id], : len(entry.keys)].copy()
        cameras = frozenset(entry.cameras)
        return Identity(identity_id, prototypes, entry.first_seen, entry.last_seen, cameras, entry.confirmed)

    def keys(self, identity_id: int) -> tuple[TrackKey | None, ...]:
        """The track behind each prototype, None for an average of several."""
        return tuple(self._entry(identity_id).keys)

    def describe(self, identity_id: int, key: TrackKey | None, prototype: F32, weight: float) -> None:
        """Sets the prototype (D,) of one tracklet, making room by averaging the two most similar others."""
        entry = self._entry(identity_id)
        vectors = self._vectors[self._slot[identity_id]]
        if key is not None and key in entry.keys:
            row = entry.keys.index(key)
        else:
            if len(entry.keys) == len(vectors):
                _average_most_similar(entry, vectors)
            row = len(entry.keys)
            entry.keys.append(key)
            entry.weights.append(weight)
        vectors[row] = prototype
        entry.weights[row] = weight

    def forget(self, identity_id: int, key: TrackKey) -> None:
        """Drops the prototype of one tracklet, as when it turns out to be somebody else's."""
        entry = self._entry(identity_id)
        if key in entry.keys:
            _delete(entry, self._vectors[self._slot[identity_id]], entry.keys.index(key))

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
        slot = self._slot.pop(identity_id)
        last = self._entries.pop()
        if slot < len(self._entries):
            self._entries[slot] = last
            self._ids[slot] = last.identity_id
            self._vectors[slot] = self._vectors[len(self._entries)]
            self._slot[last.identity_id] = slot

    def absorb(self, identity_id: int, other_id: int) -> None:
        """Moves all that is known of `other_id` to `identity_id` and removes it."""
        other = self._entry(other_id)
        for row, (key, weight) in enumerate(zip(other.keys, other.weights, strict=True)):
            self.describe(identity_id, key, self._vectors[self._slot[other_id], row].copy(), weight)
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


def mean_embedding(embeddings: F32, quality: F32) -> F32:
    """Unit mean (D,) of (K, D) rows, K > 0, weighted by quality (K,)."""
    mean: F32 = (embeddings * np.maximum(quality, 1e-3)[:, None]).sum(axis=0)
    unit: F32 = mean / np.maximum(np.linalg.norm(mean), 1e-12)
    return unit


def _average_most_similar(entry: _Entry, vectors: F32) -> None:
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -np.inf)
    a, b = sorted(int(row) for row in np.unravel_index(int(np.argmax(cosine)), cosine.shape))
    pair = np.array([entry.weights[a], entry.weights[b]], np.float32)
    vectors[a] = mean_embedding(vectors[[a, b]], pair)
    entry.keys[a], entry.weights[a] = None, float(pair.sum())
    _delete(entry, vectors, b)


def _delete(entry: _Entry, vectors: F32, row: int) -> None:
    used = len(entry.keys)
    vectors[row : used - 1] = vectors[row + 1 : used]
    vectors[used - 1] = 0
    del entry.keys[row], entry.weights[row]
