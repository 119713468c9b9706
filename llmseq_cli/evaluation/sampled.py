"""Metrics against sampled negatives, as in older papers: only on request, to compare with such a paper, never stored.

They measure something different from metrics over the whole catalog, and rank models differently (Krichene & Rendle,
"On sampled metrics for item recommendation", KDD 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.evaluation.metrics import per_session
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking

DRAWS = ("uniform", "popular")
CUTOFFS = (1, 5, 10)
_CELLS = 2**22  # cells in the tables of a block of histories
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Sampled:
    """metrics: {"ndcg@10": …, "hr@10": …, "mrr@10": …}. fewest, most: items sampled for a target; a small catalog may
    have fewer than requested."""

    metrics: dict[str, float]
    fewest: int
    most: int


def sampled_metrics(
    recommend: Callable[[Sessions, int], Ranking], test: Sessions, popularity: np.ndarray, n: int, draw: str, seed: int
) -> Sampled:
    """Metrics of each target ranked among n sampled items.

    recommend: (histories, k) → Ranking. popularity: int64[n_items], interactions of every item in training. draw:
    "uniform" over all other items, or "popular", in proportion to popularity; without repetition, and without items of
    the history. A target that a model does not rank counts as not found.
    """
    if draw not in DRAWS:
        raise UsageError(f"there is no sampling '{draw}'", did_you_mean(draw, list(DRAWS)))
    if n < 1:
        raise UsageError(f"--sampled is {n}", "give at least 1, for example --sampled 100")
    random = np.random.default_rng([seed, 6])
    n_items = len(popularity)
    size = max(1, _CELLS // max(n_items, 1))
    parts = [
        _ranks(recommend, test.slice(start, min(start + size, len(test))), popularity, n, draw, random)
        for start in range(0, len(test), size)
    ]
    ranks, drawn = (np.concatenate(part) for part in zip((_NONE, _NONE), *parts, strict=True))
    metrics = {
        f"{name}@{k}": float(values.mean()) if len(values) else 0.0
        for k in CUTOFFS
        for name, values in per_session(ranks, k).items()
    }
    return Sampled(metrics, int(drawn.min(initial=n)), int(drawn.max(initial=0)))


def _ranks(
    recommend: Callable[[Sessions, int], Ranking],
    block: Sessions,
    popularity: np.ndarray,
    n: int,
    draw: str,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """(int64[n_cases], int64[n_cases]): the 1-based rank of each target among itself and the sampled items, 0 if it is
    not ranked; the number of sampled items."""
    n_items, rows = len(popularity), np.arange(len(block))
    histories, targets = block.histories(), block.targets()
    lists = recommend(histories, n_items).items
    places = np.full((len(block), n_items + 1), n_items, dtype=np.int64)
    np.put_along_axis(places, np.where(lists == NO_ITEM, n_items, lists), np.arange(lists.shape[1]), axis=1)
    places = places[:, :n_items]
    # The n largest of log weight + Gumbel noise are a weighted sample without replacement.
    with np.errstate(divide="ignore"):
        weights = np.log(popularity) if draw == "popular" else np.zeros(n_items)
    keys = weights + random.gumbel(size=(len(block), n_items))
    keys[rows, targets] = -np.inf
    keys[histories.rows(), histories.items] = -np.inf
    count = min(n, n_items)
    drawn = np.argpartition(keys, n_items - count, axis=1)[:, n_items - count :]
    counts = np.take_along_axis(keys, drawn, axis=1) > -np.inf
    own = places[rows, targets]
    ahead = (np.take_along_axis(places, drawn, axis=1) < own[:, None]) & counts
    return np.where(own < n_items, ahead.sum(axis=1) + 1, 0), counts.sum(axis=1)
