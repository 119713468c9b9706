"""The items whose vectors are nearest to an item's: a look at what embeddings have understood."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.top_k import top_k, without_noise


def nearest_items(embeddings: ItemEmbeddings, item: int, k: int) -> Ranking:
    """The k items with the largest cosine to the item, Ranking of [1, k] without the item itself.

    Items without a vector are near to none.
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
