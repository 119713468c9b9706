"""A trained model that is ready for use: sessions in words go in, items with titles come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.moments import Moment, moments
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.models.base_models import MadeOfRuns
from llmseq_cli.models.recommender import Recommender


class Lists(Protocol):
    """What recommends: a `Recommender`, or what stands in for one."""

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking: ...


@dataclass(frozen=True)
class ReadyModel:
    """run, dataset: their names. repeats: whether lists may hold items of the session. items_shown: a hint that says
    where items can be looked up, where that is not the workspace."""

    run: str
    dataset: str
    catalog: Catalog
    model: Lists
    repeats: bool
    items_shown: str | None = None

    def find(self, text: str) -> int:
        """Dense id of the item with this id or title; see `Catalog.find`."""
        return self.catalog.find(text) if self.items_shown is None else self.catalog.find(text, self.items_shown)

    @cached_property
    def reads_times(self) -> bool:
        """Whether lists depend on the times of a session, where these are given."""
        return reads_times(self.model)

    def next_items(
        self, sessions: Sequence[Sequence[str]], k: int = 20, times: Sequence[Sequence[Moment] | None] | None = None
    ) -> list[list[dict[str, Any]]]:
        """The next items of every session, best first: rank, item, title, score.

        sessions: of ids or titles, oldest first. times: of the items of each session, see `moments`; None for a session
        without times. Raises LlmseqError for an item that is not known.
        """
        if k < 1:
            raise UsageError(f"-k is {k}", "give at least 1")
        items = [[self.find(text) for text in session] for session in sessions]
        given = [None] * len(items) if times is None else times
        return self.timed_lists(
            items, [None if one is None else moments(one, len(of)) for one, of in zip(given, items, strict=True)], k
        )

    def timed_lists(
        self, items: Sequence[Sequence[int]], times: Sequence[np.ndarray | None], k: int
    ) -> list[list[dict[str, Any]]]:
        """The same for dense ids and microseconds. Models that read no times ignore them."""
        found: list[list[dict[str, Any]]] = [[] for _ in items]
        timed = {place: one for place, one in enumerate(times) if self.reads_times and one is not None}
        for places in ([place for place in range(len(items)) if place not in timed], list(timed)):
            if not places:
                continue
            histories = Sessions.from_lists([items[place] for place in places])
            if places[0] in timed:
                histories = replace(histories, times=np.concatenate(list(timed.values())))
            for place, one in zip(places, self.lists(histories, k), strict=True):
                found[place] = one
        return found

    def lists(self, histories: Sessions, k: int) -> list[list[dict[str, Any]]]:
        """The next items of every history, as `next_items` has them."""
        ranking = self.model.recommend(histories, min(k, len(self.catalog)), exclude_history=not self.repeats)
        return [
            [
                {
                    "rank": place,
                    "item": str(self.catalog.external_ids[item]),
                    "title": str(self.catalog.titles[item]),
                    "score": score,
                }
                for place, (item, score) in enumerate(zip(items, scores, strict=True), 1)
                if item >= 0
            ]
            for items, scores in zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True)
        ]


def reads_times(model: Lists) -> bool:
    """Whether a model, or one that it is made of, looks at the times of a history. Without them, such a model scores as
    it was trained to for sessions whose times are hidden."""
    if isinstance(model, MadeOfRuns):
        return any(map(reads_times, model.base_models))
    return isinstance(model, Recommender) and model.needs_times(model.settings)
