"""llmseq's models on the data of a file."""

from __future__ import annotations

import time

import numpy as np
from common import BATCH, DIM, HEADS, HIDDEN, LAYERS, LENGTH, MASK, K, arguments, load, report

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.registry import model_class

options, data = arguments(), load(arguments().data)
train = Sessions(data.items, data.offsets, np.arange(len(data.offsets) - 1))
histories = Sessions(data.histories, data.prompt_offsets, np.arange(len(data.targets)))
same = {
    "dim": DIM,
    "batch_size": BATCH,
    "max_length": LENGTH,
    "last_weight": 1,
    "threads": options.threads,
    "patience": 0,
    "precision": options.precision,
}
own = {
    "sasrec": {"layers": LAYERS, "heads": HEADS, "ffn_multiplier": 1},
    "bert4rec": {
        "layers": LAYERS,
        "heads": HEADS,
        "ffn_multiplier": 4,
        "mask": MASK,
        "mask_last": 0.0,
        "attend_masks": True,
    },
    "gru4rec": {"hidden": HIDDEN},
}[options.model]
cls = model_class(options.model)


def fitted(epochs: int) -> tuple[Recommender, dict[str, float], float]:
    """The model after so many epochs, its figures, and the seconds on the processor."""
    model = cls(cls.Settings(**same, **own, epochs=epochs), data.n_items)
    clock, cpu_clock = time.perf_counter(), time.process_time()
    figures = model.fit(train, FitContext(None))  # type: ignore[arg-type]
    cpu_share = (time.process_time() - cpu_clock) / (time.perf_counter() - clock)
    return model, figures, figures["train_loop_seconds"] * cpu_share


model, figures, cpu_seconds = fitted(2)
if options.minutes:
    model, figures, cpu_seconds = fitted(max(1, int(60 * options.minutes / (cpu_seconds / 2))))
trained, seconds = int(figures["trained_positions"]), figures["train_loop_seconds"]
per_epoch = trained / figures["epochs"]
report(
    trained,
    seconds,
    cpu_seconds,
    per_epoch,
    lambda: model.recommend(histories, K).items,
    data,
    options.minutes > 0,
)
