"""`ItemEmbeddings`: one vector per item of a catalog, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class ItemEmbeddings:
    """Vectors of all items of a catalog.

    vectors: float32[n_items, dim], or a sparse csr_array of the same shape for sources that are sparse.
    source, model: who made them, for example ("openai", "text-embedding-3-small").
    text: the template that made an item's text, for example "{title}".
    reduction: what was done to them since, for example "none", "pca" or "whiten@0.5".
    """

    vectors: np.ndarray | csr_array
    source: str
    model: str
    text: str
    reduction: str = "none"

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

    @property
    def is_sparse(self) -> bool:
        return not isinstance(self.vectors, np.ndarray)

    @property
    def n_with_vector(self) -> int:
        """Items whose vector is not 0."""
        rows = self.vectors if isinstance(self.vectors, np.ndarray) else self.vectors.tocsr()
        return int(np.count_nonzero(abs(rows).sum(axis=1)))

    def describe(self) -> dict[str, Any]:
        """Where the vectors came from, as kept with a run."""
        return {
            "source": self.source,
            "model": self.model,
            "text": self.text,
            "reduce": self.reduction,
            "dim": self.dim,
        }
