"""Several processes that share every batch train the network that one process trains."""

from __future__ import annotations

import socket
from contextlib import closing
from datetime import timedelta

import numpy as np
import pytest
import torch
from support.planted import MODELS, embeddings, fitted
from torch import distributed as dist
from torch import multiprocessing

from llmseq_cli.models.neural.batches import next_item
from llmseq_cli.models.neural.pretraining import mask_items_and_segment
from llmseq_cli.models.neural.ranks import ALONE, ProcessGroup

# 300 sessions, of which 30 are held out and the 9 without a second item do not train: the last batch of an epoch has a
# number of sessions that neither 2 nor 3 divide, or fewer sessions than there are ranks.
CASES = {
    **{name: (name, {"ema_decay": 0.9, "schedule": "plateau"}) for name in MODELS},
    "sampled": ("sasrec", {"loss": "sampled", "negatives": 16}),
    "gbce": ("gru4rec", {"loss": "gbce", "negatives": 16, "grad_clip": 0.5}),
    "few sessions a step": ("s3rec", {"batch_size": 2, "epochs": 1, "pretrain_epochs": 1}),
    "adapter": ("sasrec", {"item_vectors": "adapter+free", "head": "projection"}),
}
THREE = ("gru4rec", "few sessions a step")  # of three ranks, too
ALIKE = {"dropout": 0.0, "epochs": 2, "pretrain_epochs": 1, "refit": False, "precision": "float32"}


def trained(case: str, **context):
    name, settings = CASES[case]
    settings = {key: value for key, value in (ALIKE | settings).items() if name == "s3rec" or key != "pretrain_epochs"}
    return fitted(name, settings, embeddings=embeddings() if case == "adapter" else None, **context)


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def work(rank: int, size: int, port: int, folder: str) -> None:
    """What every rank does: all cases, one after the other."""
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", address, rank=rank, world_size=size, timeout=timedelta(seconds=120))
    for case in CASES if size == 2 else THREE:
        model, figures = trained(case, ranks=ProcessGroup())
        ndcg = [entry["ndcg"] for entry in model.curve]
        losses = [entry["loss"] for entry in model.curve]
        facts = {"ndcg": ndcg, "losses": losses, "positions": figures["trained_positions"]}
        np.savez(f"{folder}/{case}-{size}-{rank}.npz", **facts, **model.arrays())
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two and three ranks made of the cases."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.set_forkserver_preload(["torch", "support.planted"])
    for size in (2, 3):
        multiprocessing.start_processes(work, (size, free_port(), str(folder)), size, start_method="forkserver")
    return folder


@pytest.mark.parametrize(("case", "size"), [*((case, 2) for case in CASES), *((case, 3) for case in THREE)])
def test_ranks_together_train_what_one_process_trains(case, size, folder):
    model, figures = trained(case)
    first, *others = [np.load(folder / f"{case}-{size}-{rank}.npz") for rank in range(size)]
    assert int(first["positions"]) == figures["trained_positions"]
    np.testing.assert_allclose(first["losses"], [entry["loss"] for entry in model.curve], rtol=1e-4)
    np.testing.assert_allclose(first["ndcg"], [entry["ndcg"] for entry in model.curve], atol=0.02)
    for key, array in model.arrays().items():
        assert all(np.array_equal(other[key], first[key]) for other in others), key
        # The gradient of the keys' bias is 0 but for rounding, of which AdamW makes steps of full length.
        if not key.endswith("attention.inward.bias"):
            np.testing.assert_allclose(first[key], array, atol=5e-3, err_msg=key)


def examples(n: int):
    lengths = np.array([2, 5, 3, 4, 2, 5, 3][:n])
    items = np.arange(1, 36).reshape(7, 5)[:n] * (np.arange(5) < lengths[:, None])
    return items, lengths


@pytest.mark.parametrize("n", [7, 2])
def test_shares_of_a_batch_are_the_batch(n):
    whole = next_item(*examples(n), "cpu", last_weight=3)
    shares = [whole.share(rank, 3) for rank in range(3)]
    assert sum(share.weight for share in shares) == pytest.approx(1)
    assert [share.weight > 0 for share in shares] == [True, True, n > 2]
    assert all(share.positions == whole.positions for share in shares)
    pairs = [
        (int(item), int(target))
        for share in shares
        if share.weight
        for item, target in zip(share.items.flatten()[share.places], share.targets, strict=True)
    ]
    expected = zip(whole.items.flatten()[whole.places].tolist(), whole.targets.tolist(), strict=True)
    assert sorted(pairs) == sorted(expected)


def test_shares_of_pretraining_keep_their_segments():
    whole = mask_items_and_segment(*examples(7), np.random.default_rng(0), 0.3, "cpu")
    for rank in range(2):
        share = whole.share(rank, 2)
        assert torch.equal(share.segment, whole.segment[rank::2])
        assert torch.equal(share.sessions, torch.arange(rank, 7, 2))
        assert torch.equal(share.items.flatten()[share.places], share.targets)


def test_a_rank_alone_computes_the_batch_itself():
    batch = next_item(*examples(7), "cpu")
    assert ALONE.share(batch) is batch
    assert (batch.weight, batch.whole) == (1.0, None)
