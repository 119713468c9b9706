"""BERT4Rec: a transformer that reads a session in both directions and fills in masked items.

Sun et al., "BERT4Rec: Sequential recommendation with bidirectional encoder representations from transformer" (CIKM
2019), with full softmax over the catalog. To recommend, a mask is appended to the session.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.models.neural.batches import Batch, on_device
from llmseq_cli.models.neural.dropout import dropout
from llmseq_cli.models.neural.network import Encoder
from llmseq_cli.models.neural.neural_recommender import NeuralRecommender
from llmseq_cli.models.neural.paper_layout import PaperTransformer
from llmseq_cli.models.neural.settings import TransformerSettings
from llmseq_cli.models.neural.times import SessionTimes
from llmseq_cli.models.neural.transformer import Transformer
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.settings import setting, with_default


@dataclass(frozen=True)
class BERT4RecSettings(TransformerSettings):
    ffn_multiplier: int = with_default(TransformerSettings, "ffn_multiplier", 2)
    mask: float = setting(0.3, "share of a session's items that training masks", low=0.01, high=1, tune=(0.05, 0.9))
    mask_last: float = setting(
        1.0, "share of sessions whose last item is also masked, as when recommending", low=0, high=1
    )
    attend_masks: bool | None = setting(
        None, "whether items attend to masked positions; none: with embeddings yes, without no"
    )
    copies: int = setting(1, "masked copies of every session per epoch, each masked differently", low=0, high=1000)
    last_only: int = setting(
        0, "additional copies of every session per epoch, with only the last item masked", low=0, high=1000
    )
    patience: int = with_default(TransformerSettings, "patience", 20)
    norm_first: bool = setting(True, "layer norm before attention and feed-forward; false: after them, as in BERT")


class BERT4Rec(NeuralRecommender):
    name = "bert4rec"
    title = "BERT4Rec"
    summary = "transformer that fills in masked items of a session from both sides"
    Settings = BERT4RecSettings
    activation = "gelu"

    settings: BERT4RecSettings

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        # Random vectors learn more if training shows no masks either, as in use; vectors from embeddings do not.
        if self.settings.attend_masks is None:
            self.settings = replace(self.settings, attend_masks=context.embeddings is not None)
        if self.copies() < 1:
            raise UsageError("copies and last_only are both 0: there is nothing to train on", "--set copies=1")
        return super().fit(train, context)

    def make_encoder(self, dim: int) -> Encoder:
        settings = self.settings
        if settings.layout == "ours":
            return BERT4RecEncoder(dim, settings)
        return PaperTransformer(
            dim,
            length=settings.max_length,
            layers=settings.layers,
            heads=settings.heads,
            ffn_width=settings.ffn_multiplier * dim,
            activation=self.activation,
            dropout=settings.dropout,
            embedding_dropout=0.0,
            norm_first=False,
            masked=True,
        )

    def window(self) -> int:
        return super().window() if self.settings.layout == "ours" else self.settings.max_length

    def history_length(self) -> int:
        """In the paper's layout, the mask takes one of the session's places."""
        return self.settings.max_length - (self.settings.layout == "paper")

    def copies(self) -> int:
        return self.settings.copies + self.settings.last_only

    def make_batch(
        self,
        items: np.ndarray,
        lengths: np.ndarray,
        random: np.random.Generator,
        copy: np.ndarray | None = None,
    ) -> Batch:
        """Masked items predict themselves; every session has at least one masked and one visible item.

        copy: int64[n]; from number `copies` on, only the last item is masked.
        """
        as_in_use = random.random(len(items)) < self.settings.mask_last
        steps, last = np.arange(items.shape[1]), (lengths - 1)[:, None]
        draws = np.where(steps <= last, random.random(items.shape), 2.0)
        masked = (draws < self.settings.mask) | (draws == draws.min(axis=1, keepdims=True))
        masked |= as_in_use[:, None] & (steps == last)
        if self.settings.last_only:
            last_only = np.full(len(items), self.settings.copies == 0) if copy is None else copy >= self.settings.copies
            masked = np.where(last_only[:, None], steps == last, masked)
        if self.settings.attend_masks is False:
            masked[:, 0] &= ~(masked | (steps > last)).all(axis=1)
        return on_device(items, lengths, np.flatnonzero(masked), items[masked], self.device)


class BERT4RecEncoder(Encoder):
    """The mask is a learnt vector, which replaces the vectors of the items to predict."""

    def __init__(self, dim: int, settings: BERT4RecSettings) -> None:
        super().__init__()
        self.mask = nn.Parameter(0.02 * torch.randn(1, dim))
        self.positions = nn.Parameter(0.02 * torch.randn(settings.max_length + 1, dim))
        self.transformer = Transformer(
            dim,
            layers=settings.layers,
            heads=settings.heads,
            inner=settings.ffn_multiplier * dim,
            activation="gelu",
            dropout=settings.dropout,
            norm_first=settings.norm_first,
            init=settings.init,
        )
        self.norm = nn.LayerNorm(dim)
        self.dropout = settings.dropout
        self.attend_masks = settings.attend_masks is not False
        self.times = SessionTimes(settings.time, dim, settings.heads)

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        return self._hidden(vectors, batch, None)

    def at_places(self, vectors: Tensor, batch: Batch) -> Tensor:
        return self._hidden(vectors, batch, batch.places)

    def _hidden(self, vectors: Tensor, batch: Batch, places: Tensor | None) -> Tensor:
        """Of all places, or of these."""
        n, length, dim = vectors.shape
        x = vectors.reshape(n * length, dim).index_copy(0, batch.places, self.mask.expand(len(batch.places), dim))
        inside = _inside(batch.lengths, length)
        times = batch.times
        if times is not None:
            times = _known(times, inside.reshape(-1).index_fill(0, batch.places, False).view(n, length))
        x, bias = self.times(x.view(n, length, dim) + self._positions(batch.lengths, length), times)
        x = dropout(x, self.dropout, self.training)
        if not self.attend_masks:
            inside = inside.reshape(-1).index_fill(0, batch.places, False).view(n, length)
        hidden: Tensor = self.norm(self.transformer(x, causal=False, inside=inside, bias=bias, places=places))
        return hidden

    def last(self, vectors: Tensor, lengths: Tensor, times: Tensor | None = None) -> Tensor:
        n, length, dim = vectors.shape
        x = torch.cat([vectors, vectors.new_zeros(n, 1, dim)], dim=1)
        x[torch.arange(n, device=x.device), lengths] = self.mask
        if times is not None:
            times = functional.pad(_known(times, _inside(lengths, length)), (0, 1))
            times[:, -1] = times[:, -2]
        x, bias = self.times(x + self._positions(lengths + 1, length + 1), times)
        inside = _inside(lengths + 1, length + 1)
        if not self.attend_masks:  # except if there is nothing else to attend to
            inside[torch.arange(n, device=x.device), lengths] = lengths == 0
        hidden: Tensor = self.norm(self.transformer(x, causal=False, inside=inside, at=lengths, bias=bias))[:, 0]
        return hidden

    def _positions(self, lengths: Tensor, length: int) -> Tensor:
        """Positions from the end, [n, length, dim], so that the mask after a session of any length has the same
        position."""
        steps = torch.arange(length, device=lengths.device)
        return functional.embedding((lengths[:, None] - 1 - steps).clamp(min=0), self.positions)


def _known(times: Tensor, known: Tensor) -> Tensor:
    """int64[n, length]: the times; unknown ones are those of the previous item. known: bool[n, length]."""
    return torch.where(known, times, times[:, :1]).cummax(dim=1).values


def _inside(lengths: Tensor, length: int) -> Tensor:
    """bool[n, length]: positions with an item of the session."""
    return torch.arange(length, device=lengths.device) < lengths[:, None]
