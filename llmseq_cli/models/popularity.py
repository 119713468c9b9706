"""MostPopular: the items with the most interactions in training, the same for everybody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import filled_up
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.settings import Settings

_BLOCK_NUMBERS = 2**22  # places of all lists of a block before the prompts' items are struck out


@dataclass(frozen=True)
class MostPopularSettings(Settings):
    """MostPopular has no settings."""


class MostPopular(Recommender):
    """Scores are the interactions of an item in training; of equally popular items the lower id comes first."""

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
        size = max(1, _BLOCK_NUMBERS // max(len(best), 1))
        parts = [
            self._lists(prompts.slice(start, min(start + size, len(prompts))), best, k, exclude_prompt)
            for start in range(0, len(prompts), size)
        ]
        return Ranking.concatenate(parts) if parts else self._lists(prompts, best, k, exclude_prompt)

    def _lists(self, prompts: Sessions, best: np.ndarray, k: int, exclude_prompt: bool) -> Ranking:
        """The first k of `best` that are not in the prompt."""
        allowed = np.ones((len(prompts), len(best)), dtype=bool)
        if exclude_prompt:
            place = np.full(self.n_items, -1)
            place[best] = np.arange(len(best))
            rows, columns = prompts.rows(), place[prompts.items]
            allowed[rows[columns >= 0], columns[columns >= 0]] = False
        # Allowed items first, each group in its order.
        order = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
        items = np.where(np.take_along_axis(allowed, order, axis=1), best[order], NO_ITEM)
        scores = np.where(items == NO_ITEM, -np.inf, self.counts[items])
        return filled_up(Ranking(items.astype(np.int32), scores.astype(np.float32)), k)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.counts = arrays["counts"]
