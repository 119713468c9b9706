"""The common base of blend and stack: combine lists of runs, and find the sessions to learn from."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.top_k import block_size
from llmseq_cli.models.base_models import BaseModelsSettings, MadeOfRuns
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.settings import setting

_HELD_OUT = 0.2
_MOST_HELD_OUT = 5000
_BLOCK_NUMBERS = 2**22  # entries of a base model's lists in memory at once


@dataclass(frozen=True)
class ListCombinerSettings(BaseModelsSettings):
    list_length: int = setting(
        100,
        "items to take from each base model's list, including those of the history; only these are recommended",
        low=1,
        high=1_000_000,
    )


class ListCombiner(MadeOfRuns):
    """Recommends from the first items of its base models' lists, a block of histories at a time."""

    fewest, most = 2, None

    settings: ListCombinerSettings

    @property
    def _list_length(self) -> int:
        return min(self.settings.list_length, self.n_items)

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        size = max(block_size(self.n_items), _BLOCK_NUMBERS // self._list_length)
        parts = [
            self._lists(histories.slice(start, min(start + size, len(histories))), k, exclude_history)
            for start in range(0, max(len(histories), 1), size)
        ]
        return Ranking.concatenate(parts)

    @abstractmethod
    def _lists(self, histories: Sessions, k: int, exclude_history: bool) -> Ranking:
        """The lists of a block of histories, Ranking of [n_histories, k]."""


def held_out_of(
    train: Sessions, n_items: int, context: FitContext, most: int = _MOST_HELD_OUT
) -> tuple[Sessions, Sessions]:
    """(sessions for training base models, cases for learning weights): the cases are at most `most` validation cases of
    the split or, if it has none, the latest training sessions.
    """
    if context.validation is None:
        return latest_held_out(train, n_items, keep_unseen=context.keeps_unseen)
    cases = context.validation
    if len(cases) > most:
        chosen = np.random.default_rng([context.seed, 5]).choice(len(cases), most, replace=False)
        cases = cases.take(np.sort(chosen))
    return train, cases


def latest_held_out(train: Sessions, n_items: int, *, keep_unseen: bool = False) -> tuple[Sessions, Sessions]:
    """(the earlier sessions, the latest fifth of them, at most 5,000).

    As with test sessions, items that do not occur earlier are removed (unless they are kept there, too), and then
    sessions with fewer than two items. Raises LlmseqError if none is left.
    """
    order = np.argsort(train.ids, kind="stable")
    n = min(int(len(train) * _HELD_OUT), _MOST_HELD_OUT)
    earlier, latest = train.take(order[: len(train) - n]), train.take(order[len(train) - n :])
    cleaned = latest.only((earlier.counts(n_items) > 0) | keep_unseen)
    held_out = cleaned.take(np.flatnonzero(cleaned.lengths >= 2))
    if not len(held_out):
        raise LlmseqError("there are too few training sessions to learn weights from", "give them: --set weights=1,1")
    return earlier, held_out
