"""An approximate index of item vectors, for catalogs of millions: HNSW, by usearch (the extra `ann`).

Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small World
graphs" (IEEE TPAMI 2020). One extra number per vector turns the largest product into the nearest vector, after Bachrach
et al., "Speeding up the Xbox recommender system using a Euclidean transformation for inner-product spaces" (RecSys
2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmseq_cli.embeddings.products import threads
from llmseq_cli.errors import NotInstalledError
from llmseq_cli.evaluation.ranking import NO_ITEM
from llmseq_cli.progress import Progress

_LINKS = 16
_EF_CONSTRUCTION = 128
_ITEMS_AT_ONCE = 20_000
_KIND = "f16"  # half the memory of float32; results are scored with the original vectors


class NearestIndex:
    """Finds most of the items whose vectors are most similar to a vector: by cosine, dot product or −distance.

    Equal vectors give an equal index: one thread builds it, in the order of the items. Searching uses all threads, and
    the result does not depend on their number.
    """

    def __init__(self, index: Any, longest: float) -> None:
        self._index, self._longest = index, longest

    def __len__(self) -> int:
        return len(self._index)

    @classmethod
    def build(cls, vectors: np.ndarray, items: np.ndarray, similarity: str, progress: Progress) -> NearestIndex:
        """Build an index of the vectors of `items` (int[n], none of them 0) in float32[n_items, dim]. similarity:
        cosine, dot or euclidean. Raises LlmseqError if usearch is not installed.
        """
        usearch = _usearch()
        longest = _longest(vectors)
        width = vectors.shape[1] + (similarity == "dot")
        index = usearch.Index(
            ndim=width,
            metric="l2sq" if similarity == "euclidean" else "ip",
            dtype=_KIND,
            connectivity=_LINKS,
            expansion_add=_EF_CONSTRUCTION,
        )
        with progress.task(f"Indexing {len(items):,} items", len(items), "items") as task:
            for start in range(0, len(items), _ITEMS_AT_ONCE):
                keys = items[start : start + _ITEMS_AT_ONCE]
                index.add(keys.astype(np.uint64), _laid_out(vectors[keys], similarity, longest), threads=1)
                task.advance(len(keys))
        return cls(index, longest)

    def search(self, vectors: np.ndarray, n: int, ef_search: int) -> np.ndarray:
        """int32[n_vectors, n]: the items found for each vector float32[n_vectors, dim], NO_ITEM if there are fewer.

        ef_search: candidates that the search keeps, at least n; more of them find more of the nearest items.
        """
        queries = np.pad(vectors / self._longest, ((0, 0), (0, self._index.ndim - vectors.shape[1])))
        self._index.expansion_search = max(ef_search, n)
        found = self._index.search(np.ascontiguousarray(queries), n, threads=threads())
        keys, counts = np.atleast_2d(found.keys), np.atleast_1d(getattr(found, "counts", len(found.keys)))
        items = np.full((len(vectors), n), NO_ITEM, dtype=np.int32)
        items[:, : keys.shape[1]] = keys.astype(np.int64)
        items[np.arange(n) >= counts[:, None]] = NO_ITEM
        return items

    def to_array(self) -> np.ndarray:
        """The index as uint8[n_bytes]."""
        return np.frombuffer(self._index.save(), dtype=np.uint8)

    @classmethod
    def from_array(cls, array: np.ndarray, vectors: np.ndarray) -> NearestIndex:
        """The inverse of `to_array`, given the same vectors; the array is not copied. Raises LlmseqError if usearch is
        not installed.
        """
        made = cls(_usearch().Index.restore(array, view=True), _longest(vectors))
        made._buffer = array
        return made

    _buffer: np.ndarray | None = None
    """The memory that the index reads; it must live as long as the index."""


def _usearch() -> Any:
    try:
        import usearch.index
    except ImportError as error:
        raise NotInstalledError(
            "index=hnsw needs the package 'usearch'", "ann", ", or leave it at index=exact"
        ) from error
    return usearch.index


def _longest(vectors: np.ndarray) -> float:
    squares = np.einsum("ij,ij->i", vectors, vectors)
    return float(np.sqrt(squares.max(initial=0))) or 1.0


def _laid_out(vectors: np.ndarray, similarity: str, longest: float) -> np.ndarray:
    """Transform vectors so that the nearest by the index's metric are the most similar."""
    scaled = vectors / np.float32(longest)
    squares = np.einsum("ij,ij->i", scaled, scaled)
    if similarity == "cosine":
        unit: np.ndarray = scaled / np.sqrt(squares)[:, None]
        return unit
    if similarity == "euclidean":
        return scaled
    return np.concatenate([scaled, np.sqrt(np.maximum(0, 1 - squares))[:, None]], axis=1)
