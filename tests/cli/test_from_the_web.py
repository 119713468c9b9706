"""`download` and `ingest` of addresses, from a server on the loopback."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from support.beauty_split import FOLDER, needs_beauty
from support.file_server import FileServer


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = FileServer()
    yield server
    server.stop()


def test_ingest_fetches_addresses_once(llmseq, server, shop_files, tmp_path):
    clicks, items = shop_files
    server.files = {"/a/data.csv": clicks.read_bytes(), "/b/data.csv": items.read_bytes()}
    words = ["ingest", f"{server.url}/a/data.csv", "--items", f"{server.url}/b/data.csv", "--name"]
    done = llmseq(*words, "shop", "--json")
    assert done.status == 0, done.err
    assert (done.json["sessions"], done.json["items"], done.json["untitled_items"]) == (120, 40, 0)
    asked = len(server.requests)
    assert llmseq(*words, "again").status == 0
    assert sum(server.sent.values()) == sum(map(len, server.files.values()))
    assert len(server.requests) - asked <= 2


def test_an_address_that_answers_nothing(llmseq, server):
    done = llmseq("ingest", f"{server.url}/missing.csv", "--name", "x")
    assert done.status == 1
    assert done.err.splitlines()[-2].startswith("error: ")
    assert "404" in done.err


def test_download_lists_what_there_is(llmseq):
    names = [row["name"] for row in llmseq("download", "--json").json]
    assert {"beauty", "steam", "movielens-1m"} <= set(names)
    assert "movielens-100k" in llmseq("download").out
    unknown = llmseq("download", "beuaty")
    assert unknown.status == 2
    assert "did you mean 'beauty'?" in unknown.err


@needs_beauty
@pytest.mark.beauty
def test_beauty_from_download_to_leaderboard(llmseq, server, tmp_path):
    """What the README tells to type, with the public files served from the loopback."""
    for name in ("reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"):
        server.files[f"/{name}"] = (Path(FOLDER) / name).read_bytes()
    out = tmp_path / "beauty"
    done = llmseq("download", "beauty", "--out", out, "--base-url", server.url)
    assert done.status == 0, done.err
    following = done.err.splitlines()[-1]
    assert following.startswith("next: llmseq ingest ")
    ingested = llmseq(*shlex.split(following)[2:], "--json").json
    expected = {
        "sessions": 22_363,
        "items": 12_101,
        "interactions": 198_502,
        "train_sessions": 17_890,
        "test_sessions": 4_473,
        "evaluated_sessions": 4_469,
        "train_items": 11_957,
        "classes": 224,
        "untitled_items": 7,
        "rejected": 0,
    }
    assert {key: ingested[key] for key in expected} == expected
    assert llmseq("embed").status == 0
    [row] = llmseq("train", "llmseqsim", "--embeddings", "lexical", "--json").json
    assert row["ndcg@20"] >= 0.059
    assert row["hr@20"] >= 0.112
    [popular] = llmseq("train", "most-popular", "--json").json
    reference = {"ndcg": 0.00612, "hr": 0.01566, "mrr": 0.00352, "coverage": 0.00231, "serendipity": 0.00134}
    assert {name: round(popular[f"{name}@20"], 5) for name in reference} == reference
    assert round(popular["novelty@20"], 3) == 9.414
