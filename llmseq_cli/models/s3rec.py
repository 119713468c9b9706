"""S3-Rec: SASRec after self-supervised pre-training on items, their attributes, and parts of sessions.

Zhou et al., "S3-Rec: Self-supervised learning for sequential recommendation with mutual information maximization" (CIKM
2020). Pre-training reads sessions in both directions (see `neural.pretraining`), then next-item training continues from
its weights, left to right, as in SASRec. The attributes of an item are the keywords of its class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.models.neural.batches import Windows
from llmseq_cli.models.neural.dropout import dropout
from llmseq_cli.models.neural.loop import Job, train
from llmseq_cli.models.neural.losses import softmax_loss
from llmseq_cli.models.neural.network import Encoder
from llmseq_cli.models.neural.pretraining import (
    TASKS,
    Attributes,
    Pretraining,
    PretrainingBatch,
    drawn_softmax_loss,
    mask_items_and_segment,
)
from llmseq_cli.models.neural.settings import TransformerSettings
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.sasrec import SASRec, SASRecEncoder
from llmseq_cli.settings import setting


@dataclass(frozen=True)
class S3RecSettings(TransformerSettings):
    pretrain_epochs: int = setting(10, "passes of pre-training; 0: none, which is SASRec", low=0, high=100_000)
    mask: float = setting(0.2, "share of a session's items to mask in pre-training", low=0.01, high=1, tune=(0.1, 0.6))
    aap: float = setting(0.2, "weight of predicting an item's attributes from the item", low=0, tune=(0.0, 1.0))
    mip: float = setting(1.0, "weight of predicting masked items from the session", low=0, tune=(0.0, 2.0))
    map: float = setting(1.0, "weight of predicting masked items' attributes from the session", low=0, tune=(0.0, 2.0))
    sp: float = setting(0.5, "weight of predicting a masked segment from the session", low=0, tune=(0.0, 2.0))


class S3Rec(SASRec):
    name = "s3rec"
    title = "S3-Rec"
    summary = "SASRec after pre-training on items, their attributes, and parts of sessions"
    Settings = S3RecSettings

    layouts = ("ours",)

    settings: S3RecSettings

    def make_encoder(self, dim: int) -> Encoder:
        return S3RecEncoder(dim, self.settings)

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        settings, self._pretrain_seconds = self.settings, 0.0
        wanted = settings.pretrain_epochs and (settings.aap or settings.map)
        if wanted and not Attributes.of(context.catalog.classes[np.unique(train.items)]).names:
            context.progress.message("items have no classes: pre-training without the tasks about attributes")
        figures = super().fit(train, context)
        return figures | {"pretrain_epochs": settings.pretrain_epochs, "pretrain_seconds": self._pretrain_seconds}

    def prepare(self, job: Job, sessions: Sessions, context: FitContext) -> None:
        """Pre-train on the job's training sessions, with separate checkpoints."""
        settings = self.settings
        if not settings.pretrain_epochs:
            return
        pretraining = self._pretraining(job, Attributes.of(context.catalog.classes[self.item_ids]))
        windows = Windows(sessions, settings.max_length, 2, every=settings.windows == "all", recency=settings.recency)
        if not pretraining.weights or not len(windows):
            raise UsageError(
                "there is nothing to pre-train on", "give mip or sp a weight above 0, and max_length 2 or more"
            )
        state = train(
            replace(
                job,
                network=pretraining,
                windows=windows,
                make_batch=self._masked,
                loss=pretraining,
                settings=replace(settings, epochs=settings.pretrain_epochs, compile=False),
                ema_decay=0.0,
                validate=None,
                epochs=settings.pretrain_epochs,
                factors=None,
                pause=None,
                title=f"Pre-training {job.title.lower()}",
                checkpoints=job.checkpoints and job.checkpoints.beside("pretraining"),
            )
        )
        self._pretrain_seconds += state.seconds

    def _pretraining(self, job: Job, attributes: Attributes) -> Pretraining:
        encoder = self.network.encoder
        assert isinstance(encoder, S3RecEncoder)
        return Pretraining(
            self.network,
            encoder.both_ways,
            {task: getattr(self.settings, task) for task in TASKS},
            attributes if attributes.names else None,
            self._item_loss(job),
            job.ranks,
        ).to(self.device)

    def _item_loss(self, job: Job) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        if self.settings.loss == "softmax":
            return partial(softmax_loss, chunk=job.chunk, precision=job.precision)
        return partial(drawn_softmax_loss, negatives=self.settings.negatives)

    def _masked(self, items: np.ndarray, lengths: np.ndarray, random: np.random.Generator) -> PretrainingBatch:
        return mask_items_and_segment(items, lengths, random, self.settings.mask, self.device)


class S3RecEncoder(SASRecEncoder):
    def both_ways(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        length = vectors.shape[1]
        inside = torch.arange(length, device=vectors.device) < lengths[:, None]
        x = dropout(vectors + self.positions[:length], self.dropout, self.training)
        hidden: Tensor = self.norm(self.transformer(x, causal=False, inside=inside))
        return hidden
