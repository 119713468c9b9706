"""Embeddings for trials: loaded and reduced once in this process, and shared with all workers."""

from __future__ import annotations

import hashlib

import numpy as np

from llmseq_cli.data.dataset import Dataset
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.reduce import reduce_kept
from llmseq_cli.embeddings.stored import load_embeddings
from llmseq_cli.models.recommender import Recommender
from llmseq_cli.progress import Progress
from llmseq_cli.store.connection import Store
from llmseq_cli.tuning.executors import Executor
from llmseq_cli.tuning.space import Configuration
from llmseq_cli.tuning.units import VectorArrays, vector_arrays


class Inputs:
    """The embeddings of one process's trials."""

    def __init__(self, store: Store, dataset: Dataset, seed: int, progress: Progress) -> None:
        self.store, self.dataset, self.seed, self.progress = store, dataset, seed, progress
        self._loaded: dict[str, ItemEmbeddings] = {}
        self._shared: dict[tuple[str, str | None, int | None], VectorArrays] = {}

    def vectors(self, cls: type[Recommender], wanted: Configuration, executor: Executor) -> VectorArrays | None:
        """Where a worker finds the vectors of a configuration. Raises UsageError if they cannot be reduced so."""
        if wanted.embeddings is None:
            return None
        key = (wanted.embeddings, wanted.reduce, wanted.dim)
        if key not in self._shared:
            loaded = self._load(wanted.embeddings)
            classes = self.dataset.catalog.classes
            reduced = reduce_kept(
                self.store.folder, loaded, classes, wanted.reduce, wanted.dim, self.seed, self.progress
            )
            about, arrays = vector_arrays(f"vectors-{_digest(reduced)}", reduced)
            executor.share(arrays)
            self._shared[key] = about
        return self._shared[key]

    def _load(self, name: str) -> ItemEmbeddings:
        if name not in self._loaded:
            with self.store.read(f"reading the embeddings {name}") as con:
                number = self.dataset.info.dataset_id
                self._loaded[name] = load_embeddings(con, number, name, len(self.dataset.catalog))
        return self._loaded[name]


def _digest(embeddings: ItemEmbeddings) -> str:
    v = embeddings.vectors
    digest = hashlib.blake2b(repr((v.shape, embeddings.reduction)).encode(), digest_size=8)
    for part in [v] if isinstance(v, np.ndarray) else [v.data, v.indices, v.indptr]:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
