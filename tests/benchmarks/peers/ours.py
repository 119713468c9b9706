"""llmseq's models on the data of a file, one thread."""

from __future__ import annotations

import time

import numpy as np
from common import BATCH, DIM, HEADS, HIDDEN, LAYERS, LENGTH, MASK, K, arguments, load, report

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.base import FitContext
from llmseq_cli.models.registry import model_class

options, data = arguments(), load(arguments().data)
train = Sessions(data.items, data.offsets, np.arange(len(data.offsets) - 1))
prompts = Sessions(data.prompts, data.prompt_offsets, np.arange(len(data.targets)))
same = {
    "dim": DIM,
    "batch_size": BATCH,
    "max_length": LENGTH,
    "last_weight": 1,
    "threads": 1,
    "patience": 0,
    "precision": options.precision,
}
own = {
    "sasrec": {"layers": LAYERS, "heads": HEADS, "inner": 1},
    "bert4rec": {"layers": LAYERS, "heads": HEADS, "inner": 4, "mask": MASK, "mask_last": 0.0, "attend_masks": True},
    "gru4rec": {"hidden": HIDDEN},
}[options.model]
cls = model_class(options.model)
model = cls(cls.Settings(**same, **own, epochs=options.epochs or 2), data.n_items)
clock, cpu_clock = time.perf_counter(), time.process_time()
figures = model.fit(train, FitContext(None))  # type: ignore[arg-type]
cpu_share = (time.process_time() - cpu_clock) / (time.perf_counter() - clock)
trained, seconds = int(figures["trained_positions"]), figures["train_loop_seconds"]
per_epoch = trained / figures["epochs"]
report(
    trained,
    seconds,
    seconds * cpu_share,
    per_epoch,
    lambda: model.recommend(prompts, K).items,
    data,
    options.epochs > 0,
)
