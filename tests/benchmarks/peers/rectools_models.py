"""RecTools' SASRec and BERT4Rec as shipped, on the data of a file, one thread."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from common import BATCH, DIM, HEADS, LAYERS, LENGTH, MASK, K, Rate, arguments, load, report
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
options, data = arguments(), load(arguments().data)


def frame(items: np.ndarray, offsets: np.ndarray, first_user: int) -> pd.DataFrame:
    lengths = np.diff(offsets)
    steps = np.arange(len(items)) - np.repeat(offsets[:-1], lengths)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(steps, unit="D")
    users = np.repeat(np.arange(len(lengths)), lengths) + first_user
    return pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Datetime: days, Columns.Weight: 1.0})


rate = Rate(options.seconds, options.minutes)


class Measure(pl.Callback):
    """Counts into the rate above: the trainer works with a copy of itself and of its callbacks."""

    def on_train_batch_end(self, trainer, module, outputs, batch, number) -> None:
        if rate.step(int((batch["y"] != 0).sum())):
            trainer.should_stop = True


def trainer() -> pl.Trainer:
    return pl.Trainer(
        max_epochs=1000,
        min_epochs=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Measure()],
    )


sizes = {
    "n_blocks": LAYERS,
    "n_heads": HEADS,
    "n_factors": DIM,
    "session_max_len": LENGTH,
    "batch_size": BATCH,
    "get_trainer_func": trainer,
    "recommend_torch_device": "cpu",
}
model = SASRecModel(**sizes) if options.model == "sasrec" else BERT4RecModel(mask_prob=MASK, **sizes)
train = frame(data.items, data.offsets, 0)
model.fit(Dataset.construct(train))
lengths = np.minimum(np.diff(data.offsets), LENGTH + 1)
per_epoch = float((lengths - 1).sum()) if options.model == "sasrec" else float(MASK * np.minimum(lengths, LENGTH).sum())


def score() -> np.ndarray:
    histories = frame(data.histories, data.prompt_offsets, 0)
    lists = model.recommend(np.arange(len(data.targets)), Dataset.construct(histories), k=K, filter_viewed=True)
    items = np.full((len(data.targets), K), -1)
    items[lists[Columns.User], lists[Columns.Rank] - 1] = lists[Columns.Item]
    return items


report(rate.targets, rate.seconds, rate.cpu_seconds, per_epoch, score, data, options.minutes > 0)
