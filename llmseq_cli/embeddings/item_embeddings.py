"""`ItemEmbeddings`: one vector per item of a catalog, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_PERMUTATION = 20  # gives this use of a seed its own random stream


@dataclass(frozen=True)
class ItemEmbeddings:
    """Vectors of all items of a catalog.

    vectors: float32[n_items, dim], or a sparse csr_array of the same shape for sources that are sparse.
    source, model: their origin, for example ("openai", "text-embedding-3-small").
    text: the template that made an item's text, for example "{title}".
    reduction: applied to them, for example "none", "pca" or "whiten@0.5".
    lengths: "keep" if models must not change the vectors' lengths, otherwise "unit".
    permuted: whether vectors were shuffled across items, see `permute`.
    """

    vectors: np.ndarray | csr_array
    source: str
    model: str
    text: str
    reduction: str = "none"
    permuted: bool = False
    lengths: str = "unit"

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def is_sparse(self) -> bool:
        return not isinstance(self.vectors, np.ndarray)

    @property
    def n_with_vector(self) -> int:
        """Items whose vector is not 0."""
        return len(self._rows_with_vector())

    def _rows_with_vector(self) -> np.ndarray:
        rows = self.vectors if isinstance(self.vectors, np.ndarray) else self.vectors.tocsr()
        return np.flatnonzero(np.asarray(abs(rows).sum(axis=1)).ravel())

    def permute(self, seed: int) -> ItemEmbeddings:
        """The same vectors shuffled across items: their statistics stay, their meaning is lost.

        A control that shows whether a model profits from the meaning of the vectors or only from their distribution.
        Items without a vector stay without one.
        """
        present = self._rows_with_vector()
        places = np.arange(self.vectors.shape[0])
        places[present] = np.random.default_rng([seed, _PERMUTATION]).permutation(present)
        return replace(self, vectors=self.vectors[places], permuted=True)

    def describe(self) -> dict[str, Any]:
        """Where the vectors came from, as stored with a run."""
        return {
            "source": self.source,
            "model": self.model,
            "text": self.text,
            "reduce": self.reduction,
            "dim": self.dim,
            **({"permuted": True} if self.permuted else {}),
            **({"lengths": self.lengths} if self.lengths != "unit" else {}),
        }


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, in the same directions; rows of zeros stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return unit
