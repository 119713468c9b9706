"""Top-k of sparse scores, and the selection of the largest entries of every sparse row that it is built on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_LEAST = np.iinfo(np.int64).min
_MASK_NUMBERS = 2**27  # bytes of the table that marks the items to leave out


def sparse_top_k(scores: csr_array, k: int, *, exclude: Sessions | None = None) -> Ranking:
    """The k highest stored scores of every row, best first, among equal scores the lower item id.

    scores: float32[n, n_items]; what is not stored is not recommended. exclude: sessions, one a row, whose items are
    not recommended. Lists are filled up with NO_ITEM.
    """
    n, n_items = scores.shape
    if exclude is not None and n * n_items > _MASK_NUMBERS and n > 1:
        half = n // 2
        return Ranking.concatenate(
            [
                sparse_top_k(scores[:half], k, exclude=exclude.slice(0, half)),
                sparse_top_k(scores[half:], k, exclude=exclude.slice(half, n)),
            ]
        )
    rows = np.repeat(np.arange(n, dtype=np.int32), np.diff(scores.indptr))
    keys = sort_keys(scores.data, n_items - 1 - scores.indices)
    if exclude is not None:
        left_out = np.zeros((n, n_items), dtype=bool)
        left_out[exclude.rows(), exclude.items] = True
        keys[left_out[rows, scores.indices]] = _LEAST
    chosen = np.flatnonzero(largest_per_row(keys, scores.indptr, k) & (keys != _LEAST))
    rows, keys = rows[chosen], keys[chosen]
    # Few are left: order them by row, and by falling key within a row.
    lengths = np.bincount(rows, minlength=n)
    starts = np.cumsum(lengths) - lengths
    table = np.full((n, k), _LEAST)
    table[rows, np.arange(len(rows)) - starts[rows]] = keys
    table.sort(axis=1)
    table = table[:, ::-1]
    listed = table != _LEAST
    items = np.where(listed, n_items - 1 - (table & 0xFFFFFFFF), NO_ITEM).astype(np.int32)
    values = np.where(listed, _scores_of(table), -np.inf).astype(np.float32)
    return Ranking(items, values)


def sort_keys(values: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int64 keys that order like (value, second): float32 values, second in 0 … 2³² − 1. No two are equal if no
    two pairs are, so that what is largest is never a matter of chance."""
    # The bits of a positive float order like integers, those of a negative one the other way round.
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.int32).astype(np.int64)
    bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (bits << 32) | second.astype(np.int64)


def _scores_of(keys: np.ndarray) -> np.ndarray:
    bits = keys >> 32
    bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return bits.astype(np.int32).view(np.float32)


def largest_per_row(keys: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    """bool[n_entries]: which entries are among the k largest of their row.

    keys: int64[n_entries], distinct within a row; row r holds entries offsets[r] … offsets[r + 1] − 1.
    Rows that are longer than k are laid out in tables of rows of similar length, which are partitioned at once.
    """
    lengths = np.diff(offsets).astype(np.int64)
    chosen = np.ones(len(keys), dtype=bool)
    long = np.flatnonzero(lengths > k)
    if len(long) == 0:
        return chosen
    size_class = np.ceil(np.log2(lengths[long]) * 2).astype(np.int64)  # at most 1.42 times too wide
    for one in np.unique(size_class):
        rows = long[size_class == one]
        width = int(lengths[rows].max())
        places = offsets[rows][:, None] + np.arange(width)
        inside = np.arange(width) < lengths[rows][:, None]
        table = np.where(inside, keys[np.where(inside, places, 0)], _LEAST)
        smaller = np.argpartition(table, width - k, axis=1)[:, : width - k]
        dropped = np.take_along_axis(places, smaller, axis=1)
        chosen[dropped[np.take_along_axis(inside, smaller, axis=1)]] = False
    return chosen
