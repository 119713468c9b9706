"""RecBole's SASRec, BERT4Rec and GRU4Rec on the data of a file, one thread; every prefix of a session is a sample."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from common import BATCH, DIM, HEADS, HIDDEN, LAYERS, LENGTH, MASK, K, Rate, arguments, load, report

warnings.filterwarnings("ignore")
options, data = arguments(), load(arguments().data)
sys.argv = sys.argv[:1]

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.utils import get_model, init_seed  # noqa: E402

NAME = {"sasrec": "SASRec", "bert4rec": "BERT4Rec", "gru4rec": "GRU4Rec"}[options.model]
folder = tempfile.TemporaryDirectory()
(Path(folder.name) / "data").mkdir()
with (Path(folder.name) / "data" / "data.inter").open("w") as file:
    file.write("user_id:token\titem_id:token\ttimestamp:float\n")
    for user, items in enumerate(data.lists()):
        file.writelines(f"{user}\t{item}\t{step}\n" for step, item in enumerate(items))
config = Config(
    model=NAME,
    dataset="data",
    config_dict={
        "data_path": folder.name,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": LENGTH,
        "train_batch_size": BATCH,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "hidden_size": HIDDEN if NAME == "GRU4Rec" else DIM,
        "embedding_size": DIM,
        "num_layers": 1,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "inner_size": DIM if NAME == "SASRec" else 4 * DIM,
        "mask_ratio": MASK,
        "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO", "group_by": "user", "mode": "full"},
        "device": "cpu",
        "use_gpu": False,
        "seed": 0,
        "state": "ERROR",
    },
)
init_seed(0, True)
dataset = create_dataset(config)
train, _, _ = data_preparation(config, dataset)
model = get_model(NAME)(config, train.dataset)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
rate, done = Rate(options.seconds, options.minutes), False


def targets(batch: Interaction) -> int:
    """Positions with a loss: the next item of every sample, or of BERT4Rec its masked items."""
    masked = getattr(batch, "interaction", {}).get("Mask_item_id_list")
    return len(batch) if masked is None else int((batch["MASK_INDEX"] > 0).sum())


while not done:
    for batch in train:
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        loss.backward()
        optimizer.step()
        if done := rate.step(targets(batch)):
            break
per_epoch = rate.targets / max(1, rate.steps - rate.warm_up) * len(train)
ids = dataset.field2token_id["item_id"]
rows = np.array([ids.get(str(item), 0) for item in range(data.n_items)])
tokens = np.array([int(token) if token != "[PAD]" else -1 for token in dataset.field2id_token["item_id"]])


@torch.no_grad()
def score() -> np.ndarray:
    """Items of a history that training has not seen are left out of it; all of a history's are out of its list."""
    model.eval()
    parts = []
    histories = [known[known > 0] for items in data.lists("histories", "prompt_offsets") for known in [rows[items]]]
    for start in range(0, len(histories), 256):
        block = histories[start : start + 256]
        sequences = np.zeros((len(block), LENGTH), dtype=np.int64)
        lengths = np.array([min(max(1, len(one)), LENGTH) for one in block])
        for number, one in enumerate(block):
            sequences[number, : min(len(one), LENGTH)] = one[-LENGTH:]
        batch = Interaction({"item_id_list": torch.from_numpy(sequences), "item_length": torch.from_numpy(lengths)})
        scores = model.full_sort_predict(batch)
        scores[:, 0] = -torch.inf
        seen = np.repeat(np.arange(len(block)), [len(one) for one in block])
        scores[torch.from_numpy(seen), torch.from_numpy(np.concatenate(block))] = -torch.inf
        parts.append(torch.topk(scores, K, dim=1).indices.numpy())
    return tokens[np.concatenate(parts)]


report(rate.targets, rate.seconds, rate.cpu_seconds, per_epoch, score, data, options.minutes > 0)
