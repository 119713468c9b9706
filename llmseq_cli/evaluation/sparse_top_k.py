"""Top-k of sparse scores, and the underlying selection of the largest entries of every sparse row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import top_k

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_LEAST = np.iinfo(np.int64).min
_BLOCK_CELLS = 2**26  # cells of the tables in memory for a block of rows
_TABLE_CELLS = 2**18  # cells to partition at once, so that they fit a core's cache
_GROUPS_PER_PLACE = 8  # groups per place of a list, so that few of the best fall into the same group
_DENSE = 0.25  # above this share of items, a dense ranking is cheaper


def sparse_top_k(scores: csr_array, k: int, *, exclude: Sessions | None = None) -> Ranking:
    """The k highest stored scores of every row, best first; with equal scores, the lower item id first.

    scores: float32[n, n_items], without duplicate entries; entries that are missing, 0, −inf or NaN are not
    recommended. exclude: sessions, one per row, whose items are not recommended. Lists are padded with NO_ITEM.
    """
    n, n_items = scores.shape
    depth = min(k, n_items)
    lists = Ranking(np.full((n, k), NO_ITEM, dtype=np.int32), np.full((n, k), -np.inf, dtype=np.float32))
    for rows in blocks(np.full(n, n_items), _BLOCK_CELLS):
        start, stop = scores.indptr[rows.start], scores.indptr[rows.stop]
        values, items = scores.data[start:stop].astype(np.float32), scores.indices[start:stop]
        offsets = scores.indptr[rows.start : rows.stop + 1].astype(np.int64) - start
        values[~(np.abs(values) > 0)] = -np.inf
        block = None if exclude is None else exclude.slice(rows.start, rows.stop)
        if stop - start > _DENSE * n_items * (rows.stop - rows.start):
            part = _dense_lists(values, items, offsets, depth, n_items, block)
        else:
            part = _sparse_lists(values, items, offsets, depth, n_items, block)
        lists.items[rows, :depth], lists.scores[rows, :depth] = part.items, part.scores
    return lists


def _dense_lists(
    values: np.ndarray, items: np.ndarray, offsets: np.ndarray, k: int, n_items: int, exclude: Sessions | None
) -> Ranking:
    table = np.full((len(offsets) - 1, n_items), -np.inf, dtype=np.float32)
    table[np.repeat(np.arange(len(table)), np.diff(offsets)), items] = values
    return top_k(table, k, exclude=exclude)


def _sparse_lists(
    values: np.ndarray, items: np.ndarray, offsets: np.ndarray, k: int, n_items: int, exclude: Sessions | None
) -> Ranking:
    """Bounds on the float32 scores exclude most entries; integer keys order the rest without ties."""
    n, lengths = len(offsets) - 1, np.diff(offsets)
    if exclude is not None:
        left_out = np.zeros(n * n_items, dtype=bool)
        left_out[exclude.rows() * n_items + exclude.items] = True
        cells = np.repeat(np.arange(n) * n_items, lengths)
        cells += items
        values[left_out[cells]] = -np.inf
    bounds = np.repeat(nth_largest(values, offsets, k, -np.inf, loose=True), lengths)
    left = np.flatnonzero((values >= bounds) & (values > -np.inf))
    offsets = np.searchsorted(left, offsets)
    keys = sort_keys(values[left], n_items - 1 - items[left])
    best = np.flatnonzero(largest_per_row(keys, offsets, k))
    keys, offsets = keys[best], np.searchsorted(best, offsets)
    rows = np.repeat(np.arange(n), np.diff(offsets))
    table = np.full((n, k), _LEAST)
    table[rows, np.arange(len(keys)) - offsets[rows]] = keys
    table.sort(axis=1)
    table = table[:, ::-1]
    listed = table != _LEAST
    found = np.where(listed, n_items - 1 - (table & 0xFFFFFFFF), NO_ITEM).astype(np.int32)
    return Ranking(found, np.where(listed, _values_of(table), -np.inf).astype(np.float32))


def blocks(costs: np.ndarray, most: int) -> Iterator[slice]:
    """Consecutive rows whose costs (≥ 0) sum to at most `most`; a row that costs more is a block of its own."""
    ends = np.cumsum(costs)
    start = 0
    while start < len(costs):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start = stop


def sort_keys(values: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int64 keys that order like (value, second): float32 values, second in 0 … 2³² − 1.

    Distinct pairs give distinct keys, so the order is never arbitrary.
    """
    # The bits of positive floats order like integers, those of negative floats in reverse.
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.int32).astype(np.int64)
    bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (bits << 32) | second.astype(np.int64)


def _values_of(keys: np.ndarray) -> np.ndarray:
    bits = keys >> 32
    bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return bits.astype(np.int32).view(np.float32)


def largest_per_row(keys: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    """bool[n_entries]: which entries are among the k largest of their row.

    keys: int[n_entries], distinct within a row; row r holds entries offsets[r] … offsets[r + 1] − 1.
    """
    least = np.iinfo(keys.dtype).min
    return keys >= np.repeat(nth_largest(keys, offsets, k, least), np.diff(offsets))


def nth_largest(keys: np.ndarray, offsets: np.ndarray, n: int, least: float, *, loose: bool = False) -> np.ndarray:
    """The n-th largest key of every row, `least` for a row of at most n entries; [n_rows] of the type of `keys`.

    loose: return a cheaper lower bound, the n-th largest of the maxima of small groups. Rows longer than n are arranged
    in tables of rows of similar length, which are partitioned at once.
    """
    lengths = np.diff(offsets)
    found = np.full(len(lengths), least, dtype=keys.dtype)
    long = np.flatnonzero(lengths > n)
    long = long[np.argsort(lengths[long], kind="stable")]
    # A table is as wide as the longest of its rows, which is at most 1.42 times the shortest.
    size_class = np.floor(np.log2(lengths[long]) * 2)
    for same in np.split(long, np.flatnonzero(np.diff(size_class)) + 1):
        for cut in blocks(lengths[same], _TABLE_CELLS):
            rows = same[cut]
            width = int(lengths[rows[-1]])
            group = max(1, width // (_GROUPS_PER_PLACE * n)) if loose else 1
            columns = np.arange(-(-width // group) * group)
            table = keys.take(offsets[rows][:, None] + columns, mode="clip")
            table[columns >= lengths[rows][:, None]] = least
            maxima = table.reshape(len(rows), group, -1).max(axis=1) if group > 1 else table
            place = maxima.shape[1] - n
            found[rows] = np.partition(maxima, place, axis=1)[:, place]
    return found
