"""The input of a stack: one row of features for each item in a list of a base model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.models.gains import gains, is_in_history
from llmseq_cli.models.item_traits import ItemTraits
from llmseq_cli.models.saved_arrays import array

WORDS = ("popularity", "age", "text")
"""Item traits that can be used as features."""

_OF_A_LIST = 4
_OF_THE_LISTS = 2
_LATEST = 3  # number of history items whose texts an item's text is compared with
_TRAITS = 4  # rows of `ItemTraits.values`: newness, then popularity in three windows


@dataclass(frozen=True)
class ItemKnowledge:
    """Facts about the items besides the lists.

    words: which of WORDS are used. traits: float32[4, n_items] of `ItemTraits`, or None.
    vectors: float32[n_items, dim] of length 1 or 0, or None.
    """

    words: tuple[str, ...] = ()
    traits: np.ndarray | None = None
    vectors: np.ndarray | None = None

    @staticmethod
    def of(words: tuple[str, ...], train: Sessions, n_items: int, vectors: np.ndarray | None) -> ItemKnowledge:
        """vectors: of the items' texts, float[n_items, dim], if "text" is used."""
        traits = ItemTraits.of(train, n_items).values if {"popularity", "age"} & set(words) else None
        if "text" not in words or vectors is None:
            return ItemKnowledge(words, traits)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return ItemKnowledge(words, traits, (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32))

    @property
    def n_columns(self) -> int:
        widths = {"popularity": _TRAITS - 1, "age": 1, "text": _LATEST}
        return sum(widths[word] for word in self.words)

    def columns(self, histories: Sessions, rows: np.ndarray, items: np.ndarray) -> list[np.ndarray]:
        """float32[n] for each column; rows: the history of each item."""
        columns = []
        if self.traits is not None:
            places = [*([0] if "age" in self.words else []), *(range(1, _TRAITS) if "popularity" in self.words else [])]
            columns += [self.traits[place, items] for place in places]
        if self.vectors is not None:
            columns += [self._likeness(histories, rows, items, place) for place in range(1, _LATEST + 1)]
        return columns

    def _likeness(self, histories: Sessions, rows: np.ndarray, items: np.ndarray, place: int) -> np.ndarray:
        """The cosine of every item's text with that of its history's last item (place 1) or an earlier one; NaN if the
        history is shorter."""
        assert self.vectors is not None
        at = histories.offsets[1:] - place
        there = at >= histories.offsets[:-1]
        earlier = np.zeros(len(histories), dtype=np.int64)
        earlier[there] = histories.items[at[there]]
        cosines = np.einsum("ij,ij->i", self.vectors[earlier[rows]], self.vectors[items])
        return np.where(there[rows], cosines, np.nan).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        known = {"item_traits": self.traits, "item_vectors": self.vectors}
        return {name: values for name, values in known.items() if values is not None}

    @staticmethod
    def restored(words: tuple[str, ...], arrays: Mapping[str, np.ndarray], n_items: int) -> ItemKnowledge:
        """The inverse of `arrays`. Raises DamagedError."""
        traits = vectors = None
        if {"popularity", "age"} & set(words):
            traits = array(arrays, "item_traits", "f", (_TRAITS, n_items))
        if "text" in words:
            vectors = array(arrays, "item_vectors", "f", (n_items, None))
        return ItemKnowledge(words, traits, vectors)


@dataclass(frozen=True)
class ListedItems:
    """The items of all lists of some histories; those of a history are adjacent, ordered by number.

    rows: int64[n], the history of each item. items: int64[n].
    features: float32[n, n_features]. For each base model: the item's gain, rank, score, and distance to the best score
    of the list, NaN if the list lacks the item; then the share of lists that contain it and the length of the history;
    then the columns of `ItemKnowledge`.
    """

    rows: np.ndarray
    items: np.ndarray
    features: np.ndarray

    @staticmethod
    def of(
        rankings: Sequence[Ranking],
        histories: Sessions,
        n_items: int,
        knowledge: ItemKnowledge,
        *,
        exclude_history: bool = True,
    ) -> ListedItems:
        """rankings: the base models' lists for these histories, including items of the history."""
        own = [is_in_history(ranking, histories, n_items) for ranking in rankings]
        keys = np.arange(len(histories), dtype=np.int64)[:, None] * n_items
        wanted = [
            (ranking.items != NO_ITEM) & ~(its_own & exclude_history)
            for ranking, its_own in zip(rankings, own, strict=True)
        ]
        listed = [(keys + ranking.items)[kept] for ranking, kept in zip(rankings, wanted, strict=True)]
        union = np.unique(np.concatenate(listed))
        rows, items = np.divmod(union, n_items)
        features = np.full((len(union), n_features(len(rankings), knowledge)), np.nan, dtype=np.float32)
        for place, (ranking, its_own) in enumerate(zip(rankings, own, strict=True)):
            columns = slice(_OF_A_LIST * place, _OF_A_LIST * (place + 1))
            features[np.searchsorted(union, listed[place]), columns] = _said(ranking, its_own)[wanted[place]]
        said = np.isfinite(features[:, : _OF_A_LIST * len(rankings) : _OF_A_LIST]).mean(axis=1)
        more = [said, histories.lengths[rows], *knowledge.columns(histories, rows, items)]
        for column, values in enumerate(more, _OF_A_LIST * len(rankings)):
            features[:, column] = values
        return ListedItems(rows, items, features)

    def take(self, places: np.ndarray) -> ListedItems:
        return ListedItems(self.rows[places], self.items[places], self.features[places])

    @staticmethod
    def concatenate(parts: Sequence[ListedItems]) -> ListedItems:
        return ListedItems(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.features for part in parts]),
        )


def n_features(n_base_models: int, knowledge: ItemKnowledge) -> int:
    return _OF_A_LIST * n_base_models + _OF_THE_LISTS + knowledge.n_columns


def _said(ranking: Ranking, own: np.ndarray) -> np.ndarray:
    """float32[n, depth, 4]: a list's values for its items. Items of the history (own) do not affect the others."""
    listed = ranking.items != NO_ITEM
    counted = listed & ~own
    rank = np.cumsum(counted, axis=1) + ~counted
    scores = np.where(listed, ranking.scores, np.nan)
    best = np.where(counted, ranking.scores, -np.inf).max(axis=1, initial=-np.inf)
    behind = scores - np.where(np.isfinite(best), best, np.nan)[:, None]
    return np.stack([gains(ranking, own, "zscore"), rank, scores, behind], axis=2).astype(np.float32)
