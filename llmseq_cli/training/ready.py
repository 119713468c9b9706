"""A trained model that is ready for use: sessions in words go in, items with titles come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import Ranking


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

    def next_items(self, sessions: Sequence[Sequence[str]], k: int = 20) -> list[list[dict[str, Any]]]:
        """The next items of every session, best first: rank, item, title, score.

        sessions: of ids or titles, oldest first. Raises LlmseqError for an item that is not known.
        """
        if k < 1:
            raise UsageError(f"-k is {k}", "give at least 1")
        return self.lists(Sessions.from_lists([[self.find(text) for text in session] for session in sessions]), k)

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
