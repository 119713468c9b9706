"""Map a model's answers to items of the catalog: by exact title, normalised title, or nearest embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.data.catalog import Catalog, normalise_title
from llmseq_cli.embeddings.products import item_products
from llmseq_cli.evaluation.ranking import NO_ITEM

KINDS = ("exact", "normalised", "nearest", "empty")
EXACT, NORMALISED, NEAREST, EMPTY = range(4)

_TEXTS_PER_BLOCK = 1024


@dataclass(frozen=True)
class Grounded:
    """Items of texts.

    items: int32[n], NO_ITEM where there is none. similarity: float32[n], 1 for titles, else of the text's and the
    item's vector. kinds: int8[n], places in KINDS; empty is a text without words, or one that has no vector.
    """

    items: np.ndarray
    similarity: np.ndarray
    kinds: np.ndarray


class Grounder:
    """Maps texts to items.

    Titles: where several items have the same, one that occurs in training goes before one that does not, then the most
    popular. Vectors: float32[n_items, dim], dense or sparse; the nearest is that of the largest dot product of vectors
    scaled to length 1 (the cosine), among items that occur in training, the lower id among equals. vectors_of: makes
    vectors of distinct texts in the same space; asked only for texts that are no title.
    """

    def __init__(self, catalog: Catalog, vectors: Any, vectors_of: Callable[[list[str]], Any]) -> None:
        self.vectors, self.vectors_of = vectors, vectors_of
        norms = _norms(vectors)
        self.inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
        self.allowed = catalog.in_train & (norms > 0)
        # The best comes last and so overwrites the others.
        order = np.lexsort((-np.arange(len(catalog)), catalog.popularity, catalog.in_train))
        titled = [(int(item), " ".join(str(catalog.titles[item]).split())) for item in order if catalog.titles[item]]
        self.by_title = {title: item for item, title in titled}
        self.by_normalised = {normalise_title(title): item for item, title in titled}
        self.by_normalised.pop("", None)

    def ground(self, texts: list[str]) -> Grounded:
        """Items of texts, which may repeat."""
        places: dict[str, int] = {}
        of_text = np.array([places.setdefault(" ".join(text.split()), len(places)) for text in texts], dtype=np.int64)
        distinct = self._distinct(list(places))
        return Grounded(distinct.items[of_text], distinct.similarity[of_text], distinct.kinds[of_text])

    def _distinct(self, texts: list[str]) -> Grounded:
        items = np.full(len(texts), NO_ITEM, dtype=np.int32)
        similarity = np.zeros(len(texts), dtype=np.float32)
        kinds = np.full(len(texts), EMPTY, dtype=np.int8)
        unknown = []
        for place, text in enumerate(texts):
            normalised = normalise_title(text)
            if text in self.by_title:
                items[place], similarity[place], kinds[place] = self.by_title[text], 1, EXACT
            elif normalised in self.by_normalised:
                items[place], similarity[place], kinds[place] = self.by_normalised[normalised], 1, NORMALISED
            elif normalised:
                unknown.append(place)
        if unknown:
            found, products = self._nearest(self.vectors_of([texts[place] for place in unknown]))
            items[unknown], similarity[unknown] = found, products
            kinds[unknown] = np.where(found >= 0, NEAREST, EMPTY)
        return Grounded(items, similarity, kinds)

    def _nearest(self, vectors: Any) -> tuple[np.ndarray, np.ndarray]:
        """(item, similarity) of each vector; NO_ITEM for a vector of zeros, which is near to nothing."""
        norms = _norms(vectors)
        items = np.full(len(norms), NO_ITEM, dtype=np.int32)
        similarity = np.zeros(len(norms), dtype=np.float32)
        if not self.allowed.any():
            return items, similarity
        products = item_products(self.vectors, self.inverse)
        for start in range(0, len(norms), _TEXTS_PER_BLOCK):
            block = slice(start, start + _TEXTS_PER_BLOCK)
            scores = np.where(self.allowed, products(vectors[block]), -np.inf)
            best = scores.argmax(axis=1)
            known = norms[block] > 0
            values = scores[np.arange(len(best)), best] / np.where(known, norms[block], 1)
            items[block] = np.where(known, best, NO_ITEM)
            similarity[block] = np.where(known, np.clip(values, -1, 1), 0)
        return items, similarity


def _norms(vectors: Any) -> np.ndarray:
    """Lengths of rows, float32[n]."""
    if isinstance(vectors, np.ndarray):
        norms: np.ndarray = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        return norms
    return np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1), dtype=np.float32).ravel())


def prefer_options(items: np.ndarray, rows: np.ndarray, options: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Items int32[n] named in answers to sessions (rows int[n]): where a session's options, int32[n_sessions, m], hold
    another item of the same title (groups, see `arrays.title_groups`), that one is meant.
    """
    row_of, column_of = np.nonzero(options >= 0)
    listed = options[row_of, column_of]
    if not len(listed) or not len(items):
        return items
    n_groups = int(groups.max()) + 2
    keys = row_of * n_groups + groups[listed] + 1
    order = np.argsort(keys, kind="stable")
    wanted = rows * n_groups + np.where(items >= 0, groups[items], -1) + 1
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found = (items >= 0) & (keys[order][place] == wanted)
    return np.where(found, listed[order][place], items).astype(np.int32)
