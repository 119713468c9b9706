"""Settings that all neural recommenders share."""

from __future__ import annotations

from dataclasses import dataclass

from llmseq_cli.settings import Settings, setting

LOSSES = ("softmax", "sampled", "gbce")
SCHEDULES = ("constant", "linear", "cosine", "plateau")
VALIDATIONS = ("temporal", "random")
ITEM_VECTORS = ("trained", "text+free", "adapter", "adapter+free")
HEADS = ("none", "projection")
WINDOWS = ("all", "last")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class NeuralSettings(Settings):
    """What every neural model can be told; a model's own settings stand in its file.

    Defaults: the best of those tried with whitened embeddings by NDCG@20 on the most recent 10 % of the training
    sessions of Amazon Beauty, where several are as good the smaller or simpler.
    """

    dim: int | None = setting(
        None,
        "dimensions of item vectors; none: those of the embeddings, or 64",
        low=1,
        high=8192,
        tune=(16, 32, 64, 128, 256, 512),
    )
    max_length: int = setting(20, "items of a session that the model reads, the last ones", low=1, high=4096)
    windows: str = setting(
        "last", "of sessions longer than that, training reads the last items, or all in turn", choices=WINDOWS
    )
    last_weight: int = setting(4, "how often the last item of a session counts among the targets", low=1, high=1000)
    recency: float | None = setting(
        None,
        "share of the sessions after which an older one is drawn half as often; none: all alike",
        low=1e-3,
        high=1e3,
    )
    dropout: float = setting(0.4, "share of numbers dropped in training", low=0, high=0.95, tune=(0.0, 0.9))
    batch_size: int = setting(128, "sessions a step", low=1, high=65536, tune=(32, 512), log=True)
    learning_rate: float | None = setting(
        None, "of AdamW; none: 0.001 from embeddings, 0.003 from chance", low=0, high=10, tune=(1e-4, 1e-2), log=True
    )
    weight_decay: float = setting(0.1, "of AdamW", low=0, high=10, tune=(0.0, 0.1))
    grad_clip: float | None = setting(
        None, "largest norm of the gradient; none: as it comes", low=0, tune=(1, 100), log=True
    )
    epochs: int = setting(100, "upper bound of passes over the training sessions", low=1, high=100_000)
    patience: int = setting(
        5, "epochs without a better NDCG@20 before training stops; 0: train on all sessions, all epochs", low=0
    )
    schedule: str = setting("constant", "how the learning rate falls", choices=SCHEDULES)
    ema_decay: float | None = setting(
        None,
        "weights are averaged over the steps, older ones counting this much less each; 0: not; none: 0.998 from "
        "embeddings, 0.995 from chance",
        low=0,
        high=0.99999,
    )
    validation: str = setting(
        "temporal", "sessions held out (10 %, at most 5,000): the most recent, or at random", choices=VALIDATIONS
    )
    refit: bool = setting(True, "then train anew on all sessions, for as many epochs as were best")
    loss: str = setting("softmax", "over the whole catalog, or over sampled negatives", choices=LOSSES)
    negatives: int = setting(512, "items drawn a step by the sampled losses", low=1, high=1_000_000)
    gbce_t: float = setting(0.75, "t of gbce: 0 is binary cross-entropy, 1 is calibrated", low=0, high=1)
    item_vectors: str = setting(
        "trained",
        "how embeddings enter: as the start of trained vectors, frozen below a trained map, or that and a free vector",
        choices=ITEM_VECTORS,
    )
    scale: float = setting(1.0, "length of the item vectors at the start", low=1e-6, high=1e6)
    head: str = setting("none", "between network and items: nothing, or the paper's projection", choices=HEADS)
    cold_items: bool = setting(False, "recommend items that training has not seen, too, by their text")
    precision: str = setting(
        "auto", "of the products with the catalog; auto: bfloat16 where the device has it natively", choices=PRECISIONS
    )
    threads: int | None = setting(None, "of the CPU; none: as many as torch takes", low=1, high=4096)
    compile: bool = setting(False, "compile the network with torch.compile; left aside where it fails")
