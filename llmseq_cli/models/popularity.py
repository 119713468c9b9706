"""MostPopular: the items with the most interactions in training or in its last days, the same for everybody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.data.moments import are_numbers
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import filled_up
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.saved_arrays import array
from llmseq_cli.settings import Settings, setting

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BLOCK_NUMBERS = 2**22  # places of all lists of a block before items of the history are removed


@dataclass(frozen=True)
class MostPopularSettings(Settings):
    """Without settings, all of training counts equally."""

    window: str | None = setting(
        None, "only count interactions within this time before the end of training, such as 7d or 12h"
    )
    last: int | None = setting(None, "only count this many of the latest training interactions", low=1)
    half_life: str | None = setting(None, "interactions count half as much after this time, such as 30d")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("window", "half_life"):
            if (words := getattr(self, name)) is not None:
                microseconds(name, words)


class MostPopular(Recommender):
    """Scores are an item's interactions in training, in its last part (`window`, `last`) or weighted by age
    (`half_life`: 2^(-age / half life)); with equal popularity, the lower id comes first. Training ends with its latest
    interaction.
    """

    name = "most-popular"
    title = "MostPopular"
    summary = "the most popular items of the training sessions"
    Settings = MostPopularSettings

    settings: MostPopularSettings
    counts: np.ndarray

    @classmethod
    def needs_times(cls, settings: Any) -> bool:
        return (settings.window, settings.last, settings.half_life) != (None, None, None)

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        if not self.needs_times(self.settings):
            self.counts = train.counts(self.n_items)
            return {}
        if train.times is None:
            raise LlmseqError("the training sessions have no times", "leave out window, last and half_life")
        if (self.settings.window or self.settings.half_life) and are_numbers(train.times):
            raise UsageError("the dataset has no times, its interactions are numbered", "use --set last=N instead")
        age = train.times.max(initial=0) - train.times
        counted = np.ones(len(age), dtype=bool)
        if self.settings.window:
            counted &= age < microseconds("window", self.settings.window)
        if self.settings.last:
            # With equal times, interactions of sessions that end later come first.
            latest = np.argsort(age[::-1], kind="stable")[: self.settings.last]
            counted &= np.isin(np.arange(len(age)), len(age) - 1 - latest)
        weights = None
        if self.settings.half_life:
            weights = 0.5 ** (age[counted] / microseconds("half_life", self.settings.half_life))
        self.counts = np.bincount(train.items[counted], weights=weights, minlength=self.n_items)
        return {"counted_interactions": float(counted.sum())}

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        # A stable sort keeps equally popular items in order of id.
        by_popularity = np.argsort(-self.counts, kind="stable")[: np.count_nonzero(self.counts)]
        longest = int(histories.lengths.max(initial=0)) if exclude_history else 0
        # A history can remove at most its own length from the list.
        best = by_popularity[: k + longest].astype(np.int32)
        size = max(1, _BLOCK_NUMBERS // max(len(best), 1))
        parts = [
            self._lists(histories.slice(start, min(start + size, len(histories))), best, k, exclude_history)
            for start in range(0, len(histories), size)
        ]
        return Ranking.concatenate(parts) if parts else self._lists(histories, best, k, exclude_history)

    def _lists(self, histories: Sessions, best: np.ndarray, k: int, exclude_history: bool) -> Ranking:
        """The first k of `best` that are not in the history."""
        allowed = np.ones((len(histories), len(best)), dtype=bool)
        if exclude_history:
            place = np.full(self.n_items, -1)
            place[best] = np.arange(len(best))
            rows, columns = histories.rows(), place[histories.items]
            allowed[rows[columns >= 0], columns[columns >= 0]] = False
        # Put allowed items first, keeping the order.
        order = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
        items = np.where(np.take_along_axis(allowed, order, axis=1), best[order], NO_ITEM)
        scores = np.where(items == NO_ITEM, -np.inf, self.counts[items])
        return filled_up(Ranking(items.astype(np.int32), scores.astype(np.float32)), k)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.counts = array(arrays, "counts", "if", (self.n_items,), low=0)


def microseconds(name: str, words: str) -> float:
    """ "7d" → 604800000000.0. Raises UsageError if it is not a duration."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", words.strip())
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"{name} cannot be '{words}'", f"for example --set {name}=7d; s, m, h, d or w")
    return float(match[1]) * _SECONDS[match[2]] * 1e6
