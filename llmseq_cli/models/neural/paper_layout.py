"""The networks of the paper's authors, which they built in Keras, for `layout=paper`.

Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339). Differences from our own networks:

- Sessions are padded at the front to `max_length` items with the mask vector, and items attend to this padding. So
  positions count from the end.
- Dropout is applied to the results of attention and feed-forward; SASRec and GRU4Rec also drop parts of the embeddings.
- There is no norm after the last block and none in the head.
- Items, the mask and positions start uniform in ±0.05, kernels as Glorot & Bengio (2010), biases at 0.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.errors import UsageError
from llmseq_cli.models.neural.batches import Batch
from llmseq_cli.models.neural.dropout import dropout
from llmseq_cli.models.neural.network import Encoder

UNIFORM = 0.05
"""Embeddings start uniformly between minus and plus this, as in Keras."""


class PaperTransformer(Encoder):
    """Blocks over sessions of exactly `length` positions.

    masked: the batch's places contain the mask instead of their items (BERT4Rec), and a mask is appended to a session
    to recommend; otherwise (SASRec) the last item's position predicts the next one. embedding_dropout: SASRec's dropout
    on the sum of item and position vectors.
    """

    def __init__(
        self,
        dim: int,
        *,
        length: int,
        layers: int,
        heads: int,
        ffn_width: int,
        activation: str,
        dropout: float,
        embedding_dropout: float,
        norm_first: bool,
        masked: bool,
    ) -> None:
        super().__init__()
        assert not (masked and embedding_dropout), "masks are computed once: they cannot be dropped each by itself"
        self.mask = nn.Parameter(torch.empty(1, dim).uniform_(-UNIFORM, UNIFORM))
        self.positions = nn.Parameter(torch.empty(length, dim).uniform_(-UNIFORM, UNIFORM))
        block = partial(
            _Block,
            dim,
            heads,
            ffn_width,
            activation=activation,
            dropout=dropout,
            norm_first=norm_first,
            causal=not masked,
        )
        self.blocks = nn.ModuleList([block() for _ in range(layers)])
        self.embedding_dropout = embedding_dropout
        self.masked = masked

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        """The output at every position of the batch, [n, length, dim]."""
        n, length, dim = vectors.shape
        everywhere = torch.arange(n * length, device=vectors.device)
        return self._run(vectors, batch, everywhere).view(n, length, dim)

    def at_places(self, vectors: Tensor, batch: Batch) -> Tensor:
        return self._run(vectors, batch, batch.places)

    def _run(self, vectors: Tensor, batch: Batch, places: Tensor) -> Tensor:
        n, length, _ = vectors.shape
        size = len(self.positions)
        asking = places // length * size + places % length + (size - batch.lengths)[places // length]
        # Positions after a session's end do not exist here, and their output is never read.
        asking = asking.clamp(max=n * size - 1)
        if not self.masked:
            return self._encode(vectors, batch.lengths, asking)
        return self._blocks(*self._masked(vectors, batch), asking)

    def _masked(self, vectors: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(float32[m, dim], the distinct vectors; int64[n, size], which of them is at each position).

        At a given position, the mask (also in padding) is the same vector in every session. So the first products need
        only a few rows.
        """
        n, length, dim = vectors.shape
        size = len(self.positions)
        places = self._places(batch.lengths, length)
        is_mask = torch.zeros(n * length, dtype=torch.bool, device=vectors.device).index_fill(0, batch.places, True)
        shown = (places >= 0) & ~is_mask[places.clamp(min=0)]
        steps = torch.arange(size, device=vectors.device).expand(n, size)
        items = vectors.reshape(n * length, dim)[places[shown]] + self.positions[steps[shown]]
        rows = torch.where(shown, size - 1 + shown.flatten().cumsum(0).view(n, size), steps)
        return torch.cat([self.mask + self.positions, items]), rows

    def _places(self, lengths: Tensor, length: int) -> Tensor:
        """int64[n, size]: the source of each position in the flattened items; negative for padding."""
        size = len(self.positions)
        source = torch.arange(size, device=lengths.device) - (size - lengths)[:, None]
        rows = torch.arange(len(lengths), device=lengths.device)[:, None] * length
        return torch.where(source >= 0, rows + source.clamp(max=length - 1), -1)

    def last(self, vectors: Tensor, lengths: Tensor, times: Tensor | None = None) -> Tensor:
        n, _, dim = vectors.shape
        if self.masked:
            vectors = torch.cat([vectors, vectors.new_zeros(n, 1, dim)], dim=1)
            vectors[torch.arange(n, device=vectors.device), lengths] = self.mask
            lengths = lengths + 1
        size = len(self.positions)
        return self._encode(vectors, lengths, torch.arange(1, n + 1, device=vectors.device) * size - 1)

    def _encode(self, vectors: Tensor, lengths: Tensor, asking: Tensor) -> Tensor:
        """vectors: float32[n, length, dim], padded at the end. asking: flattened positions of the sessions padded at
        the front. → float32[len(asking), dim]"""
        n, length, dim = vectors.shape
        places = self._places(lengths, length)
        real = vectors.reshape(n * length, dim)[places.clamp(min=0)]
        x = torch.where((places >= 0)[..., None], real, self.mask) + self.positions
        return self._blocks(dropout(x, self.embedding_dropout, self.training), None, asking)

    def _blocks(self, x: Tensor, rows: Tensor | None, asking: Tensor) -> Tensor:
        """x: [n, size, dim] or, with rows, the vectors they point to, see `_masked`."""
        *first, last = self.blocks
        for block in first:
            x, rows = block(x, None, rows), None
        said: Tensor = last(x, asking, rows)
        return said


class _Block(nn.Module):
    """norm_first: x + f(norm(x)), as in SASRec; otherwise norm(x + f(x)), as in BERT. causal: positions do not see
    later ones."""

    def __init__(
        self, dim: int, heads: int, ffn_width: int, *, activation: str, dropout: float, norm_first: bool, causal: bool
    ) -> None:
        super().__init__()
        if dim < heads:
            raise UsageError(f"{dim} dimensions cannot be divided among {heads} heads", f"heads can be 1 to {dim}")
        # As in Keras, a head gets dim // heads numbers, which may leave some unused.
        self.heads, self.width = heads, dim // heads
        inner = heads * self.width
        self.inward = nn.Linear(dim, 3 * inner)
        self.outward = nn.Linear(inner, dim)
        self.widen = glorot(nn.Linear(dim, ffn_width))
        self.narrow = glorot(nn.Linear(ffn_width, dim))
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.activation = functional.relu if activation == "relu" else functional.gelu
        self.dropout, self.norm_first, self.causal = dropout, norm_first, causal
        # Keras computes the fans of attention's kernels, [dim, heads, width] and [heads, width, dim], from their last
        # axes.
        _uniform(self.inward, heads * dim, self.width * dim)
        _uniform(self.outward, inner, heads * dim)

    def forward(self, x: Tensor, asking: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """x: [n, length, dim], or [m, dim] with rows, int64[n, length], the index of each position's vector. asking:
        flattened positions to compute, → [len(asking), dim]; None: all."""
        first, second = self.norms
        inward = self.inward(first(x) if self.norm_first else x)
        if rows is not None:
            inward = functional.embedding(rows, inward)
        n, length, _ = inward.shape
        q, k, v = inward.view(n, length, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        y = y.transpose(1, 2).reshape(n, length, -1)
        if asking is not None:
            y = y.reshape(n * length, -1)[asking]
        if rows is not None:
            x = functional.embedding(rows if asking is None else rows.flatten()[asking], x)
        elif asking is not None:
            x = x.reshape(n * length, -1)[asking]
        x = x + dropout(self.outward(y), self.dropout, self.training)
        if not self.norm_first:
            x = first(x)
        y = self.narrow(self.activation(self.widen(second(x) if self.norm_first else x)))
        x = x + dropout(y, self.dropout, self.training)
        return x if self.norm_first else second(x)


class PaperGRU(Encoder):
    """A recurrent layer whose states go directly into the head.

    The padding in front of sessions is the same for all: its states are computed once per step and assigned to sessions
    by length. So dropout draws once per step for the padding, and as usual for every item.
    """

    def __init__(self, dim: int, *, hidden: int, length: int, dropout: float) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.empty(1, dim).uniform_(-UNIFORM, UNIFORM))
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.length, self.dropout = length, dropout
        for name, weight in self.gru.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(weight)
            elif name.startswith("weight_hh"):
                nn.init.orthogonal_(weight)
            else:
                glorot_(weight, dim, 3 * hidden)

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        x = dropout(vectors, self.dropout, self.training)
        return dropout(self._states(x, batch.lengths), self.dropout, self.training)

    def last(self, vectors: Tensor, lengths: Tensor, times: Tensor | None = None) -> Tensor:
        places = (lengths - 1).clamp(min=0)
        return self._states(vectors, lengths)[torch.arange(vectors.shape[0], device=vectors.device), places]

    def _states(self, x: Tensor, lengths: Tensor) -> Tensor:
        padding = dropout(self.mask.expand(1, self.length, -1), self.dropout, self.training)
        before = torch.cat([x.new_zeros(1, self.gru.hidden_size), self.gru(padding)[0][0]])
        states: Tensor = self.gru(x, before[(self.length - lengths).clamp(min=0)][None])[0]
        return states


def glorot(layer: nn.Linear) -> nn.Linear:
    """The layer with its kernel initialised after Glorot & Bengio, and bias 0."""
    _uniform(layer, layer.in_features, layer.out_features)
    return layer


def glorot_(weight: Tensor, fan_in: int, fan_out: int) -> None:
    limit = (6 / (fan_in + fan_out)) ** 0.5
    nn.init.uniform_(weight, -limit, limit)


def _uniform(layer: Any, fan_in: int, fan_out: int) -> None:
    glorot_(layer.weight, fan_in, fan_out)
    nn.init.zeros_(layer.bias)
