"""GRU4Rec: a recurrent network that predicts the next item after every item of a session.

Hidasi et al., "Session-based recommendations with recurrent neural networks" (ICLR 2016), trained on whole sessions
with full softmax over the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.models.neural.batches import Batch
from llmseq_cli.models.neural.dropout import dropout
from llmseq_cli.models.neural.network import Encoder
from llmseq_cli.models.neural.neural_recommender import NeuralRecommender
from llmseq_cli.models.neural.paper_layout import PaperGRU
from llmseq_cli.models.neural.settings import NeuralSettings
from llmseq_cli.models.neural.times import SessionTimes
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.settings import setting


@dataclass(frozen=True)
class GRU4RecSettings(NeuralSettings):
    hidden: int = setting(256, "units of each recurrent layer", low=1, high=8192, tune=(16, 512))
    layers: int = setting(1, "recurrent layers", low=1, high=16, tune=(1, 3))
    residual: bool = setting(True, "add the last item's vector to the network's output, which starts at zero")


class GRU4Rec(NeuralRecommender):
    name = "gru4rec"
    title = "GRU4Rec"
    summary = "recurrent network that predicts the next item after every item of a session"
    Settings = GRU4RecSettings
    reads_times = ("none", "input")

    settings: GRU4RecSettings

    def make_encoder(self, dim: int) -> Encoder:
        settings = self.settings
        if settings.layout == "ours":
            return GRU4RecEncoder(dim, settings)
        return PaperGRU(dim, hidden=settings.hidden, length=settings.max_length, dropout=settings.dropout)

    def head_width(self) -> int:
        return self.settings.hidden

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        if self.settings.layout == "paper" and self.settings.layers > 1:
            raise UsageError("layout=paper has one recurrent layer", "--set layers=1")
        return super().fit(train, context)


class GRU4RecEncoder(Encoder):
    def __init__(self, dim: int, settings: GRU4RecSettings) -> None:
        super().__init__()
        between = settings.dropout if settings.layers > 1 else 0.0
        self.gru = nn.GRU(dim, settings.hidden, settings.layers, batch_first=True, dropout=between)
        self.outward = nn.Linear(settings.hidden, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = settings.dropout
        self.residual = settings.residual
        if settings.residual:
            nn.init.zeros_(self.outward.weight)
            nn.init.zeros_(self.outward.bias)
        self.times = SessionTimes(settings.time, dim, 0)

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        x = dropout(self.times(vectors, batch.times)[0], self.dropout, self.training)
        return self._outcome(x, dropout(self.gru(x)[0], self.dropout, self.training))

    def last(self, vectors: Tensor, lengths: Tensor, times: Tensor | None = None) -> Tensor:
        vectors = self.times(vectors, times)[0]
        at = (torch.arange(vectors.shape[0], device=vectors.device), (lengths - 1).clamp(min=0))
        return self._outcome(vectors[at], self.gru(vectors)[0][at])

    def _outcome(self, x: Tensor, states: Tensor) -> Tensor:
        said = self.outward(states)
        outcome: Tensor = self.norm(x + said if self.residual else said)
        return outcome
