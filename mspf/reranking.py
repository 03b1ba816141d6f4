"""k-reciprocal re-ranking (Zhong et al., CVPR 2017, arXiv 1701.08398) with sparse neighbours, in bounded memory.

Two images are near when they have the same neighbours that also have them as neighbours. Memory grows with the number
of images times k1, never with its square.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from mspf.metrics import BLOCK, F32, I64, Described

PAIRS = 1 << 24  # numbers gathered at once when pairs of embeddings are compared


class Neighbours(NamedTuple):
    """The nearest of each image, itself first: rows (N, K); and the squared distance (N,) to the farthest image."""

    rows: I64
    farthest: F32


def reranked_distances(
    query: Described, gallery: Described, k1: int = 20, k2: int = 6, plain: float = 0.3
) -> Iterator[F32]:
    """Distances in blocks of rows (B, G), query after query, for `score`.

    Args:
        k1: neighbours looked at; k2: of those, how many lend an image their own; fewer where there are fewer images.
        plain: weight of the plain distance (the paper's lambda), squared Euclidean over each query's largest.
    """
    one_set = query is gallery  # each image asks for the others
    everything = gallery.embeddings if one_set else np.concatenate((query.embeddings, gallery.embeddings))
    near = neighbours(everything, min(k1 + 1, len(everything)))
    encoded = _expand_queries(_encode(everything, near, k1), near.rows[:, :k2])
    targets = csc_array(encoded if one_set else encoded[len(query) :])
    for start in range(0, len(query), BLOCK):
        rows = slice(start, start + BLOCK)
        squared = 2 - 2 * query.embeddings[rows] @ gallery.embeddings.T
        jaccard = _jaccard(encoded[start : min(start + BLOCK, len(query))], targets)
        yield (1 - plain) * jaccard + plain * squared / near.farthest[: len(query)][rows, None]


def neighbours(embeddings: F32, count: int) -> Neighbours:
    """The `count` nearest of each of these unit rows (N, D), among which it is the first; the lower row wins ties."""
    nearest, farthest = np.empty((len(embeddings), count), np.int64), np.empty(len(embeddings), np.float32)
    for start in range(0, len(embeddings), BLOCK):
        similarity = embeddings[start : start + BLOCK] @ embeddings.T
        own = np.arange(len(similarity))
        farthest[start + own] = np.maximum(2 - 2 * similarity.min(1), 1e-12)
        similarity[own, start + own] = np.inf
        chosen = np.sort(np.argpartition(-similarity, count - 1, axis=1)[:, :count], axis=1)
        order = np.argsort(-np.take_along_axis(similarity, chosen, 1), axis=1, kind="stable")
        nearest[start + own] = np.take_along_axis(chosen, order, 1)
    return Neighbours(nearest, farthest)


def _links(rows: I64) -> csr_array:
    """(N, K) row numbers as a sparse 0/1 matrix (N, N)."""
    starts = np.arange(len(rows) + 1) * rows.shape[1]
    return csr_array((np.ones(rows.size, np.float32), rows.ravel(), starts), shape=(len(rows), len(rows)))


def _mutual(rows: I64) -> csr_array:
    """Sparse 0/1 (N, N): i and j are among each other's neighbours."""
    links = _links(rows)
    return csr_array(links.multiply(links.T))


def _encode(embeddings: F32, near: Neighbours, k1: int) -> csr_array:
    """Sparse (N, N), rows of sum 1: the weights of each image's k-reciprocal neighbours.

    A neighbour's own, with half of k1, join when more than two thirds of them are already in.
    """
    mutual, half = _mutual(near.rows), _mutual(near.rows[:, : round(k1 / 2) + 1])
    shared = mutual.multiply(mutual @ half).tocoo()  # half is symmetric: (i, c) counts neighbours of c that i has
    joins = shared.data > 2 / 3 * half.sum(axis=1)[shared.col]
    joining = csr_array((joins[joins].astype(np.float32), (shared.row[joins], shared.col[joins])), shape=shared.shape)
    members = (mutual + joining @ half).tocoo()
    weights = np.exp(-_pair_distances(embeddings, members.row, members.col) / near.farthest[members.row])
    encoded = csr_array((weights, (members.row, members.col)), shape=members.shape)
    encoded.data /= np.repeat(encoded.sum(axis=1), np.diff(encoded.indptr))
    return encoded


def _pair_distances(embeddings: F32, left: NDArray[np.integer], right: NDArray[np.integer]) -> F32:
    """Squared Euclidean distances (P,) of pairs of unit rows, some at a time."""
    squared = np.empty(len(left), np.float32)
    step = max(PAIRS // embeddings.shape[1], 1)
    for start in range(0, len(left), step):
        pairs = slice(start, start + step)
        squared[pairs] = 2 - 2 * np.einsum("pd,pd->p", embeddings[left[pairs]], embeddings[right[pairs]])
    return squared


def _expand_queries(encoded: csr_array, rows: I64) -> csr_array:
    """Each image's encoding becomes the mean over its nearest ones (N, k2)."""
    return csr_array(_links(rows) @ encoded / np.float32(rows.shape[1]))


def _jaccard(asking: csr_array, targets: csc_array) -> F32:
    """Jaccard distances of encodings (B, N) to the targets (G, N): (B, G)."""
    distances = np.empty((asking.shape[0], targets.shape[0]), np.float32)
    for row in range(len(distances)):
        own = slice(asking.indptr[row], asking.indptr[row + 1])
        columns = targets[:, asking.indices[own]]
        overlap = np.minimum(columns.data, np.repeat(asking.data[own], np.diff(columns.indptr)))
        shared = np.bincount(columns.indices, overlap, minlength=len(distances[row]))
        distances[row] = 1 - shared / (2 - shared)
    return distances
