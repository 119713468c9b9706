"""EmbeddingEnsemble: two LLMSeqSim runs; the best items of the first come before the list of the second.

Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339), Section 6 and online material.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.models.base_models import BaseModelsSettings, MadeOfRuns, first_kept
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.settings import setting

METHODS = ("rank", "confidence")
DEFAULT_THRESHOLDS = {"rank": 5.0, "confidence": 0.8}


@dataclass(frozen=True)
class EmbeddingEnsembleSettings(BaseModelsSettings):
    method: str = setting("rank", "how to choose the first run's leading items", choices=METHODS, tune=METHODS)
    threshold: float | None = setting(
        None, "rank: their number (none: 5); confidence: their minimum similarity (none: 0.8)"
    )


class EmbeddingEnsemble(MadeOfRuns):
    """The first items of the first run's list, then the second run's list without them.

    rank: the first run's best `threshold` items; confidence: its items whose score is at least `threshold`. An item's
    score is 1/place, because the scores of two runs are not comparable.
    """

    name = "embedding-ensemble"
    title = "EmbeddingEnsemble"
    summary = "two LLMSeqSim runs: the first one's best items, then the second one's"
    Settings = EmbeddingEnsembleSettings
    fewest = most = 2
    first_models = ("llmseqsim", "llmseqsim")

    settings: EmbeddingEnsembleSettings

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        self.take_base_models(context)
        return {}

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        # Without the c leading items, k items of the second list include at least k − c others.
        first, second = (
            base_model.recommend(histories, k, exclude_history=exclude_history) for base_model in self.base_models
        )
        sure = self._sure(first)
        rows = np.arange(len(histories))[:, None] * self.n_items
        repeated = np.isin(rows + second.items, (rows + first.items)[sure])
        both = Ranking(
            np.concatenate([first.items, second.items], axis=1), np.concatenate([first.scores, second.scores], axis=1)
        )
        merged = first_kept(both, np.concatenate([sure, (second.items != NO_ITEM) & ~repeated], axis=1), k)
        places = np.arange(1, k + 1, dtype=np.float32)
        scores = np.where(merged.items == NO_ITEM, -np.inf, 1 / places)
        return Ranking(merged.items, scores.astype(np.float32))

    def _sure(self, first: Ranking) -> np.ndarray:
        """bool[n, k]: which items of the first list come before the second."""
        method, threshold = self.settings.method, self.settings.threshold
        if threshold is None:
            threshold = DEFAULT_THRESHOLDS[method]
        within = np.arange(first.k) < threshold if method == "rank" else first.scores >= threshold
        sure: np.ndarray = within & (first.items != NO_ITEM)
        return sure

    def arrays(self) -> dict[str, np.ndarray]:
        return {"members": np.array([len(self.base_models)])}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """There are only the base models."""
