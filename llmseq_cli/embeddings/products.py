"""Products of session vectors with the vectors of all items, dense or sparse."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from llmseq_cli.evaluation.small_blocks import SmallBlocks, some_rows

Products = Callable[[Any], np.ndarray]
"""float32[n_sessions, n_items] from session vectors [n_sessions, dim]."""

_BUFFER_NUMBERS = 2**26  # 256 MiB as float32
_MOST_COLUMNS = 256
_ITEMS_PER_TASK = 2048


def item_products(vectors: Any, factors: np.ndarray | None = None) -> Products:
    """A function that multiplies session vectors with all item vectors.

    vectors: float32[n_items, dim], an array or a csr_array. factors: float32[n_items], scale the item vectors.
    """
    if isinstance(vectors, np.ndarray):
        transposed = np.multiply(vectors.T, 1 if factors is None else factors, order="C")
        return lambda sessions: sessions @ transposed
    return _SparseProducts(vectors, factors)


def sessions_at_once(n: int, usual: int, vectors: Any, products: Products, small_blocks: SmallBlocks) -> int:
    """The block size for multiplying n sessions; usual: the size for many sessions. vectors: of the items."""
    if not isinstance(vectors, np.ndarray):  # see _SparseProducts: results do not depend on the shape
        return max(1, min(n, usual))
    return small_blocks.size(n, usual, "products", lambda rows: products(some_rows(rows, vectors.shape[1])))


class _SparseProducts:
    """Sparse item vectors times dense sessions, one session per column.

    The term lists of common character n-grams are long, which makes sparse × sparse slow; here every stored number of
    an item vector is multiplied with a whole row of contiguous sessions. The dense buffer is kept between calls, and
    only written positions are cleared. Sums run over an item's terms in order, so a session's products depend neither
    on other sessions in the block nor on the number of threads.
    """

    def __init__(self, vectors: Any, factors: np.ndarray | None) -> None:
        self.vectors, self.factors = vectors, factors
        n_terms = vectors.shape[1]
        self.width = max(8, min(_MOST_COLUMNS, _BUFFER_NUMBERS // max(n_terms, 1)))
        self.buffer = np.zeros(n_terms * self.width, dtype=np.float32)

    @cached_property
    def parts(self) -> list[tuple[slice, Any]]:
        """The item vectors in parts, copied only if they are scaled."""
        from scipy.sparse import csr_array

        v, n_items = self.vectors, self.vectors.shape[0]
        data = v.data if self.factors is None else v.data * np.repeat(self.factors, np.diff(v.indptr))
        parts = []
        for start in range(0, n_items, _ITEMS_PER_TASK):
            stop = min(start + _ITEMS_PER_TASK, n_items)
            first, last = v.indptr[start], v.indptr[stop]
            pieces = (data[first:last], v.indices[first:last], v.indptr[start : stop + 1] - first)
            parts.append((slice(start, stop), csr_array(pieces, shape=(stop - start, v.shape[1]))))
        return parts

    def __call__(self, sessions: Any) -> np.ndarray:
        scores = np.zeros((sessions.shape[0], self.vectors.shape[0]), dtype=np.float32)
        # Padding of a block is empty: its products are 0 and need no computing.
        n = int(np.flatnonzero(np.diff(sessions.indptr))[-1]) + 1 if sessions.nnz else 0
        with ThreadPoolExecutor(threads()) as pool:
            for start in range(0, n, self.width):
                block = sessions[start : min(start + self.width, n)]
                self._multiply(block, scores[start : start + block.shape[0]], pool)
        return scores

    def _multiply(self, sessions: Any, scores: np.ndarray, pool: ThreadPoolExecutor) -> None:
        n, n_terms = sessions.shape
        columns = self.buffer[: n_terms * n].reshape(n_terms, n)
        places = (sessions.indices, np.repeat(np.arange(n), np.diff(sessions.indptr)))
        columns[places] = sessions.data

        def one_part(part: tuple[slice, Any]) -> None:
            items, vectors = part
            scores[:, items] = (vectors @ columns).T

        for _ in pool.map(one_part, self.parts):
            pass
        columns[places] = 0


def threads() -> int:
    """Number of threads for products and searches; like BLAS libraries, it respects OMP_NUM_THREADS."""
    from joblib import cpu_count

    asked, cores = os.environ.get("OMP_NUM_THREADS", ""), int(cpu_count())
    return min(cores, int(asked)) if asked.isdigit() and int(asked) else cores
