"""Find the items whose vectors are nearest to an item's, to inspect an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.dataset import find_dataset, load_catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.reduce import reduce_kept
from llmseq_cli.embeddings.stored import load_embeddings
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import top_k, without_noise

if TYPE_CHECKING:
    from llmseq_cli.progress import Progress
    from llmseq_cli.store.connection import Store


def neighbors_of(
    store: Store,
    item: str,
    embeddings: str,
    progress: Progress,
    *,
    dataset: str | None,
    reduce: str | None,
    dim: int | None,
    k: int,
    seed: int,
) -> dict[str, Any]:
    """See `Workspace.neighbors`."""
    if k < 1:
        raise UsageError(f"-k is {k}", "give at least 1")
    with store.read("looking for neighbors") as con:
        info = find_dataset(con, dataset)
        catalog = load_catalog(con, info)
        number = catalog.find(item)
        loaded = load_embeddings(con, info.dataset_id, embeddings, len(catalog))
    reduced = reduce_kept(store.folder, loaded, catalog.classes, reduce, dim, seed, progress)
    near = nearest_items(reduced, number, min(k, len(catalog)))

    def about(one: int) -> dict[str, Any]:
        return {"item": str(catalog.external_ids[one]), "title": str(catalog.titles[one])}

    listed = zip(near.items[0].tolist(), near.scores[0].tolist(), strict=True)
    rows = [
        {"rank": place, **about(one), "similarity": score}
        for place, (one, score) in enumerate(listed, 1)
        if one != NO_ITEM
    ]
    return {**about(number), "dataset": info.name, "embeddings": reduced.describe(), "neighbors": rows}


def nearest_items(embeddings: ItemEmbeddings, item: int, k: int) -> Ranking:
    """The k items with the largest cosine to the item, Ranking of [1, k] without the item itself.

    Items without a vector have no neighbours.
    """
    v = embeddings.vectors
    if isinstance(v, np.ndarray):
        products, squares = v @ v[item], np.einsum("ij,ij->i", v, v)
    else:
        products = (v @ v[[item]].T.tocsr()).toarray().ravel()
        squares = np.asarray(v.multiply(v).sum(axis=1)).ravel()
    norms = np.sqrt(squares * squares[item])
    cosines = np.divide(products, norms, out=np.full(len(norms), -np.inf, dtype=np.float32), where=norms > 0)
    return top_k(without_noise(cosines[None, :]), k, exclude=Sessions.from_lists([[item]]))
