"""eSASRec: SASRec with gated blocks, trained against a few sampled items instead of the whole catalog.

Tikhonovich et al., "eSASRec: Enhancing transformer-based recommendations in a modular fashion" (RecSys 2025), with the
blocks of LiGR (Borisyuk et al., "From features to transformers: Redefining ranking for scalable impact", 2025):

    x + σ(W x) ⊙ attention(norm(x)), then x + σ(W x) ⊙ feed-forward(norm(x))

Negatives are drawn uniformly, as published; a few targets share theirs, while the authors draw for each. Layer width,
heads, dropout and number of negatives are those published for Amazon Beauty under leave-one-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from llmseq_cli.models.neural.network import Encoder
from llmseq_cli.models.neural.settings import TransformerSettings
from llmseq_cli.models.neural.transformer import Block
from llmseq_cli.models.sasrec import SASRec, SASRecEncoder
from llmseq_cli.settings import with_default


@dataclass(frozen=True)
class ESASRecSettings(TransformerSettings):
    heads: int = with_default(TransformerSettings, "heads", 1)
    ffn_multiplier: int = with_default(TransformerSettings, "ffn_multiplier", 4, tune=(1, 4))
    dropout: float = with_default(TransformerSettings, "dropout", 0.2)
    loss: str = with_default(TransformerSettings, "loss", "sampled")
    negatives: int = with_default(TransformerSettings, "negatives", 256)
    negatives_for: int | None = with_default(TransformerSettings, "negatives_for", 8)
    negatives_from: str = with_default(TransformerSettings, "negatives_from", "uniform")


class ESASRec(SASRec):
    name = "esasrec"
    title = "eSASRec"
    summary = "SASRec with gated blocks and a sampled softmax"
    Settings = ESASRecSettings
    layouts = ("ours",)

    settings: ESASRecSettings

    def make_encoder(self, dim: int) -> Encoder:
        settings = self.settings
        make_block = partial(LiGRBlock, dim, settings.heads, settings.ffn_multiplier * dim, settings.dropout)
        return SASRecEncoder(dim, settings, make_block)


class LiGRBlock(Block):
    """Both branches go through a gate computed from the block's input."""

    def __init__(self, dim: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__(dim, heads, inner, "swiglu", dropout, norm_first=True)
        self.gates = nn.ModuleList([nn.Linear(dim, dim), nn.Linear(dim, dim)])

    def forward(self, x: Tensor, mask: Tensor | None, at: Tensor | None, places: Tensor | None = None) -> Tensor:
        asked = self.asked(x, at, places)
        x = asked + torch.sigmoid(self.gates[0](asked)) * self.attention(self.norms[0](x), mask, at, places)
        x = x + torch.sigmoid(self.gates[1](x)) * self.feed_forward(self.norms[1](x))
        return x
