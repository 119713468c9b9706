"""SASRec: a transformer that reads a session from left to right and predicts the next item at every position.

Kang & McAuley, "Self-attentive sequential recommendation" (ICDM 2018). In addition: full softmax over the catalog, and
an initialisation in which the output is the last item's vector plus the harmonic mean of the session, as in LLMSeqSim.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from llmseq_cli.models.neural.batches import Batch
from llmseq_cli.models.neural.dropout import dropout
from llmseq_cli.models.neural.network import Encoder
from llmseq_cli.models.neural.neural_recommender import NeuralRecommender
from llmseq_cli.models.neural.paper_layout import PaperTransformer
from llmseq_cli.models.neural.settings import TransformerSettings
from llmseq_cli.models.neural.times import SessionTimes
from llmseq_cli.models.neural.transformer import Block, Transformer


class SASRec(NeuralRecommender):
    name = "sasrec"
    title = "SASRec"
    summary = "transformer that predicts the next item at every position of a session"
    Settings = TransformerSettings

    settings: TransformerSettings

    def make_encoder(self, dim: int) -> Encoder:
        settings = self.settings
        if settings.layout == "ours":
            return SASRecEncoder(dim, settings)
        return PaperTransformer(
            dim,
            length=settings.max_length,
            layers=settings.layers,
            heads=settings.heads,
            ffn_width=settings.ffn_multiplier * dim,
            activation=self.activation,
            dropout=settings.dropout,
            embedding_dropout=settings.dropout,
            norm_first=True,
            masked=False,
        )


class SASRecEncoder(Encoder):
    """make_block: see `Transformer`."""

    def __init__(self, dim: int, settings: TransformerSettings, make_block: Callable[[], Block] | None = None) -> None:
        super().__init__()
        self.positions = nn.Parameter(0.02 * torch.randn(settings.max_length, dim))
        self.transformer = Transformer(
            dim,
            layers=settings.layers,
            heads=settings.heads,
            inner=settings.ffn_multiplier * dim,
            activation="relu",
            dropout=settings.dropout,
            norm_first=True,
            init=settings.init,
            make_block=make_block,
        )
        self.norm = nn.LayerNorm(dim)
        self.dropout = settings.dropout
        self.times = SessionTimes(settings.time, dim, settings.heads)

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        x, bias = self.times(vectors + self.positions[: vectors.shape[1]], batch.times)
        x = dropout(x, self.dropout, self.training)
        hidden: Tensor = self.norm(self.transformer(x, causal=True, bias=bias))
        return hidden

    def last(self, vectors: Tensor, lengths: Tensor, times: Tensor | None = None) -> Tensor:
        x, bias = self.times(vectors + self.positions[: vectors.shape[1]], times)
        at = (lengths - 1).clamp(min=0)
        hidden: Tensor = self.norm(self.transformer(x, causal=True, at=at, bias=bias))[:, 0]
        return hidden * (lengths > 0)[:, None]
