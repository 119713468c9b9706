"""Metrics of recommendation lists with one relevant item per session.

Definitions follow Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339), Section 7.1.2.
"""

from __future__ import annotations

import numpy as np

from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM

METRICS = ("ndcg", "hr", "mrr", "coverage", "serendipity", "novelty")


def metrics_at(
    items: np.ndarray, ranks: np.ndarray, targets: np.ndarray, popularity: np.ndarray, k: int
) -> dict[str, float]:
    """All metrics of the first k items of every list.

    items: int32[n_sessions, depth], depth ≥ k, NO_ITEM if a list is shorter.
    ranks: int32[n_sessions], 1-based rank of the ground truth, 0 if it was not found.
    targets: int32[n_sessions], the ground truths.
    popularity: int64[n_items], interactions of every item in the whole dataset.

    ndcg, hr, mrr: means over sessions of the values from `per_session`.
    coverage: share of all catalog items that occur in at least one list.
    serendipity: share of sessions whose ground truth was found and is not among the k most popular items.
    novelty: mean over sessions of the mean of −log2(share of all interactions) over their items. Without sessions, all
    values are 0. Raises UsageError if the lists are shorter than k.
    """
    if not 1 <= k <= items.shape[1]:
        raise UsageError(f"lists of {items.shape[1]} items cannot be measured at {k}", "give a smaller k")
    if len(items) == 0:
        return dict.fromkeys(METRICS, 0.0)
    lists = items[:, :k]
    accuracy = {name: float(values.mean()) for name, values in per_session(ranks, k).items()}
    unexpected_hits = (ranks > 0) & (ranks <= k) & ~is_among_most_popular(targets, popularity, k)
    return accuracy | {
        "coverage": coverage(lists, len(popularity)),
        "serendipity": float(unexpected_hits.mean()),
        "novelty": novelty(lists, popularity),
    }


def per_session(ranks: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """{"ndcg", "hr", "mrr"} of every session, float64[n_sessions] each.

    ranks: int32[n_sessions], 1-based rank of the ground truth, 0 if it was not found.
    For a ground truth within the first k: ndcg 1/log2(rank + 1), hr 1, mrr 1/rank; else 0.
    """
    hits = (ranks > 0) & (ranks <= k)
    rank = np.where(hits, ranks, 1).astype(np.float64)
    return {"ndcg": hits / np.log2(rank + 1), "hr": hits.astype(np.float64), "mrr": hits / rank}


def coverage(lists: np.ndarray, n_items: int) -> float:
    """Share of the catalog's items that occur in at least one list; 0 for an empty catalog."""
    seen = np.zeros(n_items, dtype=bool)
    seen[lists[lists != NO_ITEM]] = True
    return float(seen.mean()) if n_items else 0.0


def is_among_most_popular(items: np.ndarray, popularity: np.ndarray, k: int) -> np.ndarray:
    """bool per item: whether it is one of the k most popular (with ties, those with lower ids)."""
    expected = np.zeros(len(popularity), dtype=bool)
    expected[np.argsort(-popularity, kind="stable")[:k]] = True
    popular: np.ndarray = expected[items]
    return popular


def novelty(lists: np.ndarray, popularity: np.ndarray) -> float:
    """Mean over lists of the mean self-information of their items, in bits; empty lists do not count.

    An item without interactions counts as having one, so that the value stays finite.
    """
    counts = np.maximum(popularity, 1)
    information = -np.log2(counts / counts.sum())
    listed = lists != NO_ITEM
    values = np.where(listed, information[np.where(listed, lists, 0)], 0.0)
    lengths = listed.sum(axis=1)
    counted = lengths > 0
    return float((values.sum(axis=1)[counted] / lengths[counted]).mean()) if counted.any() else 0.0
