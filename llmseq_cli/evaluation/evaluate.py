"""Score a model on the test sessions: lists, ranks, metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.evaluation.metrics import metrics_at
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from llmseq_cli.data.sessions import Sessions

CUTOFFS = (10, 20)
"""The values of k at which every run is measured when it is stored; others are computed from the stored lists."""


_HISTORIES_PER_BLOCK = 4096  # lists do not depend on it


@dataclass(frozen=True)
class Evaluation:
    """A model's results on the evaluated sessions.

    ranking: [n_sessions, depth].
    ranks: int32[n_sessions], 1-based rank of the ground truth, 0 if it is not among the depth items.
    case_ids: int64[n_sessions].
    """

    ranking: Ranking
    ranks: np.ndarray
    case_ids: np.ndarray

    def metrics(
        self, targets: np.ndarray, popularity: np.ndarray, cutoffs: tuple[int, ...] = CUTOFFS
    ) -> dict[tuple[str, int], float]:
        """{(metric, k): value} for every cut-off up to the lists' depth, or for the depth itself if it is below all
        cut-offs."""
        return {
            (name, k): value
            for k in [k for k in cutoffs if k <= self.ranking.k] or [self.ranking.k]
            for name, value in metrics_at(self.ranking.items, self.ranks, targets, popularity, k).items()
        }


def evaluate(
    recommend: Callable[[Sessions, int], Ranking], test: Sessions, depth: int, progress: Progress | None = None
) -> Evaluation:
    """Call `recommend(histories, k)` for the evaluated sessions, block by block, to show progress."""
    histories = test.histories()
    parts = []
    with (progress or SilentProgress()).task("Scoring", len(histories), "sessions") as task:
        for start in range(0, max(len(histories), 1), _HISTORIES_PER_BLOCK):
            block = histories.slice(start, min(start + _HISTORIES_PER_BLOCK, len(histories)))
            parts.append(recommend(block, depth))
            task.advance(len(block))
    ranking = Ranking.concatenate(parts)
    return Evaluation(ranking, ranking.ranks(test.targets()), test.ids)
