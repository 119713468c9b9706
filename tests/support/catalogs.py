"""Catalogs made of titles."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.catalog import Catalog


def catalog_of(titles):
    n = len(titles)
    ids = np.array([f"i{item}" for item in range(n)], dtype=object)
    ones = np.ones(n, dtype=np.int64)
    blank = np.array([""] * n, dtype=object)
    return Catalog(ids, np.array(titles, dtype=object), blank, ones, ones.astype(bool))
