"""LLMSeqSim&Sequential: LLMSeqSim if the last item is unpopular, another model if it is popular.

Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339), Section 6.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.models.base_models import (
    BaseModelsSettings,
    MadeOfRuns,
    item_counts,
    popularity_cutoff,
    popularity_setting,
)
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.saved_arrays import array
from llmseq_cli.settings import setting


@dataclass(frozen=True)
class HybridSequentialSettings(BaseModelsSettings):
    popularity: str = popularity_setting()
    cutoff: float = setting(
        0.25, "quantile of item popularity below which a last item is unpopular", low=0, high=1, tune=(0.0, 1.0)
    )


class HybridSequential(MadeOfRuns):
    """Every history gets the list of one of two runs, depending on the popularity of its last item.

    The first run, of LLMSeqSim, is used below the cut-off; the second above it, and for empty histories.
    """

    name = "hybrid-sequential"
    title = "LLMSeqSim&Sequential"
    summary = "LLMSeqSim for histories whose last item is unpopular, another run for the others"
    Settings = HybridSequentialSettings
    fewest = most = 2
    first_models = ("llmseqsim",)

    settings: HybridSequentialSettings
    counts: np.ndarray

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        self.take_base_models(context)
        self.counts = item_counts(self.settings.popularity, train, self.n_items, context)
        return {"popularity_cutoff": popularity_cutoff(self.counts, self.settings.cutoff)}

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        unpopular = np.zeros(len(histories), dtype=bool)
        some = np.flatnonzero(histories.lengths)
        last = histories.items[histories.offsets[some + 1] - 1]
        unpopular[some] = self.counts[last] < popularity_cutoff(self.counts, self.settings.cutoff)
        lists = Ranking(
            np.full((len(histories), k), NO_ITEM, dtype=np.int32),
            np.full((len(histories), k), -np.inf, dtype=np.float32),
        )
        for base_model, its in zip(self.base_models, (unpopular, ~unpopular), strict=True):
            places = np.flatnonzero(its)
            if len(places):
                part = base_model.recommend(histories.take(places), k, exclude_history=exclude_history)
                lists.items[places], lists.scores[places] = part.items, part.scores
        return lists

    def arrays(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.counts = array(arrays, "counts", "if", (self.n_items,), low=0)
