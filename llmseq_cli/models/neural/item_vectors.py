"""The vectors of the items: trained from chance, trained from embeddings, or embeddings below a trained map."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class ItemVectors(nn.Module):
    """float32[n_rows, dim] when called: the input and the output vectors of all items.

    text: float32[n_rows, width] or None, with rows of length 1 (0 for items without text).
    uniform: numbers that start at random lie between minus and plus this; None: see `_random_rows`.
    kind "trained": parameters, from `text` where there is one (width = dim) and at random elsewhere.
    kind "adapter": A·text with a trained map A (at first: a rotation), nothing of its own for an item.
    kind "adapter+free": A·text + a vector of the item's own, which starts at 0.
    kind "text+free": text + a vector of the item's own, which starts at 0, so that weight decay pulls to the text.
    """

    text: Tensor | None
    adapter: nn.Linear | None
    vectors: nn.Parameter | None

    def __init__(
        self, n_rows: int, dim: int, kind: str, scale: float, text: np.ndarray | None, *, uniform: float | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("text", None)
        self.register_module("adapter", None)
        self.register_parameter("vectors", None)
        vectors = _random_rows(n_rows, dim, scale) if uniform is None else _uniform_rows(n_rows, dim, uniform * scale)
        if text is None:
            self.vectors = nn.Parameter(vectors)
            return
        given = torch.from_numpy(np.ascontiguousarray(text, dtype=np.float32)) * scale
        if kind == "trained":
            known = given.abs().sum(dim=1, keepdim=True) > 0
            self.vectors = nn.Parameter(torch.where(known, given, vectors))
            return
        self.text = given
        if kind.startswith("adapter"):
            self.adapter = nn.Linear(given.shape[1], dim, bias=False)
            nn.init.orthogonal_(self.adapter.weight)
        if kind.endswith("free"):
            self.vectors = nn.Parameter(torch.zeros(n_rows, dim))

    def forward(self) -> Tensor:
        if self.text is None:
            assert self.vectors is not None
            return self.vectors
        mapped = self.text if self.adapter is None else self.adapter(self.text)
        return mapped if self.vectors is None else mapped + self.vectors


def _random_rows(n_rows: int, dim: int, scale: float) -> Tensor:
    """Directions at random, rows about as long as `scale`."""
    rows: Tensor = torch.randn(n_rows, dim) * (scale / dim**0.5)
    return rows


def _uniform_rows(n_rows: int, dim: int, most: float) -> Tensor:
    return torch.empty(n_rows, dim).uniform_(-most, most)
