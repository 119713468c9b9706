"""Transformer blocks of SASRec and BERT4Rec for short sessions, padded at the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.errors import UsageError
from llmseq_cli.models.neural.dropout import dropout

_OWN = 64  # distance of a mask from itself: it has no information for itself

INITS = ("pool", "zero", "random")


def check_heads(dim: int, heads: int) -> None:
    """Raises UsageError if `dim` is not divisible by the number of heads."""
    if dim % heads:
        fitting = [str(n) for n in range(1, 13) if dim % n == 0]
        raise UsageError(
            f"{dim} dimensions cannot be divided among {heads} heads", f"heads can be {', '.join(fitting)}"
        )


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., "Attention is all you need", 2017), with dropout on its result."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.inward = nn.Linear(dim, 3 * dim)
        self.outward = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None, at: Tensor | None, places: Tensor | None = None) -> Tensor:
        """x: [n, length, dim]. mask: from `attention_mask`; None: every position sees itself and earlier ones. at:
        int64[n], the only query position of every session; None: all. → [n, length or 1, dim] places: int64[m], the
        query positions among all positions of all sessions: → [m, dim]"""
        n, length, dim = x.shape
        q, k, v = self.inward(x).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if at is not None:
            q = q[torch.arange(n, device=x.device), :, at].unsqueeze(2)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        y = _only(y.transpose(1, 2).reshape(n, -1, dim), places)
        y = self.outward(y)
        return dropout(y, self.dropout, self.training)

    @torch.no_grad()
    def start_as_mean(self) -> None:
        """Start as the mean of the visible positions, weighted by the mask, with the length of an item vector."""
        dim = self.outward.in_features
        self.inward.weight[: 2 * dim].mul_(0.1)  # queries and keys: nearly uniform attention
        self.inward.weight[2 * dim :].copy_(torch.eye(dim))
        self.outward.weight.copy_(torch.eye(dim) / dim**0.5)
        for bias in (self.inward.bias, self.outward.bias):
            bias.zero_()


def attention_mask(
    length: int,
    *,
    causal: bool,
    inside: Tensor | None,
    at: Tensor | None,
    decay: bool,
    device: torch.device,
    bias: Tensor | None = None,
) -> Tensor | None:
    """A bias for the logits of attention, or the visible positions: broadcast to [n, heads, asking, length].

    inside: bool[n, length], positions with an item. at: int64[n], the only query positions. decay: attention starts
    from weights 1, 1/2, 1/3, … by distance from the query position, like the harmonic pooling of LLMSeqSim. bias:
    float32[n, heads, asking, length], also added. Returns None for plain causal attention (torch's `is_causal`).
    """
    if causal and not decay and inside is None and at is None and bias is None:
        return None
    steps = torch.arange(length, device=device)
    distance = (steps[:, None] if at is None else at[:, None, None, None]) - steps
    seen = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    if inside is not None:
        seen = seen & inside[:, None, None]
    if not decay:
        return seen if bias is None else bias.masked_fill(~seen, -torch.inf)
    apart = distance.clamp(min=0) + 1 if causal else torch.where(distance == 0, _OWN, distance.abs())
    if bias is not None:
        return (bias - apart.float().log()).masked_fill(~seen, -torch.inf)
    return -apart.float().log().masked_fill(~seen, torch.inf)


def swiglu(x: Tensor) -> Tensor:
    gate, y = x.chunk(2, dim=-1)
    return functional.silu(gate) * y


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "swiglu": swiglu,
}


class FeedForward(nn.Module):
    """activation: relu, gelu, or swiglu: (SiLU(A x) ⊙ B x) C without biases (Shazeer, "GLU variants improve
    transformer", 2020)."""

    def __init__(self, dim: int, inner: int, activation: str, dropout: float) -> None:
        super().__init__()
        gated = activation == "swiglu"
        self.inward = nn.Linear(dim, 2 * inner if gated else inner, bias=not gated)
        self.outward = nn.Linear(inner, dim, bias=not gated)
        self.activation = _ACTIVATIONS[activation]
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        y = dropout(self.activation(self.inward(x)), self.dropout, self.training)
        return dropout(self.outward(y), self.dropout, self.training)


class Block(nn.Module):
    """norm_first: x + f(norm(x)), as in SASRec; otherwise norm(x + f(x)), as in BERT."""

    def __init__(self, dim: int, heads: int, inner: int, activation: str, dropout: float, norm_first: bool) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.feed_forward = FeedForward(dim, inner, activation, dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.norm_first = norm_first

    def forward(self, x: Tensor, mask: Tensor | None, at: Tensor | None, places: Tensor | None = None) -> Tensor:
        """See `Attention`."""
        first, second = self.norms
        asked = self.asked(x, at, places)
        if self.norm_first:
            x = asked + self.attention(first(x), mask, at, places)
            x = x + self.feed_forward(second(x))
            return x
        x = first(asked + self.attention(x, mask, at, places))
        x = second(x + self.feed_forward(x))
        return x

    def asked(self, x: Tensor, at: Tensor | None, places: Tensor | None) -> Tensor:
        """The places that ask, see `Attention`."""
        return _only(x if at is None else x[torch.arange(x.shape[0], device=x.device), at].unsqueeze(1), places)

    def start_at_zero(self) -> None:
        """Both branches start at zero, so the block passes on its input."""
        for layer in (self.attention.outward, self.feed_forward.outward):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)


class Transformer(nn.Module):
    """A stack of blocks. Initialisation: "pool" adds the harmonic mean of the visible positions to every position,
    "zero" passes on the input, "random" is the usual start. The first two need norm_first.

    make_block: creates a block other than `Block`, which then defines its own layer width.

    Raises UsageError if `dim` is not divisible by the number of heads.
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
        init: str,
        make_block: Callable[[], Block] | None = None,
    ) -> None:
        super().__init__()
        check_heads(dim, heads)
        make = make_block or partial(Block, dim, heads, inner, activation, dropout, norm_first)
        blocks = [make() for _ in range(layers)]
        if norm_first and init != "random":
            for block in blocks:
                block.start_at_zero()
        self.decay = norm_first and init == "pool"
        if self.decay:
            blocks[0].attention.start_as_mean()
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self,
        x: Tensor,
        causal: bool,
        inside: Tensor | None = None,
        at: Tensor | None = None,
        bias: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """x: float32[n, length, dim]. causal: a position sees only itself and earlier ones.

        inside: bool[n, length], which places may be looked at. at: int64[n], the only place of every session whose
        outcome is wanted, None for all. bias: float32[n, heads, length, length], added to the logits of attention.
        → float32[n, length or 1, dim]; of only `places`, int64[m] into all places of all sessions, float32[m, dim]:
        where few are wanted, the last block computes little more than those.
        """
        length = x.shape[1]
        *first, last = self.blocks
        make_mask = partial(attention_mask, length, causal=causal, inside=inside, decay=self.decay, device=x.device)
        mask = make_mask(at=None, bias=bias)
        for block in first:
            x = block(x, mask, None)
        if at is not None:
            mask = make_mask(at=at, bias=None if bias is None else only_at(bias, at))
        x = last(x, mask, at, places)
        return x


def _only(x: Tensor, places: Tensor | None) -> Tensor:
    """[m, dim], the places of [n, length, dim]; None: x as it is."""
    return x if places is None else x.flatten(0, 1).index_select(0, places)


def only_at(bias: Tensor, at: Tensor) -> Tensor:
    """The bias for the query positions `at`, int64[n], only: [n, heads, 1, length] from [n, heads, length, length]."""
    return bias[torch.arange(len(at), device=at.device), :, at].unsqueeze(2)
