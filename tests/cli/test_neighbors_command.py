"""`neighbors` and `train --reduce` as a user types them."""

from __future__ import annotations

import pytest


@pytest.fixture
def embedded(shop, llmseq):
    """The shop with sparse lexical embeddings, and dense ones as number 2."""
    assert llmseq("embed").status == 0
    assert llmseq("embed", "--dimensions", "8").status == 0
    return shop


def test_neighbors_of_a_title(embedded, llmseq):
    found = llmseq("neighbors", "red green sock", "--embeddings", "1", "-k", "4", "--json").json
    assert found["title"] == "red green sock"
    assert found["embeddings"]["reduce"] == "none"
    rows = found["neighbors"]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert found["item"] not in [row["item"] for row in rows]
    assert all(set(row["title"].split()) & {"red", "green", "sock"} for row in rows)
    similarities = [row["similarity"] for row in rows]
    assert similarities == sorted(similarities, reverse=True)


def test_neighbors_as_a_table(embedded, llmseq):
    done = llmseq("neighbors", "i00", "--embeddings", "1", "-k", "2")
    assert done.status == 0
    assert "nearest to red green sock" in done.out


def test_dense_vectors_are_whitened_unless_said_otherwise(embedded, llmseq):
    whitened = llmseq("neighbors", "i00", "--embeddings", "2", "--json").json
    raw = llmseq("neighbors", "i00", "--embeddings", "2", "--reduce", "none", "--json").json
    assert whitened["embeddings"]["reduce"].startswith("whiten")
    assert raw["embeddings"]["reduce"] == "none"
    assert whitened["neighbors"] != raw["neighbors"]
    assert len(list((embedded.folder / "artifacts" / "reductions").glob("*.safetensors"))) == 1


def test_runs_record_their_reduction(embedded, llmseq):
    for model in ("llmseqsim", "sknn-emb"):
        done = llmseq("train", model, "--embeddings", "2", "--reduce", "pca", "--dim", "4", "--json")
        assert done.status == 0
        assert done.json[0]["dim"] == 4
        assert done.json[0]["reduce"].startswith("pca")
        assert done.json[0]["hr@10"] > 0
    assert len(list((embedded.folder / "artifacts" / "reductions").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["neighbors", "i00"], 2, "Missing option '--embeddings'"),
        (["neighbors", "i00", "--embeddings", "openai"], 1, "no embeddings 'openai'"),
        (["neighbors", "i99", "--embeddings", "1"], 1, "no item has the id or title 'i99'"),
        (["neighbors", "i00", "--embeddings", "2", "--reduce", "pcs"], 2, "there is no reduction 'pcs'"),
        (["train", "llmseqsim", "--embeddings", "2", "--reduce", "pcs"], 2, "there is no reduction 'pcs'"),
        (["train", "llmseqsim", "--embeddings", "2", "--reduce", "pca", "--dim", "9"], 2, "--dim 9 is more than"),
        (["train", "llmseqsim", "--embeddings", "1", "--dim", "4"], 2, "--dim needs a reduction"),
        (["train", "sknn", "--reduce", "pca"], 2, "there are no embeddings to reduce"),
    ],
)
def test_failures_are_two_lines(embedded, llmseq, words, status, message):
    done = llmseq(*words)
    assert done.status == status
    assert message in done.err
    assert done.err.splitlines()[-1].startswith("hint: ")
