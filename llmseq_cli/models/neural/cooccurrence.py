"""Item vectors from sessions alone: what occurs together lies together before training starts.

The matrix of pointwise mutual information of items, where it is positive, is cut to its largest singular values, which
is what word2vec does in the limit (Levy & Goldberg, "Neural word embedding as implicit matrix factorization", 2014):

    max(0, log p(i, j) / (p(i) p(j)^¾)),  pairs that are n items apart counted 1/n times
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import unit_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_FARTHEST = 10  # items apart
_SMOOTHING = 0.75


def session_vectors(sessions: Sessions, n_items: int, dim: int, seed: int) -> np.ndarray:
    """float32[n_items, dim], rows of length 1, or 0 for items about which the sessions tell nothing."""
    from scipy.sparse.linalg import svds

    information = _information(sessions, n_items)
    kept = min(dim, n_items - 1)
    vectors = np.zeros((n_items, dim), dtype=np.float32)
    if information.nnz and kept > 0:
        left, values, _ = svds(information, k=kept, random_state=np.random.default_rng([seed, 4]))
        vectors[:, :kept] = left * np.sqrt(values)
    vectors[np.diff(information.indptr) == 0] = 0
    return unit_rows(vectors)


def _information(sessions: Sessions, n_items: int) -> csr_array:
    """Sparse float64[n_items, n_items], symmetric."""
    from scipy.sparse import coo_array, csr_array

    counts = csr_array((n_items, n_items), dtype=np.float64)
    rows, items = sessions.rows(), sessions.items
    for apart in range(1, _FARTHEST + 1):
        first = np.flatnonzero(rows[:-apart] == rows[apart:])
        weights = np.full(len(first), 1 / apart)
        pairs = coo_array((weights, (items[first], items[first + apart])), shape=(n_items, n_items)).tocsr()
        counts = counts + pairs + pairs.T
    each = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1e-12)
    smoothed = each**_SMOOTHING
    pairs = counts.tocoo()
    values = np.log(pairs.data * smoothed.sum() / (each[pairs.row] * smoothed[pairs.col]))
    found = values > 0
    positive = coo_array((values[found], (pairs.row[found], pairs.col[found])), shape=counts.shape).tocsr()
    return (positive + positive.T) / 2
