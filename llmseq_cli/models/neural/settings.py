"""Settings shared by all neural recommenders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmseq_cli.models.neural.times import TIMES
from llmseq_cli.models.neural.transformer import INITS
from llmseq_cli.settings import Settings, setting

LOSSES = ("softmax", "sampled", "gbce")
SCHEDULES = ("constant", "linear", "cosine", "plateau")
VALIDATIONS = ("temporal", "random")
ITEM_VECTORS = ("trained", "text+free", "adapter", "adapter+free")
ITEM_INITS = ("random", "sessions")
NEGATIVES = ("mixed", "uniform")
HEADS = ("none", "projection")
WINDOWS = ("all", "last")
LAYOUTS = ("ours", "paper")
PRECISIONS = ("auto", "float32", "bfloat16")
RATES = {True: 1e-3, False: 3e-3}
"""Learning rates: what text, or what sessions say before training, is soon lost at high ones."""


@dataclass(frozen=True)
class NeuralSettings(Settings):
    """Settings of every neural model; each model's file adds its own.

    The defaults are the best of those tried with whitened embeddings, by NDCG@20 on the most recent 10 % of Amazon
    Beauty's training sessions; of equally good values, the smaller or simpler one. Those for leave-one-out are the best
    by NDCG@10 on its validation items: there, training ends just before these in every session, so the last training
    item resembles the target no more than the others do, and long sessions are as common in training as in the test.
    """

    dim: int | None = setting(
        None,
        "size of the item vectors; none: as the embeddings, or dim_without_embeddings",
        low=1,
        high=8192,
        tune=(16, 32, 64, 128, 256, 512),
    )
    dim_without_embeddings: int = setting(
        64,
        "size of the item vectors without dim and embeddings",
        low=1,
        high=8192,
        by_split={"leave-one-out": 128},
    )
    max_length: int = setting(
        20, "how many of a session's last items the model reads", low=1, high=4096, by_split={"leave-one-out": 50}
    )
    windows: str = setting(
        "last",
        "which items of longer sessions training reads: only the last ones, or all, window by window",
        choices=WINDOWS,
    )
    last_weight: int = setting(
        4,
        "weight of a session's last item among the training targets",
        low=1,
        high=1000,
        by_split={"leave-one-out": 1},
    )
    recency: float | None = setting(
        None,
        "sample recent sessions more: the probability halves with every such share of sessions; none: uniform",
        low=1e-3,
        high=1e3,
    )
    dropout: float = setting(0.4, "dropout rate", low=0, high=0.95, tune=(0.0, 0.9))
    batch_size: int = setting(128, "sessions per step", low=1, high=65536, tune=(32, 512), log=True)
    learning_rate: float | None = setting(
        None,
        "learning rate of AdamW; none: 0.001 with embeddings or item_init=sessions, otherwise 0.003",
        low=0,
        high=10,
        tune=(1e-4, 1e-2),
        log=True,
    )
    weight_decay: float = setting(0.1, "weight decay of AdamW", low=0, high=10, tune=(0.0, 0.1))
    grad_clip: float | None = setting(
        None, "clip the norm of the gradient at this; none: do not clip", low=0, tune=(1, 100), log=True
    )
    epochs: int = setting(
        100, "most passes over the training sessions; 0: do not train, to use --warm unchanged", low=0, high=100_000
    )
    patience: int = setting(
        5, "stop after this many epochs without a better NDCG@20; 0: train on all sessions for all epochs", low=0
    )
    schedule: str = setting("constant", "learning rate schedule", choices=SCHEDULES)
    ema_decay: float | None = setting(
        None,
        "decay of the moving average of the weights, which is validated and stored; 0: no average; none: 0.998 "
        "with embeddings or item_init=sessions, otherwise 0.995",
        low=0,
        high=0.99999,
    )
    validation: str = setting(
        "temporal",
        "which sessions to hold out for early stopping: the most recent, or random ones",
        choices=VALIDATIONS,
    )
    validation_sessions: int = setting(
        5000, "most sessions to validate on; at most a tenth of all if they are held out of training", low=1, high=10**9
    )
    refit: bool = setting(True, "afterwards, train again on all sessions for the best number of epochs")
    refit_validation: bool = setting(
        False,
        "afterwards, train again with the validation items of the split, where it has some, for the best number of "
        "epochs (with patience=0 at once, for all epochs); published leave-one-out tables do not",
    )
    loss: str = setting("softmax", "softmax over the whole catalog, sampled softmax, or gBCE", choices=LOSSES)
    negatives: int = setting(512, "negatives that a sampled loss draws per step", low=1, high=1_000_000)
    negatives_for: int | None = setting(
        None,
        "number of a step's targets that share the negatives of the sampled softmax; none: all",
        low=1,
        high=1_000_000,
    )
    negatives_from: str = setting(
        "mixed",
        "how the sampled softmax draws negatives: mixed, half by popularity and half uniformly, weighted so that the "
        "loss is that of the whole catalog; or uniform, unweighted",
        choices=NEGATIVES,
    )
    gbce_t: float = setting(0.75, "t of gBCE: 0 is binary cross-entropy, 1 is fully calibrated", low=0, high=1)
    item_vectors: str = setting(
        "trained",
        "how to use embeddings: to initialise trained vectors, or frozen, with a trained map, a free vector, or both",
        choices=ITEM_VECTORS,
    )
    item_init: str = setting(
        "random",
        "initial item vectors without embeddings: random, or from co-occurrence in the training sessions; "
        "with embeddings, whether to append the latter to them",
        choices=ITEM_INITS,
    )
    scale: float = setting(1.0, "norm of the item vectors before training", low=1e-6, high=1e6)
    time: str = setting(
        "none",
        "how the network uses the times of a session: not at all, the gaps between items as input, their ages as a "
        "bias of attention, or both",
        choices=TIMES,
    )
    layout: str = setting(
        "ours",
        "layers, padding and initial values: ours, or the paper's, for which head, init, norm_first, "
        "attend_masks and residual have no effect",
        choices=LAYOUTS,
    )
    head: str = setting(
        "none", "layers between the network and the item vectors: none, or the paper's projection head", choices=HEADS
    )
    cold_items: bool = setting(False, "also recommend items that never occur in training, by their text")
    precision: str = setting(
        "auto",
        "precision of the products with the catalog; auto: bfloat16 if the device supports it natively",
        choices=PRECISIONS,
    )
    threads: int | None = setting(None, "CPU threads; none: torch's default", low=1, high=4096)
    warm: str = setting("", "the run to continue training from (--warm)")
    compile: bool = setting(False, "use torch.compile; train without it if it fails")

    @classmethod
    def unset(cls, split: str | None, *, informed: bool) -> dict[str, Any]:
        dim = (cls.defaults_on(split) if split else {}).get("dim_without_embeddings", cls.dim_without_embeddings)
        clip = cls.__dataclass_fields__["grad_clip"].metadata["setting"].tune[-1]  # the loosest that is searched
        return {"dim": dim, "learning_rate": RATES[informed], "grad_clip": clip}


@dataclass(frozen=True)
class TransformerSettings(NeuralSettings):
    layers: int = setting(1, "transformer blocks", low=1, high=64, tune=(1, 4))
    heads: int = setting(2, "attention heads", low=1, high=64, tune=(1, 2, 4))
    ffn_multiplier: int = setting(1, "width of the feed-forward layers, as a multiple of dim", low=1, high=16)
    init: str = setting(
        "pool",
        "what the untrained network adds to an item's vector: the session's harmonic mean, nothing, or random",
        choices=INITS,
    )
