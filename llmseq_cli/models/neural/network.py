"""`Network`: item vectors, a model's encoder, and the head between its output and the items."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.models.neural.batches import Batch
from llmseq_cli.models.neural.item_vectors import ItemVectors


class Encoder(nn.Module, ABC):
    """Implemented in each model's file: vectors of a session's items → representation of the session."""

    @abstractmethod
    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        """vectors: float32[n, length, dim] of `batch.items` → float32[n, length, dim], for training."""

    def at_places(self, vectors: Tensor, batch: Batch) -> Tensor:
        """float32[m, d], the representation at the batch's places, for the loss."""
        hidden: Tensor = self(vectors, batch)
        return hidden.flatten(0, 1).index_select(0, batch.places)

    @abstractmethod
    def last(self, vectors: Tensor, lengths: Tensor, times: Tensor | None = None) -> Tensor:
        """float32[n, length, dim], lengths int64[n] → float32[n, dim], the prediction of the next item; a length may be
        0.

        times: int64[n, length], microseconds, if known.
        """


class ProjectionHead(nn.Module):
    """Dense layer, activation, layer norm, then the item vectors and a bias for every item, as in the paper.

    width: of the input, None for dim. norm: False as in the paper's program, which has no layer norm here.
    """

    def __init__(self, dim: int, n_rows: int, activation: str, *, width: int | None = None, norm: bool = True) -> None:
        super().__init__()
        self.dense = nn.Linear(width or dim, dim)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(n_rows, 1))
        self.activation = functional.relu if activation == "relu" else functional.gelu

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.pad(self.norm(self.activation(self.dense(hidden))), (0, 1), value=1.0)


class Network(nn.Module):
    """The score of an item is the product of its output vector with the session's vector.

    n_targets: number of rows, at the start, that occur in training. The others are never negatives: they would only
    learn that they are never right.
    """

    def __init__(
        self, item_vectors: ItemVectors, encoder: Encoder, head: ProjectionHead | None, n_targets: int
    ) -> None:
        super().__init__()
        self.n_targets = n_targets
        self.item_vectors = item_vectors
        self.encoder = encoder
        self.head = head

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(hidden float32[m, d] at the loss positions, output vectors float32[n_targets, d])."""
        items = self.item_vectors()
        return self._head(self.encoder.at_places(functional.embedding(batch.items, items), batch), items)

    def encode(self, items: Tensor, lengths: Tensor, vectors: Tensor, times: Tensor | None = None) -> Tensor:
        """Session vectors for the next item, to multiply with `output`: float32[n, d].

        items: int64[n, length], rows. vectors: `item_vectors()`. times: int64[n, length], if known.
        """
        last = self.encoder.last(functional.embedding(items, vectors), lengths, times)
        return last if self.head is None else self.head(last)

    def output(self, vectors: Tensor) -> Tensor:
        """The output vectors of all items, float32[n_rows, d]."""
        return vectors if self.head is None else torch.cat([vectors, self.head.bias], dim=1)

    def _head(self, hidden: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return (hidden if self.head is None else self.head(hidden)), self.output(items)[: self.n_targets]
