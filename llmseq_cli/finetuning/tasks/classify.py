"""Classify (Boz et al., Section 4.3): from a fixed list of popular and diverse items, name those closest to the next
item.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError
from llmseq_cli.evaluation.ranking import NO_ITEM
from llmseq_cli.finetuning.tasks.task import Categories, Ingredients, Material, PromptTask


class Classify(PromptTask):
    name = "classify"
    label = "LLMSeqPromptClass"
    needs = "categories"
    trains_on = "categories"

    def options(self, prompts: Sessions, ingredients: Ingredients) -> np.ndarray:
        items = _categories(ingredients).items
        return np.broadcast_to(items, (len(prompts), len(items)))

    def material(self, prompts: Sessions, targets: np.ndarray, ingredients: Ingredients) -> Material:
        answers = _categories(ingredients).nearest(targets, ingredients.k)
        return Material(self.options(prompts, ingredients), answers)


def _categories(ingredients: Ingredients) -> Categories:
    if ingredients.categories is None:
        raise LlmseqError("there are no categories", "name item embeddings with --embeddings")
    return ingredients.categories


def choose_categories(
    vectors: np.ndarray, counts: np.ndarray, groups: np.ndarray, clusters: int, seed: int
) -> np.ndarray:
    """The items that represent clusters, int32[c], by ascending id.

    k-means on the vectors (float32[n_items, dim], rows of length 1 or 0) of the titled items that occur in training;
    each cluster is represented by its most popular item, with counts (int64[n_items]) of occurrences in training. There
    are fewer than `clusters` if there are fewer items or titles.
    """
    from sklearn.cluster import KMeans

    items = np.flatnonzero((counts > 0) & (groups >= 0) & (np.abs(vectors).sum(axis=1) > 0))
    if not len(items):
        raise LlmseqError("no item has a title, a vector and an occurrence in training", "check --embeddings")
    n_clusters = min(clusters, len(items))
    clustered = KMeans(n_clusters, n_init=1, random_state=seed).fit_predict(vectors[items])
    order = np.lexsort((items, -counts[items], clustered))
    _, first = np.unique(clustered[order], return_index=True)
    chosen = np.sort(items[order][first])
    _, unique = np.unique(groups[chosen], return_index=True)
    return chosen[np.sort(unique)].astype(np.int32)


def categories_of(items: np.ndarray, vectors: Any) -> Categories:
    """Categories whose closeness to an item is the dot product of vectors.

    vectors: float32[n_items, dim], rows of length 1 or 0. An item without a vector is close to no item.
    """
    transposed = np.ascontiguousarray(vectors[items].T)

    def nearest(targets: np.ndarray, k: int) -> np.ndarray:
        order = np.argsort(-(vectors[targets] @ transposed), axis=1, kind="stable")[:, :k]
        known = np.abs(vectors[targets]).sum(axis=1) > 0
        return np.where(known[:, None], items[order], NO_ITEM).astype(np.int32)

    return Categories(items, nearest)
