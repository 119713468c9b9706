"""Score a model on the test sessions: lists, ranks, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.evaluation.metrics import metrics_at
from llmseq_cli.evaluation.ranking import Ranking

if TYPE_CHECKING:
    from llmseq_cli.data.sessions import Sessions

CUTOFFS = (10, 20)
"""The list lengths at which every run is measured when it is stored; others are computed from the stored lists."""


@dataclass(frozen=True)
class Evaluation:
    """What a model did on the evaluated sessions.

    ranking: [n_sessions, depth].
    ranks: int32[n_sessions], 1-based rank of the ground truth, 0 where it is not among the depth items.
    session_ids: int64[n_sessions].
    """

    ranking: Ranking
    ranks: np.ndarray
    session_ids: np.ndarray

    def metrics(
        self, targets: np.ndarray, popularity: np.ndarray, cutoffs: tuple[int, ...] = CUTOFFS
    ) -> dict[tuple[str, int], float]:
        """{(metric, k): value} for every cut-off that the lists reach, or for their depth where they reach none."""
        return {
            (name, k): value
            for k in [k for k in cutoffs if k <= self.ranking.k] or [self.ranking.k]
            for name, value in metrics_at(self.ranking.items, self.ranks, targets, popularity, k).items()
        }


def evaluate(recommend, test: Sessions, depth: int) -> Evaluation:
    """`recommend(prompts, k) → Ranking` on the prompts of the evaluated sessions."""
    ranking = recommend(test.prompts(), depth)
    return Evaluation(ranking, ranking.ranks(test.targets()), test.ids)
