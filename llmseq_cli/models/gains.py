"""The values of a base model for the items of its lists in a blend, by score or by rank.

Reciprocal-rank fusion follows Cormack, Clarke & Büttcher (SIGIR 2009), weighted ranks are a Borda count.
"""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking

METHODS = ("zscore", "rrf", "weighted-rank")


def gains(ranking: Ranking, own: np.ndarray, method: str, rrf_k: float = 60.0) -> np.ndarray:
    """A base model's values for the items of its lists, relative to all other items: float64[n, depth], ≥ 0.

    own: bool[n, depth], items of the history, which are excluded from the statistics of their list.
    zscore: (score − floor) / standard deviation of the list's scores. The floor is the lowest score of the list; for a
    short list with scores above 0, it is 0, and the missing places count as 0 in the deviation.
    rrf: 1 / (rrf_k + rank). weighted-rank: (depth + 1 − rank) / depth.
    """
    listed = ranking.items != NO_ITEM
    if method == "zscore":
        values = _standardised(ranking.scores, listed, listed & ~own)
    else:
        # The rank among items outside the history, also for an item of the history.
        counted = listed & ~own
        rank = np.cumsum(counted, axis=1) + ~counted
        values = 1 / (rrf_k + rank) if method == "rrf" else (ranking.k + 1 - rank) / ranking.k
    return np.where(listed, values, 0.0)


def _standardised(scores: np.ndarray, listed: np.ndarray, counted: np.ndarray) -> np.ndarray:
    scores = np.where(listed, scores, 0).astype(np.float64)
    lowest = np.where(listed, scores, np.inf).min(axis=1, initial=np.inf)
    ends_early = ~listed[:, -1] & (lowest >= 0)
    floor = np.where(ends_early | np.isinf(lowest), 0, lowest)[:, None]
    above = np.where(counted, scores - floor, 0)
    n = np.where(ends_early, scores.shape[1] - (listed & ~counted).sum(axis=1), counted.sum(axis=1))
    n = np.maximum(n, 1)
    variance = (above**2).sum(axis=1) / n - (above.sum(axis=1) / n) ** 2
    deviation = np.sqrt(np.maximum(variance, 0))[:, None]
    standardised: np.ndarray = np.divide(scores - floor, deviation, out=np.zeros_like(scores), where=deviation > 0)
    return standardised


def is_in_history(ranking: Ranking, histories: Sessions, n_items: int) -> np.ndarray:
    """bool[n, depth]: which items of every list are in its history."""
    keys = np.arange(len(histories))[:, None] * n_items + ranking.items
    inside: np.ndarray = np.isin(keys, histories.rows() * n_items + histories.items) & (ranking.items != NO_ITEM)
    return inside
