"""An index of training sessions that finds sessions sharing items with many histories by one sparse product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.sparse_top_k import largest_per_row, sort_keys

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_DEEPEST = 1020  # largest age; older items count as this old


@dataclass(frozen=True)
class Pairs:
    """Pairs of a history and a training session.

    offsets: int64[n_histories + 1]; history r has the pairs offsets[r] … offsets[r + 1] − 1.
    sessions: int32[n_pairs], numbers of training sessions in the order of sampling.
    values: float64[n_pairs].
    ages: int64[n_pairs], position from the history's end of the most recent shared item, or empty.
    """

    offsets: np.ndarray
    sessions: np.ndarray
    values: np.ndarray
    ages: np.ndarray

    def per_pair(self, values: np.ndarray) -> np.ndarray:
        """Values of the histories, repeated for their pairs."""
        return np.repeat(values, np.diff(self.offsets))

    def only(self, kept: np.ndarray) -> Pairs:
        """The pairs for which kept (bool[n_pairs]) is true."""
        places = np.flatnonzero(kept)
        ages = self.ages[places] if len(self.ages) else self.ages
        return Pairs(np.searchsorted(places, self.offsets), self.sessions[places], self.values[places], ages)

    def to_csr(self, n_sessions: int) -> csr_array:
        """Sparse float64[n_histories, n_sessions]."""
        from scipy.sparse import csr_array

        offsets = self.offsets.astype(self.sessions.dtype)
        return csr_array((self.values, self.sessions, offsets), shape=(len(offsets) - 1, n_sessions))


class SessionIndex:
    """Training sessions, numbered in sampling order: a sample consists of the candidates with the lowest numbers.

    order: int64[n_train], places in `train` in sampling order.
    sample_size: most training sessions to compare a history with.
    """

    def __init__(self, train: Sessions, order: np.ndarray, n_items: int, sample_size: int) -> None:
        self.order, self.sample_size, self.n_items = order, sample_size, n_items
        self.in_order = train.take(order)
        self.sessions = self.in_order.to_csr(n_items).astype(np.float64)
        """Sparse float64[n_train, n_items], 1 for every item of a session."""
        self.sizes = np.diff(self.sessions.indptr).astype(np.float64)
        self.mean_size = int(np.ceil(self.sizes.mean())) if len(train) else 0
        self.item_counts = np.bincount(self.sessions.indices, minlength=n_items)
        """Number of sessions with each item, int64[n_items]."""
        self.postings = self._postings()

    def _postings(self) -> csr_array:
        """The sessions with each item, sparse float64[n_items, n_train], cut to the first `sample_size`.

        A candidate among the first n of a history is also among the first n sessions with any shared item, so the cut
        does not change a sample; it limits the work for popular items.
        """
        postings = self.sessions.T.tocsr()
        starts = np.repeat(postings.indptr[:-1], np.diff(postings.indptr))
        postings.data[np.arange(postings.nnz) - starts >= self.sample_size] = 0
        postings.eliminate_zeros()
        return postings

    def costs(self, histories: Sessions) -> np.ndarray:
        """An upper bound on a history's candidates, int64[n_histories]."""
        candidates = np.diff(self.postings.indptr).astype(np.int64)[histories.items]
        return np.diff(np.concatenate([[0], np.cumsum(candidates)])[histories.offsets])

    def sample(self, histories: Sessions, profiles: csr_array, *, with_ages: bool) -> Pairs:
        """Pairs of every history with the sampled sessions that share an item with it.

        profiles: sparse float64[n_histories, n_items], the weights of the histories' items. A pair's value is the sum
        of the weights of its shared items.
        """
        shared = profiles @ self.postings
        ages = self._ages(histories) if with_ages else np.empty(0, dtype=np.int64)
        pairs = Pairs(shared.indptr.astype(np.int64), shared.indices, shared.data, ages)
        if np.diff(pairs.offsets).max(initial=0) > self.sample_size:
            pairs = pairs.only(largest_per_row(~pairs.sessions, pairs.offsets, self.sample_size))
        return pairs

    def _ages(self, histories: Sessions) -> np.ndarray:
        """Ages of `Pairs`, in the order of the entries of a product of the histories with `postings`.

        The item at position i from the end has weight 4^(c − i) with a constant c. The sum over shared items is less
        than 4/3 of its largest term, so its exponent gives the smallest i exactly.
        """
        places = histories.to_csr(self.n_items, np.minimum(histories.positions_from_end(), _DEEPEST)).astype(np.float64)
        places.data = np.ldexp(1.0, _DEEPEST - 2 * places.data.astype(np.int64))
        _, exponents = np.frexp((places @ self.postings).data)
        ages: np.ndarray = (_DEEPEST + 1 - exponents.astype(np.int64)) // 2
        return ages

    def nearest(self, pairs: Pairs, k: int) -> Pairs:
        """The k pairs of every history with the largest values; with ties, those of more recent sessions."""
        if np.diff(pairs.offsets).max(initial=0) <= k:
            return pairs
        return pairs.only(largest_per_row(sort_keys(pairs.values, self.order[pairs.sessions]), pairs.offsets, k))
