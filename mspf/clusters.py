"""Pictures of unknown people, gathered to people by their descriptors: labels where nobody gives any.

DBSCAN (Ester et al., KDD 1996) over Jaccard distances of k-reciprocal neighbours, as in SpCL (Ge et al., NeurIPS 2020,
arXiv 2006.02713) and its kin: those are near whose neighbours are the same. What is near to few is left out.
"""

import numpy as np
from scipy.sparse import csr_array
from sklearn.cluster import DBSCAN
from sklearn.neighbors import sort_graph_by_row_values

from mspf.datasets import F32, I64
from mspf.metrics import Described
from mspf.reranking import reranked_distances

WITHIN = 0.5  # Jaccard distance up to which two pictures are near
NEIGHBOURS = 20  # of a picture that are looked at: about as many as there are of a person
LEAST = 4  # pictures that are near each other make a person, each counting itself


def gathered(rows: F32, neighbours: int = NEIGHBOURS, within: float = WITHIN, least: int = LEAST) -> I64:
    """Numbers (N,) of the people to whom unit rows (N, D) belong, from 0 on; -1 for those that are left out.

    Args:
        neighbours: of a picture that are looked at; with more than there are of a person, several become one.
        within: the Jaccard distance (0..1) up to which two pictures are near.
        least: pictures near a picture, itself included, from which on it draws the others in.
    """
    if len(rows) < least:
        return np.full(len(rows), -1, np.int64)
    near = sort_graph_by_row_values(_near(rows, neighbours, within), warn_when_not_sorted=False)
    found: I64 = DBSCAN(eps=within, min_samples=least, metric="precomputed").fit_predict(near).astype(np.int64)
    return found


def _near(rows: F32, neighbours: int, within: float) -> csr_array:
    """Sparse (N, N): the Jaccard distances of those that are near."""
    nobody = np.zeros(len(rows), np.int64)
    everybody = Described(rows, nobody, nobody)
    lengths, columns, distances = [np.zeros(1, np.int64)], [], []
    for block in reranked_distances(everybody, everybody, neighbours, max(neighbours // 3, 1), 0.0):
        near = block <= within
        lengths.append(near.sum(1))
        columns.append(np.nonzero(near)[1])
        distances.append(np.maximum(block[near], 0))
    starts = np.cumsum(np.concatenate(lengths))
    return csr_array((np.concatenate(distances), np.concatenate(columns), starts), shape=(len(rows), len(rows)))
