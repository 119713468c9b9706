"""Transformer blocks of SASRec and BERT4Rec on short sessions that are filled up at the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.errors import UsageError
from llmseq_cli.models.neural.dropout import dropout


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., "Attention is all you need", 2017), with dropout on its result."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.inward = nn.Linear(dim, 3 * dim)
        self.outward = nn.Linear(dim, dim)

    def forward(self, x: Tensor, causal: bool, mask: Tensor | None, at: Tensor | None) -> Tensor:
        """x: [n, length, dim]. mask: bool[n, 1, 1, length], which places may be looked at. at: int64[n], the only
        place of every session that asks; None means that all do. → [n, length or 1, dim]"""
        n, length, dim = x.shape
        q, k, v = self.inward(x).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if at is not None:
            q = q[torch.arange(n, device=x.device), :, at].unsqueeze(2)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and at is None)
        y = self.outward(y.transpose(1, 2).reshape(n, -1, dim))
        return dropout(y, self.dropout, self.training)


class FeedForward(nn.Module):
    def __init__(self, dim: int, inner: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.inward = nn.Linear(dim, inner)
        self.outward = nn.Linear(inner, dim)
        self.activation = functional.relu if activation == "relu" else functional.gelu
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        y = dropout(self.activation(self.inward(x)), self.dropout, self.training)
        return dropout(self.outward(y), self.dropout, self.training)


class Block(nn.Module):
    """norm_first: x + f(norm(x)), as in SASRec; else norm(x + f(x)), as in BERT."""

    def __init__(
        self, dim: int, heads: int, inner: int, activation: str, dropout: float, norm_first: bool, zero_start: bool
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.feed_forward = FeedForward(dim, inner, activation, dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.norm_first = norm_first
        if zero_start:
            for layer in (self.attention.outward, self.feed_forward.outward):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, causal: bool, mask: Tensor | None = None, at: Tensor | None = None) -> Tensor:
        first, second = self.norms
        asked = x if at is None else x[torch.arange(len(x), device=x.device), at].unsqueeze(1)
        if self.norm_first:
            x = asked + self.attention(first(x), causal, mask, at)
            return x + self.feed_forward(second(x))
        x = first(asked + self.attention(x, causal, mask, at))
        return second(x + self.feed_forward(x))


class Transformer(nn.Module):
    """Blocks in turn. zero_start: every block hands on at first what it gets.

    Raises UsageError where vectors of `dim` numbers cannot be shared among the heads.
    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int,
        heads: int,
        inner: int,
        activation: str,
        dropout: float,
        norm_first: bool,
        zero_start: bool,
    ) -> None:
        super().__init__()
        if dim % heads:
            fitting = [str(n) for n in range(1, 13) if dim % n == 0]
            raise UsageError(
                f"{dim} dimensions cannot be shared among {heads} heads", f"heads can be {', '.join(fitting)}"
            )
        self.blocks = nn.ModuleList(
            Block(dim, heads, inner, activation, dropout, norm_first, zero_start) for _ in range(layers)
        )

    def forward(self, x: Tensor, causal: bool, mask: Tensor | None = None, at: Tensor | None = None) -> Tensor:
        """x: float32[n, length, dim]. causal: a place sees only itself and those before it.

        mask: bool[n, 1, 1, length], which places may be looked at. at: int64[n], the only place of every session whose
        outcome is wanted, None for all. → float32[n, length or 1, dim]
        """
        for number, block in enumerate(self.blocks):
            x = block(x, causal, mask, at if number == len(self.blocks) - 1 else None)
        return x
