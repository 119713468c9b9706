"""Top-k of dense scores, exact under the tie rule of `ranking`, in blocks of fixed shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking

_MOST_PROMPTS = 256
_BLOCK_NUMBERS = 2**26  # scores that stand in memory at once: 256 MiB as float32

_GROUP = 32  # items whose maximum stands for them when the best groups are looked for

_NOISE_BITS = 6  # of the 24 significant bits of a float32 score


def block_size(n_items: int) -> int:
    """Prompts that are scored at once.

    It depends on the catalog alone: the sums of a matrix product depend on its shape, so a prompt's scores would
    depend on how many others it came with if the shape of a block did.
    """
    return max(8, min(_MOST_PROMPTS, _BLOCK_NUMBERS // max(n_items, 1)))


def rank_in_blocks(
    prompts: Sessions,
    score: Callable[[Sessions], np.ndarray],
    k: int,
    n_items: int,
    *,
    exclude_prompt: bool,
    candidates: np.ndarray | None = None,
) -> Ranking:
    """The k best items of every prompt: Ranking of [n_prompts, k].

    score: float32[block_size, n_items] of block_size(n_items) prompts; the array is overwritten. The last block is
    filled up with empty prompts, so that `score` always computes in the same shape.
    candidates: bool[n_items], which items may be recommended; None means all.

    Scores are ranked and returned after `without_noise`.
    """
    size = block_size(n_items)
    parts = []
    for start in range(0, len(prompts), size):
        block = prompts.slice(start, min(start + size, len(prompts)))
        scores = without_noise(score(_filled_up(block, size))[: len(block)])
        parts.append(top_k(scores, k, exclude=block if exclude_prompt else None, candidates=candidates))
    if not parts:
        return Ranking(np.empty((0, k), dtype=np.int32), np.empty((0, k), dtype=np.float32))
    return Ranking.concatenate(parts)


def _filled_up(block: Sessions, size: int) -> Sessions:
    missing = size - len(block)
    offsets = np.concatenate([block.offsets, np.full(missing, block.offsets[-1])])
    return Sessions(block.items, offsets, np.concatenate([block.ids, np.full(missing, -1)]))


def without_noise(scores: np.ndarray) -> np.ndarray:
    """float32 scores rounded in place to 18 significant bits: steps of at most 1 in 131,072.

    The last bits of a matrix product depend on the processor's kernels and on the column: two items with the same
    vector can get scores that differ there, on one machine and not on another. Rounded, such scores tie, and the tie
    rule decides instead of the hardware.
    """
    bits = scores.view(np.int32)
    bits += 1 << (_NOISE_BITS - 1)
    bits &= -1 << _NOISE_BITS
    return scores


def top_k(
    scores: np.ndarray, k: int, *, exclude: Sessions | None = None, candidates: np.ndarray | None = None
) -> Ranking:
    """The k highest scores of every row, best first, among equal scores the lower item id.

    scores: float32[n, n_items], overwritten; −inf (or NaN) means that an item cannot be recommended.
    exclude: sessions, one a row, whose items are not recommended.
    candidates: bool[n_items], which items may be recommended; None means all.
    """
    n_items = scores.shape[1]
    if candidates is not None:
        scores[:, np.flatnonzero(~candidates)] = -np.inf
    if exclude is not None:
        scores[exclude.rows(), exclude.items] = -np.inf
    np.copyto(scores, -np.inf, where=np.isnan(scores))
    depth = min(k, n_items)
    chosen = _select(scores, depth)
    chosen.sort(axis=1)  # ids rise, so that a stable sort by score leaves the lower id first
    values = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    items, values = np.take_along_axis(chosen, order, axis=1), np.take_along_axis(values, order, axis=1)
    items = np.where(np.isneginf(values), NO_ITEM, items).astype(np.int32)
    return filled_up(Ranking(items, values), k)


def filled_up(ranking: Ranking, k: int) -> Ranking:
    """The ranking with lists of length k, filled up with NO_ITEM and −inf."""
    missing = ((0, 0), (0, k - ranking.k))
    return Ranking(
        np.pad(ranking.items, missing, constant_values=NO_ITEM),
        np.pad(ranking.scores, missing, constant_values=-np.inf),
    )


def _select(scores: np.ndarray, k: int) -> np.ndarray:
    """int64[n, k]: the k best items of every row in any order; among those that tie at the cut the lowest ids."""
    n, n_items = scores.shape
    n_groups = n_items // _GROUP
    if k >= n_items:
        return np.tile(np.arange(n_items), (n, 1))
    if n_groups < 4 * k:
        chosen = np.argpartition(scores, n_items - k, axis=1)[:, n_items - k :]
    else:
        chosen = _select_by_groups(scores, k, n_groups)
    threshold = np.take_along_axis(scores, chosen, axis=1).min(axis=1, initial=np.inf)
    # Where more items reach the cut than fit, which of the equal ones were taken was chance. Lists that reach down to
    # items that cannot be recommended need no repair: those are struck out whichever they are.
    crowded = np.count_nonzero(scores >= threshold[:, None], axis=1) > k
    for row in np.flatnonzero(crowded & (threshold > -np.inf)):
        above = np.flatnonzero(scores[row] > threshold[row])
        level = np.flatnonzero(scores[row] == threshold[row])
        chosen[row] = np.concatenate([above, level[: k - len(above)]])
    return chosen


def _select_by_groups(scores: np.ndarray, k: int, n_groups: int) -> np.ndarray:
    """The k best lie in the k groups with the largest maxima, or among the last few items that fill no group."""
    n, n_items = scores.shape
    whole = n_groups * _GROUP
    maxima = scores[:, :whole].reshape(n, n_groups, _GROUP).max(axis=2)
    groups = np.argpartition(maxima, n_groups - k, axis=1)[:, n_groups - k :]
    members = (groups[:, :, None] * _GROUP + np.arange(_GROUP)).reshape(n, k * _GROUP)
    rest = np.broadcast_to(np.arange(whole, n_items), (n, n_items - whole))
    members = np.concatenate([members, rest], axis=1)
    values = np.take_along_axis(scores, members, axis=1)
    best = np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]
    return np.take_along_axis(members, best, axis=1)
