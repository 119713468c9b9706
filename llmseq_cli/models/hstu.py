"""HSTU: layers that add up a session's items with individual weights, and gate the sum.

Zhai et al., "Actions speak louder than words: Trillion-parameter sequential transducers for generative recommendations"
(ICML 2024):

    U, V, Q, K = SiLU(W norm(x))
    A = SiLU(Q Kᵀ + position bias + time bias) / n, over the positions so far
    x + W′(norm(A V) ⊙ U)

Without a softmax, an item's weight does not depend on the number of other items. The time bias comes with `time=bias`.
Different from the paper: the softmax over the whole catalog, and an initialisation in which every layer passes on its
input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.models.neural.batches import Batch
from llmseq_cli.models.neural.dropout import dropout
from llmseq_cli.models.neural.network import Encoder
from llmseq_cli.models.neural.neural_recommender import NeuralRecommender
from llmseq_cli.models.neural.settings import NeuralSettings
from llmseq_cli.models.neural.times import SessionTimes
from llmseq_cli.models.neural.transformer import check_heads
from llmseq_cli.settings import setting


@dataclass(frozen=True)
class HSTUSettings(NeuralSettings):
    layers: int = setting(2, "layers", low=1, high=64, tune=(1, 4))
    heads: int = setting(2, "number of heads", low=1, high=64, tune=(1, 2, 4))
    init: str = setting(
        "zero", "what the untrained layers add to an item's vector: zero or random", choices=("zero", "random")
    )


class HSTU(NeuralRecommender):
    name = "hstu"
    title = "HSTU"
    summary = "gated layers that add up a session's items without a softmax"
    Settings = HSTUSettings
    layouts = ("ours",)

    settings: HSTUSettings

    def make_encoder(self, dim: int) -> Encoder:
        return HSTUEncoder(dim, self.settings)


class HSTUEncoder(Encoder):
    def __init__(self, dim: int, settings: HSTUSettings) -> None:
        super().__init__()
        check_heads(dim, settings.heads)
        layers = [HSTULayer(dim, settings.heads, settings.max_length, settings.dropout) for _ in range(settings.layers)]
        if settings.init == "zero":
            for layer in layers:
                nn.init.zeros_(layer.outward.weight)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)
        self.dropout = settings.dropout
        self.times = SessionTimes(settings.time, dim, settings.heads)

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        return self._outcome(vectors, batch.times)

    def last(self, vectors: Tensor, lengths: Tensor, times: Tensor | None = None) -> Tensor:
        at = (torch.arange(vectors.shape[0], device=vectors.device), (lengths - 1).clamp(min=0))
        return self._outcome(vectors, times)[at] * (lengths > 0)[:, None]

    def _outcome(self, vectors: Tensor, times: Tensor | None) -> Tensor:
        x, bias = self.times(vectors, times)
        x = dropout(x, self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, bias)
        outcome: Tensor = self.norm(x)
        return outcome


class HSTULayer(nn.Module):
    """longest: most items of a session to read, the n of the formula."""

    def __init__(self, dim: int, heads: int, longest: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.longest, self.dropout = heads, longest, dropout
        self.norm = nn.LayerNorm(dim)
        self.inward = nn.Linear(dim, 4 * dim)
        self.outward = nn.Linear(dim, dim, bias=False)
        self.sum_norm = nn.LayerNorm(dim)
        self.by_distance = nn.Parameter(torch.zeros(heads, longest))

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x: [n, length, dim]. bias: [n, heads, length, length], from the times, or None."""
        n, length, dim = x.shape
        gate, *parts = functional.silu(self.inward(self.norm(x))).chunk(4, dim=-1)
        q, k, v = (part.view(n, length, self.heads, -1).transpose(1, 2) for part in parts)
        steps = torch.arange(length, device=x.device)
        distance = steps[:, None] - steps
        logits = q @ k.transpose(2, 3) + self.by_distance[:, distance.clamp(min=0)]
        if bias is not None:
            logits = logits + bias
        weights = functional.silu(logits) * (distance >= 0) / self.longest
        said = self.sum_norm((weights @ v).transpose(1, 2).reshape(n, length, dim)) * gate
        outcome: Tensor = x + self.outward(dropout(said, self.dropout, self.training))
        return outcome
