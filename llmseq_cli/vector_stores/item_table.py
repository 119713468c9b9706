"""The content of a vector store: one row per item that the model can recommend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.errors import UsageError
from llmseq_cli.models.recommender import Recommender


@dataclass(frozen=True)
class ItemTable:
    """run: whose vectors these are. similarity: "dot", "cosine" or "euclidean", by which the model ranks items.

    numbers: int64[n], places of the items in the catalog. items, titles, categories: str[n]. vectors: float32[n, d].
    """

    run: str
    similarity: str
    numbers: np.ndarray
    items: list[str]
    titles: list[str]
    categories: list[str]
    vectors: np.ndarray

    @classmethod
    def of(cls, run: str, catalog: Catalog, model: Recommender) -> ItemTable:
        """Raises UsageError for a model that does not score by dense vectors."""
        space = model.item_space()
        if space is None:
            raise UsageError(
                f"{run} does not score items by dense vectors",
                "use a run of a neural model, or of llmseqsim with dense embeddings (--reduce whiten --dim 128)",
            )
        numbers = np.flatnonzero(space.candidates)
        columns = (catalog.external_ids, catalog.titles, catalog.classes)
        items, titles, categories = ([str(text) for text in column[numbers]] for column in columns)
        return cls(run, space.similarity, numbers, items, titles, categories, space.vectors[numbers])

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def rows(self) -> Iterator[tuple[int, str, str, str, list[float]]]:
        """(number, item, title, category, vector) one after the other."""
        for place, number in enumerate(self.numbers.tolist()):
            about = (self.items[place], self.titles[place], self.categories[place])
            yield number, *about, self.vectors[place].tolist()
