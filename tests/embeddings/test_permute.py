"""Vectors dealt out among the items: the same vectors, each with another item."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings

N = 200


def embeddings(sparse: bool) -> ItemEmbeddings:
    vectors = np.random.default_rng(2).normal(size=(N, 5)).astype(np.float32)
    vectors[[3, 77]] = 0
    return ItemEmbeddings(csr_array(vectors) if sparse else vectors, "test", "m", "{title}", "pca")


def dense(made: ItemEmbeddings) -> np.ndarray:
    return made.vectors if isinstance(made.vectors, np.ndarray) else made.vectors.toarray()


@pytest.mark.parametrize("sparse", [False, True])
def test_the_vectors_stay_and_the_items_change(sparse):
    before, after = embeddings(sparse), embeddings(sparse).permute(0)
    assert after.is_sparse == sparse
    np.testing.assert_array_equal(np.sort(dense(before), axis=0), np.sort(dense(after), axis=0))
    assert (dense(after)[[3, 77]] == 0).all(), "items without a vector stay without"
    assert (dense(before) != dense(after)).any(axis=1).sum() > 0.95 * N
    assert after.describe() == before.describe() | {"permuted": True}


def test_the_seed_decides():
    one = embeddings(False)
    np.testing.assert_array_equal(one.permute(1).vectors, one.permute(1).vectors)
    assert (one.permute(1).vectors != one.permute(2).vectors).any()
