"""MostPopular: the items with the most interactions in training, the same for everybody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.models.base import FitContext, Recommender
from llmseq_cli.settings import Settings


@dataclass(frozen=True)
class MostPopularSettings(Settings):
    """MostPopular has no settings."""


class MostPopular(Recommender):
    name = "most-popular"
    title = "MostPopular"
    summary = "the most popular items of the training sessions"
    Settings = MostPopularSettings

    counts: np.ndarray

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        self.counts = train.counts(self.n_items)
        return {}

    def recommend(self, prompts: Sessions, k: int, *, exclude_prompt: bool = True) -> Ranking:
        # A stable sort leaves equally popular items in the order of their ids.
        by_popularity = np.argsort(-self.counts, kind="stable")[: np.count_nonzero(self.counts)]
        longest = int(prompts.lengths.max(initial=0)) if exclude_prompt else 0
        # A prompt can take at most its own length out of the list.
        best = by_popularity[: k + longest].astype(np.int32)
        items = np.broadcast_to(best, (len(prompts), len(best)))
        allowed = np.ones(items.shape, dtype=bool)
        if exclude_prompt:
            place = np.full(self.n_items, -1)
            place[best] = np.arange(len(best))
            rows, columns = prompts.rows(), place[prompts.items]
            allowed[rows[columns >= 0], columns[columns >= 0]] = False
        # Allowed items first, each group in its order.
        order = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
        kept = np.take_along_axis(allowed, order, axis=1)
        chosen = np.where(kept, np.take_along_axis(items, order, axis=1), NO_ITEM)
        scores = np.where(kept, self.counts[chosen], -np.inf).astype(np.float32)
        return _padded(Ranking(chosen.astype(np.int32), scores), k)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.counts = arrays["counts"]


def _padded(ranking: Ranking, k: int) -> Ranking:
    missing = ((0, 0), (0, k - ranking.k))
    return Ranking(
        np.pad(ranking.items, missing, constant_values=NO_ITEM),
        np.pad(ranking.scores, missing, constant_values=-np.inf),
    )
