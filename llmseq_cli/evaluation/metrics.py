"""Metrics of recommendation lists with one relevant item a session.

Definitions follow Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339), Section 7.1.3.
"""

from __future__ import annotations

import numpy as np

from llmseq_cli.evaluation.ranking import NO_ITEM

METRICS = ("ndcg", "hr", "mrr", "coverage", "serendipity", "novelty")


def metrics_at(
    items: np.ndarray, ranks: np.ndarray, targets: np.ndarray, popularity: np.ndarray, k: int
) -> dict[str, float]:
    """All metrics of the first k items of every list.

    items: int32[n_sessions, depth], depth ≥ k, NO_ITEM where a list is shorter.
    ranks: int32[n_sessions], 1-based rank of the ground truth, 0 where it was not found.
    targets: int32[n_sessions], the ground truths.
    popularity: int64[n_items], interactions of every item in the whole dataset.

    ndcg = 1/log2(rank + 1), mrr = 1/rank, hr = 1 for ground truths within the first k, else 0; means over sessions.
    coverage: share of all catalog items that stand in at least one list.
    serendipity: share of sessions whose ground truth was hit and is not among the k most popular items.
    novelty: mean over sessions of the mean of −log2(share of all interactions) over their items.
    Without any session everything is 0.
    """
    if len(items) == 0:
        return dict.fromkeys(METRICS, 0.0)
    lists = items[:, :k]
    hits = (ranks > 0) & (ranks <= k)
    found = ranks[hits].astype(np.float64)
    n = len(items)
    return {
        "ndcg": float((1 / np.log2(found + 1)).sum() / n),
        "hr": float(hits.mean()),
        "mrr": float((1 / found).sum() / n),
        "coverage": coverage(lists, len(popularity)),
        "serendipity": float((hits & ~is_among_most_popular(targets, popularity, k)).mean()),
        "novelty": novelty(lists, popularity),
    }


def coverage(lists: np.ndarray, n_items: int) -> float:
    """Share of the catalog's items that occur in at least one list."""
    seen = np.zeros(n_items, dtype=bool)
    seen[lists[lists != NO_ITEM]] = True
    return float(seen.mean())


def is_among_most_popular(items: np.ndarray, popularity: np.ndarray, k: int) -> np.ndarray:
    """bool per item: whether it is one of the k most popular (of equally popular ones the lower ids)."""
    expected = np.zeros(len(popularity), dtype=bool)
    expected[np.argsort(-popularity, kind="stable")[:k]] = True
    return expected[items]


def novelty(lists: np.ndarray, popularity: np.ndarray) -> float:
    """Mean over lists of the mean self-information of their items, in bits; empty lists do not count."""
    with np.errstate(divide="ignore"):
        information = -np.log2(popularity / popularity.sum())
    listed = lists != NO_ITEM
    values = np.where(listed, information[np.where(listed, lists, 0)], 0.0)
    lengths = listed.sum(axis=1)
    counted = lengths > 0
    return float((values.sum(axis=1)[counted] / lengths[counted]).mean()) if counted.any() else 0.0
