"""A network trained on one shop recommends in another one, whose items it has never seen."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from llmseq_cli.data.dataset import find_dataset, load_dataset
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.stored import save_embeddings
from llmseq_cli.store.connection import Store

N = 30


def shop(name: str, seed: int) -> list[str]:
    """Rows of sessions in which each kind of item is followed by the kind 7 further on."""
    random = np.random.default_rng(seed)
    rows = ["user,item,timestamp"]
    for user in range(200):
        kind = int(random.integers(N))
        rows += [f"u{user},{name}{(kind + 7 * step) % N},{1000 * user + step}" for step in range(4)]
    return rows


@pytest.fixture
def shops(llmseq, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(N, 24)) @ np.random.default_rng(1).normal(size=(24, 24)) + 3
    for seed, name in enumerate(["old", "new"]):
        (tmp_path / f"{name}.csv").write_text("\n".join(shop(name, seed)) + "\n")
        done = llmseq("ingest", tmp_path / f"{name}.csv", "--name", name, "--k-core", 0)
        assert done.status == 0, done.err
        with Store(Path(os.environ["LLMSEQ_WORKSPACE"])).transaction("testing") as con:
            info = find_dataset(con, name)
            ids = [str(item) for item in load_dataset(con, name).catalog.external_ids]
            rows = vectors[[int(item.removeprefix(name)) for item in ids]].astype(np.float32)
            save_embeddings(con, info.dataset_id, ItemEmbeddings(rows, "openai", "m", "{title}"), ids, {}, 0.0)


TRAIN = ["--embeddings", "openai:m", "--reduce", "whiten", "--dim", 16]
SMALL = [f"--set={words}" for words in ("epochs=8", "patience=0", "learning_rate=0.01", "batch_size=16", "dropout=0.1")]


def test_zero_shot_and_on_from_there(llmseq, shops):
    source = ["train", "sasrec", "--dataset", "old", *TRAIN, *SMALL, "--json"]
    assert llmseq(*source, "--set", "item_vectors=adapter").json[0]["ndcg@10"] > 0.9
    there = ["train", "sasrec", "--dataset", "new", "--json"]
    blind = llmseq(*there, *TRAIN, "--set", "item_vectors=adapter", "--set", "epochs=0")
    assert blind.json[0]["ndcg@10"] < 0.5, blind.err
    moved = llmseq(*there, "--warm", "sasrec-1", "--set", "epochs=0")
    assert moved.json[0]["ndcg@10"] > 0.9, moved.err
    shuffled = llmseq(*there, "--warm", "sasrec-1", "--set", "epochs=0", "--permute")
    assert shuffled.json[0]["ndcg@10"] < 0.5, "it is the texts that carry over"
    on = llmseq(*there, "--warm", "sasrec-1", "--set", "epochs=1", "--set", "learning_rate=0.001")
    assert on.json[0]["ndcg@10"] > 0.8, on.err


def test_what_cannot_move(llmseq, shops):
    assert llmseq("train", "sasrec", "--dataset", "old", *TRAIN, *SMALL, "--set", "epochs=1").status == 0
    assert llmseq("train", "gru4rec", "--dataset", "old", "--set", "epochs=1", "--set", "dim=16").status == 0
    for words, said in [
        (["sasrec", "--warm", "sasrec-1"], "own vectors, not by their texts"),
        (["sasrec", "--warm", "sasrec-1", "--reduce", "pca"], "leave --reduce and --dim out"),
        (["gru4rec", "--warm", "gru4rec-2"], "own vectors, not by their texts"),
    ]:
        refused = llmseq("train", *words, "--dataset", "new")
        assert (refused.status, said in refused.err) == (2, True), refused.err
