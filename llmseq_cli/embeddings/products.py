"""Products of session vectors with the vectors of all items, dense or sparse, the same whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Products = Callable[[Any], np.ndarray]
"""float32[n_sessions, n_items] from session vectors [n_sessions, dim]."""

_BUFFER_NUMBERS = 2**26  # 256 MiB as float32
_MOST_COLUMNS = 256


def item_products(vectors: Any) -> Products:
    """A function that multiplies session vectors with all item vectors (float32[n_items, dim] or a csr_array)."""
    if isinstance(vectors, np.ndarray):
        transposed = np.ascontiguousarray(vectors.T)
        return lambda sessions: sessions @ transposed
    return _SparseProducts(vectors)


class _SparseProducts:
    """Sparse item vectors times sessions laid out densely, one column a session.

    The term lists of common character n-grams are long, which makes sparse × sparse slow; here every stored number of
    an item vector meets a whole row of contiguous sessions. The dense buffer is kept between calls and only the
    places that were written are cleared. Sums run over an item's terms in their order, so a session's products do not
    depend on its neighbours.
    """

    def __init__(self, vectors: Any) -> None:
        n_terms = vectors.shape[1]
        self.vectors = vectors
        self.width = max(8, min(_MOST_COLUMNS, _BUFFER_NUMBERS // max(n_terms, 1)))
        self.buffer = np.zeros((n_terms, self.width), dtype=np.float32)

    def __call__(self, sessions: Any) -> np.ndarray:
        n = sessions.shape[0]
        scores = np.empty((n, self.vectors.shape[0]), dtype=np.float32)
        for start in range(0, n, self.width):
            block = sessions[start : start + self.width]
            columns = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
            self.buffer[block.indices, columns] = block.data
            scores[start : start + self.width] = (self.vectors @ self.buffer).T[: block.shape[0]]
            self.buffer[block.indices, columns] = 0
        return scores
