"""Top-k of dense scores, exact under the tie rule of `ranking`, in blocks of fixed shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking

_MOST_PROMPTS = 256
_BLOCK_NUMBERS = 2**26  # scores in memory at once: 256 MiB as float32

_GROUPS_PER_PLACE = 4  # groups of items, whose maxima are compared, per place of the list
_LEAST_GROUP = 8  # items; with smaller groups all scores are compared

_NOISE_BITS = 6  # of the 24 significant bits of a float32 score


def block_size(n_items: int) -> int:
    """Number of histories to score at once.

    It depends only on the catalog. The sums of a matrix product depend on its shape, so if the block size varied, a
    history's scores would depend on how many other histories were scored with it.
    """
    return max(8, min(_MOST_PROMPTS, _BLOCK_NUMBERS // max(n_items, 1)))


def rank_in_blocks(
    histories: Sessions,
    score: Callable[[Sessions], np.ndarray],
    k: int,
    n_items: int,
    *,
    exclude_history: bool,
    candidates: np.ndarray | None = None,
    size: int | None = None,
) -> Ranking:
    """The k best items of every history: Ranking of [n_histories, k].

    score: returns float32[size, n_items] for `size` histories; the array is overwritten. The last block is padded with
    empty histories, so that `score` always computes in the same shape.
    size: histories per block, if `SmallBlocks` found another than block_size(n_items).
    candidates: bool[n_items], which items may be recommended; None means all.

    Scores are ranked and returned after `without_noise`.
    """
    size = size or block_size(n_items)
    parts = []
    for start in range(0, len(histories), size):
        block = histories.slice(start, min(start + size, len(histories)))
        scores = without_noise(score(_filled_up(block, size))[: len(block)])
        parts.append(top_k(scores, k, exclude=block if exclude_history else None, candidates=candidates))
        del scores  # keep one block in memory, not two
    if not parts:
        return Ranking(np.empty((0, k), dtype=np.int32), np.empty((0, k), dtype=np.float32))
    return Ranking.concatenate(parts)


def _filled_up(block: Sessions, size: int) -> Sessions:
    missing = size - len(block)
    offsets = np.concatenate([block.offsets, np.full(missing, block.offsets[-1])])
    return Sessions(block.items, offsets, np.concatenate([block.ids, np.full(missing, -1)]), block.times)


def without_noise(scores: np.ndarray) -> np.ndarray:
    """float32 scores rounded in place to 18 significant bits: steps of at most 1 in 131,072.

    The last bits of a matrix product depend on the processor's kernels and on the column: two items with the same
    vector can get slightly different scores, on one machine but not on another. After rounding, such scores tie, and
    the tie rule decides instead of the hardware.
    """
    bits = scores.view(np.int32)
    bits += 1 << (_NOISE_BITS - 1)
    bits &= -1 << _NOISE_BITS
    return scores


def top_k(
    scores: np.ndarray, k: int, *, exclude: Sessions | None = None, candidates: np.ndarray | None = None
) -> Ranking:
    """The k highest scores of every row, best first; with equal scores, the lower item id first.

    scores: float32[n, n_items], overwritten; −inf (or NaN) means that an item cannot be recommended.
    exclude: sessions, one per row, whose items are not recommended.
    candidates: bool[n_items], which items may be recommended; None means all.
    """
    n_items = scores.shape[1]
    if candidates is not None:
        scores[:, np.flatnonzero(~candidates)] = -np.inf
    if exclude is not None:
        scores[exclude.rows(), exclude.items] = -np.inf
    np.copyto(scores, -np.inf, where=np.isnan(scores))
    floor = _lower_bound(scores, k)
    places = np.flatnonzero(scores >= floor[:, None])
    rows, items = np.divmod(places, n_items)
    values = scores.ravel()[places]
    kept = ~_surplus(rows, values == floor[rows], k)
    rows, items, values = rows[kept], items[kept], values[kept]
    # The rest of every row, by ascending item id: a stable sort by score keeps lower ids first.
    places = _places_in_row(rows, len(scores))
    width = max(k, int(places.max(initial=0)) + 1)
    table = Ranking(
        np.full((len(scores), width), NO_ITEM, dtype=np.int32), np.full((len(scores), width), -np.inf, dtype=np.float32)
    )
    table.items[rows, places], table.scores[rows, places] = items, values
    order = np.argsort(-table.scores, axis=1, kind="stable")[:, :k]
    return Ranking(np.take_along_axis(table.items, order, axis=1), np.take_along_axis(table.scores, order, axis=1))


def top_k_of(items: np.ndarray, scores: np.ndarray, k: int) -> Ranking:
    """The k items with the highest scores of every row, as `top_k`, from preselected items.

    items: int32[n, width], none twice in a row, width ≥ k. scores: float32[n, width], −inf for what is not an item.
    """
    by_id = np.argsort(items, axis=1, kind="stable")
    items, scores = np.take_along_axis(items, by_id, axis=1), np.take_along_axis(scores, by_id, axis=1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    items, scores = np.take_along_axis(items, best, axis=1), np.take_along_axis(scores, best, axis=1)
    return Ranking(np.where(np.isneginf(scores), NO_ITEM, items).astype(np.int32), scores)


def filled_up(ranking: Ranking, k: int) -> Ranking:
    """The ranking with lists of length k, padded with NO_ITEM and −inf."""
    missing = ((0, 0), (0, k - ranking.k))
    return Ranking(
        np.pad(ranking.items, missing, constant_values=NO_ITEM),
        np.pad(ranking.scores, missing, constant_values=-np.inf),
    )


def _lower_bound(scores: np.ndarray, k: int) -> np.ndarray:
    """float32[n]: a score that at least k items of the row reach, if that many can be recommended.

    Items are divided into groups: k groups have a maximum of at least the k-th largest maximum, so k items reach it.
    Few others do, since they are in these groups or among the last items, which fill no group.
    """
    n, n_items = scores.shape
    size = n_items // (_GROUPS_PER_PLACE * max(k, 1))
    if size >= _LEAST_GROUP:
        n_groups = n_items // size
        scores = scores[:, : n_groups * size].reshape(n, n_groups, size).max(axis=2)
    least = np.finfo(np.float32).min  # above −inf, so excluded items do not reach it
    if scores.shape[1] <= k:
        return np.full(n, least)
    return np.maximum(np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k], least)


def _surplus(rows: np.ndarray, tied: np.ndarray, k: int) -> np.ndarray:
    """Which entries tie for the lowest score of their row after k others: none of them can be in the list."""
    surplus = np.zeros(len(rows), dtype=bool)
    if len(rows):
        surplus[tied] = _places_in_row(rows[tied], int(rows[-1]) + 1) >= k
    return surplus


def _places_in_row(rows: np.ndarray, n: int) -> np.ndarray:
    """0, 1, 2, … for the entries of every row; `rows` is ascending."""
    lengths = np.bincount(rows, minlength=n)
    return np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
