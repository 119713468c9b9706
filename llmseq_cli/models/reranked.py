"""Reranked: lists of another run, reordered by a language model for the sessions that it was asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import filled_up
from llmseq_cli.models.base_models import BaseModelsSettings
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.saved_arrays import DamagedError, array

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no information is lost


@dataclass(frozen=True)
class RerankedSettings(BaseModelsSettings):
    pass


class Reranked(Recommender):
    """Stored lists by session and history. There are no others, since a language model would have to be asked."""

    name = "rerank"
    title = "Reranked"
    summary = "another run's lists, reordered by a language model; made by `llmseq rerank`"
    Settings = RerankedSettings
    refits = False

    settings: RerankedSettings
    keys: np.ndarray
    lists: np.ndarray

    def keep(self, parts: Sequence[tuple[Sessions, np.ndarray]]) -> None:
        """Store lists for histories: int32[n, depth] each, all of the same depth."""
        keys = np.concatenate([_keys(histories) for histories, _ in parts])
        self.keys, first = np.unique(keys, return_index=True)
        self.lists = np.concatenate([lists for _, lists in parts])[first].astype(np.int32)

    def fit(self, train: Sessions, context: FitContext) -> dict[str, Any]:
        raise UsageError("rerank cannot be trained: it asks a language model", "use `llmseq rerank RUN --model MODEL`")

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        """The stored lists, regardless of exclude_history."""
        keys = _keys(histories)
        found = np.minimum(np.searchsorted(self.keys, keys), max(0, len(self.keys) - 1))
        if len(keys) and not (len(self.keys) and (self.keys[found] == keys).all()):
            raise UsageError(
                f"the re-ranked lists of {self.settings.runs} are only for the sessions that the model was asked about",
                "for a blend use `llmseq rerank --validation`, or give it weights: --set weights=0.5,0.5; for other "
                "sessions use the run of a trained model",
            )
        lists = self.lists[found][:, :k] if len(keys) else np.empty((0, k), dtype=np.int32)
        return filled_up(Ranking(lists, scores_of(lists)), k)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"keys": self.keys.view(np.int64), "lists": self.lists}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.keys = array(arrays, "keys", "i", (None,)).astype(np.int64).view(np.uint64)
        if (np.diff(self.keys) <= 0).any() if len(self.keys) else False:
            raise DamagedError("'keys' is not in order")
        self.lists = array(arrays, "lists", "i", (len(self.keys), None), low=NO_ITEM)
        if self.lists.size and self.lists.max() >= self.n_items:
            raise DamagedError(f"'lists' holds {self.lists.max()}, and there are {self.n_items}")


def scores_of(lists: np.ndarray) -> np.ndarray:
    """Scores for blends from lists that only have an order: 1 / log2(1 + rank), NDCG's discount; −inf for no item."""
    discounts = (1 / np.log2(np.arange(lists.shape[1]) + 2)).astype(np.float32)
    return np.where(lists >= 0, discounts, -np.inf).astype(np.float32)


def _keys(histories: Sessions) -> np.ndarray:
    """A uint64 hash of each session's id, and its history's items and positions."""
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(int(histories.lengths.max(initial=0)) + 1, _FACTOR))
        terms = (histories.items.astype(np.uint64) + np.uint64(1)) * powers[histories.positions_from_end()]
        total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])
        history = total[histories.offsets[1:]] - total[histories.offsets[:-1]]
        mixed = (history ^ (history >> np.uint64(29))) * _FACTOR + histories.ids.astype(np.uint64)
        keys: np.ndarray = (mixed ^ (mixed >> np.uint64(32))) * _FACTOR
    return keys
