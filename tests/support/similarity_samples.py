"""Catalogs, vectors and sessions that tests of similarity models share."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.sparse import csr_array

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions

N_ITEMS = 300


def catalog(n: int) -> Catalog:
    names = np.array([f"i{item}" for item in range(n)], dtype=object)
    return Catalog(names, names, np.full(n, "", dtype=object), np.ones(n, dtype=np.int64), np.ones(n, dtype=bool))


@cache
def some_vectors() -> np.ndarray:
    """Half of the numbers are 0, lengths differ, item 5 has no vector, item 9 has that of item 200."""
    random = np.random.default_rng(8)
    vectors = random.normal(size=(N_ITEMS, 12)) * random.integers(0, 2, size=(N_ITEMS, 12))
    vectors *= random.uniform(0.5, 2, size=(N_ITEMS, 1))
    vectors[5] = 0
    vectors[9] = vectors[200]
    return vectors.astype(np.float32)


@cache
def some_prompts() -> Sessions:
    random = np.random.default_rng(9)
    return Sessions.from_lists([random.integers(0, N_ITEMS, size=random.integers(0, 9)) for _ in range(300)])


def as_kind(vectors: np.ndarray, sparse: bool):
    return csr_array(vectors) if sparse else vectors
