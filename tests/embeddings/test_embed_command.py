"""`llmseq embed` with a source of text vectors: cached, resumable, priced, silent the second time."""

import signal
import time

import numpy as np
import pytest
from support.beauty_split import FOLDER, needs_beauty
from support.embedding_server import KEY, EmbeddingServer, error, vector_of
from support.embedding_steps import ROWS, catalog, stored
from support.warm import Command

from llmseq_cli import IngestOptions
from llmseq_cli.workspace import Workspace


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = EmbeddingServer()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    yield server
    server.stop()


def check(workspace, dimensions=16):
    titles, vectors = stored(workspace)
    assert np.array_equal(vectors, np.stack([vector_of(title, dimensions) for title in titles]))


def test_every_item_its_vector_and_every_text_once(llmseq, server, tmp_path):
    workspace = catalog(tmp_path, ROWS)
    made = llmseq("embed", "--source", "openai", "--json").json
    assert (made["texts"], made["distinct_texts"], made["texts_sent"], made["cached"]) == (4, 3, 3, 0)
    assert (made["items_without_text"], made["dimensions"], made["requests"], made["tokens"]) == (3, 16, 1, 5)
    assert dict(server.paid) == {"red sock": 1, "blue sock": 1, "hat": 1}
    _, vectors = stored(workspace)
    red, blue, hat = (vector_of(text, 16) for text in ("red sock", "blue sock", "hat"))
    assert np.array_equal(vectors[[0, 1, 3, 5]], [red, blue, hat, red])
    assert np.allclose(vectors[2], (red + blue) / 2)
    assert np.allclose(vectors[4], (red + blue + hat + red) / 4)
    assert np.allclose(vectors[6], vectors[4])
    rows = llmseq("sql", "select * from item_embeddings order by item", "--json").json
    assert {row["template"] for row in rows} == {"{title}"}
    assert [row["text"] for row in rows] == ["red sock", "blue sock", None, "hat", None, "red sock", None]
    assert [row["filled"] for row in rows] == [False, False, True, False, True, False, True]
    assert np.allclose([row["vector"] for row in rows], vectors)


def test_second_run_is_silent(llmseq, server, tmp_path):
    catalog(tmp_path, ROWS)
    llmseq("embed", "--source", "openai")
    before = len(server.requests)
    again = llmseq("embed", "--source", "openai", "--json").json
    assert len(server.requests) == before
    assert (again["cached"], again["texts_sent"], again["cost_usd"], again["tokens"]) == (3, 0, 0, 0)
    assert len(llmseq("embeddings", "--json").json) == 1


def test_another_template_sends_only_what_is_new(llmseq, server, tmp_path):
    catalog(tmp_path, ROWS)
    llmseq("embed", "--source", "openai")
    made = llmseq("embed", "--source", "openai", "--text", "{title} {brand}", "--json").json
    # Brands are b0, b1 and b2 by turns; items without a title have only theirs, each of them once.
    assert (made["distinct_texts"], made["texts_sent"], made["cached"]) == (7, 7, 0)
    made = llmseq("embed", "--source", "openai", "--text", "{brand}", "--json").json
    assert (made["distinct_texts"], made["texts_sent"], made["cached"]) == (3, 0, 3)
    assert set(server.paid.values()) == {1}
    assert len(llmseq("embeddings", "--json").json) == 3


def test_dimensions_and_servers_are_kept_apart(llmseq, server, tmp_path):
    catalog(tmp_path, ROWS)
    llmseq("embed", "--source", "openai")
    assert llmseq("embed", "--source", "openai", "--dimensions", "4", "--json").json["dimensions"] == 4
    rows = llmseq("embeddings", "--json").json
    assert [(row["dimensions"], row["items"], row["filled"]) for row in rows] == [(16, 7, 3), (4, 7, 3)]
    other = server.url.replace("127.0.0.1", "localhost")
    assert llmseq("embed", "--source", "openai", "--base-url", other, "--json").json["texts_sent"] == 3


def test_vectors_outlive_the_dataset(llmseq, server, tmp_path):
    workspace = catalog(tmp_path, ROWS)
    llmseq("embed", "--source", "openai")
    workspace.ingest(IngestOptions([tmp_path / "clicks.csv"], "shop", items=[tmp_path / "items.csv"], replace=True))
    assert llmseq("embeddings", "--json").json == []
    assert llmseq("embed", "--source", "openai", "--json").json["texts_sent"] == 0
    assert llmseq("sql", "select count(*) as n from item_embeddings", "--json").json == [{"n": 7}]


def test_dry_run_sends_and_writes_nothing(llmseq, server, tmp_path):
    catalog(tmp_path, ROWS)
    plan = llmseq("embed", "--source", "openai", "--dry-run", "--json").json
    assert {"texts", "cached", "tokens", "requests", "cost_usd", "minutes"} <= set(plan)
    assert (plan["texts"], plan["cached"], plan["requests"]) == (3, 0, 1)
    assert 5 <= plan["tokens"] <= 15
    assert plan["cost_usd"] == pytest.approx(plan["tokens"] * 0.02 / 1e6)
    slow = llmseq("embed", "--source", "openai", "--dry-run", "--json", "--requests-per-minute", "0.5").json
    assert slow["minutes"] == pytest.approx(2)
    assert llmseq("embed", "--source", "openai", "--dry-run", "--json", "--batch").json["minutes"] == 1440
    assert server.requests == []
    llmseq("embed", "--source", "openai")
    plan = llmseq("embed", "--source", "openai", "--dry-run", "--json").json
    assert (plan["cached"], plan["tokens"], plan["requests"], plan["cost_usd"]) == (3, 0, 0, 0)
    assert "at most about" in llmseq("embed", "--source", "openai", "--dry-run").out


def test_prices(llmseq, server, tmp_path):
    catalog(tmp_path, ROWS)
    prices = tmp_path / "prices.toml"
    prices.write_text('["openai:text-embedding-3-small"]\ntokens = 1000000\n')
    made = llmseq("embed", "--source", "openai", "--dry-run", "--prices", prices, "--json").json
    assert made["cost_usd"] == made["tokens"]
    refused = llmseq("embed", "--source", "openai", "--prices", prices, "--max-cost", "4")
    assert refused.status == 1
    assert "stopped before --max-cost 4" in refused.err
    made = llmseq("embed", "--source", "openai", "--prices", prices, "--max-cost", "20", "--json").json
    assert made["cost_usd"] == made["tokens"] == 5
    usage = llmseq("sql", "select texts, tokens, cost_usd from embedding_usage", "--json").json
    assert usage == [{"texts": 3, "tokens": 5, "cost_usd": 5.0}]
    unknown = llmseq("embed", "--source", "openai", "--model", "mine", "--max-cost", "1")
    assert (unknown.status, "no price is known" in unknown.err) == (2, True)
    assert llmseq("embed", "--source", "openai", "--model", "mine", "--dry-run", "--json").json["cost_usd"] is None
    prices.write_text('["openai:text-embedding-3-small"]\ntokens = "cheap"\n')
    assert "not a number" in llmseq("embed", "--source", "openai", "--prices", prices).err


def test_refused_texts_are_listed_and_not_sent_again(llmseq, server, tmp_path):
    workspace = catalog(tmp_path, ROWS)
    server.forbidden = ("blue",)
    made = llmseq("embed", "--source", "openai", "--json").json
    assert [row["text"] for row in made["refused"]] == ["blue sock"]
    assert (made["items_refused"], made["items_without_text"]) == (1, 3)
    assert np.allclose(stored(workspace)[1][1], vector_of("red sock", 16))
    before = len(server.requests)
    again = llmseq("embed", "--source", "openai")
    assert len(server.requests) == before
    assert "1 texts, see the view refused_texts" in again.out
    [row] = llmseq("sql", "select text, reason from refused_texts", "--json").json
    assert row["text"] == "blue sock"
    assert "flagged" in row["reason"]
    server.forbidden = ()
    made = llmseq("embed", "--source", "openai", "--retry-refused", "--json").json
    assert (made["refused"], made["texts_sent"]) == ([], 1)


def test_long_texts_are_cut_and_counted(llmseq, server, tmp_path):
    long = " ".join(f"word{place}" for place in range(100))
    workspace = catalog(tmp_path, [("hat", ""), (long, ""), (long + " and more", "")])
    made = llmseq("embed", "--source", "openai", "--set", "tokens_per_text=50", "--json").json
    assert (made["cut"], made["distinct_texts"], made["texts"]) == (2, 2, 3)
    _, vectors = stored(workspace)
    assert np.array_equal(vectors[1], vectors[2])
    assert any(long.startswith(text) for text in server.paid if text != "hat")


def test_a_text_that_is_cut_twice_counts_once(llmseq, server, tmp_path):
    long = " ".join(f"word{place}" for place in range(100))
    catalog(tmp_path, [("hat", ""), (long, ""), (long + " and more", "")])
    server.words_per_text = 15  # tokens, by the server's own count, are fewer than ours
    made = llmseq("embed", "--source", "openai", "--set", "tokens_per_text=50", "--json").json
    assert (made["cut"], made["distinct_texts"], made["texts"], made["refused"]) == (2, 2, 3, [])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, error("Incorrect API key provided: " + KEY), {}), "does not accept the key"),
        ((429, error("You exceeded your quota", "insufficient_quota"), {}), "no quota left"),
        ((404, error("no such model", "model_not_found"), {}), "no such model"),
    ],
)
def test_final_errors_end_at_once_with_a_hint(llmseq, server, tmp_path, answer, words):
    catalog(tmp_path, ROWS)
    server.script = [answer] * 10
    ended = llmseq("embed", "--source", "openai")
    assert ended.status == 1
    assert words in ended.err
    assert "hint: " in ended.err
    assert KEY not in ended.err + ended.out
    assert len(server.requests) == 1


@pytest.mark.parametrize("more", [(), ("--batch",)])
def test_a_wrong_address_is_told_soon(llmseq, tmp_path, monkeypatch, more):
    monkeypatch.setattr("llmseq_cli.clients.retries._seconds", lambda state, patience: 0.0)
    catalog(tmp_path, ROWS)
    ended = llmseq("embed", "--source", "openai", "--base-url", "http://127.0.0.1:9/v1", "-q", *more)
    assert ended.status == 1
    said = " ".join(ended.err.split())
    assert "127.0.0.1:9: no connection" in said
    assert "(3 attempts) hint: check the address (--base-url)" in said


def test_without_a_key(llmseq, monkeypatch, tmp_path):
    catalog(tmp_path, ROWS)
    ended = llmseq("embed", "--source", "openai")
    assert (ended.status, "OPENAI_API_KEY is not set" in ended.err) == (1, True)


def embed_process(tmp_path):
    arguments = ["embed", "--source", "openai", "--set", "texts_per_request=20", "--concurrency", "8"]
    return Command(*arguments, "--workspace", tmp_path / "workspace")


def kill_twice_then_finish(tmp_path, server, n_texts):
    """Kills the command when a third and two thirds of the texts are paid; returns what all three runs printed."""
    printed = ""
    for share in (1 / 3, 2 / 3):
        process = embed_process(tmp_path)
        deadline = time.monotonic() + 120
        while len(server.paid) < share * n_texts and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        printed += "".join(process.communicate())
        assert process.returncode == -signal.SIGKILL
    process = embed_process(tmp_path)
    printed += "".join(process.communicate(timeout=240))
    assert process.returncode == 0, printed
    return printed


def check_kills(llmseq, workspace, server, tmp_path, distinct):
    server.fault_share = 0.2
    server.latency = 0.01
    printed = kill_twice_then_finish(tmp_path, server, len(distinct))
    assert set(server.paid) == distinct
    twice = [text for text, times in server.paid.items() if times > 1]
    assert max(server.paid.values()) <= 3
    # In flight when killed: at most 8 requests and 16 that waited to be written, of 20 texts, each time.
    assert len(twice) <= 2 * (8 + 16) * 20
    assert set(server.faults) == set(server.fault_kinds)
    before = len(server.requests)
    assert llmseq("embed", "--source", "openai", "--json").json["texts_sent"] == 0
    assert len(server.requests) == before
    counts = llmseq("sql", "select count(*) as n, count(distinct text_hash) as d from core.text_vector", "--json").json
    assert counts == [{"n": len(distinct), "d": len(distinct)}]
    assert KEY not in printed
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_killed_twice_each_text_is_paid_once(llmseq, server, tmp_path):
    rows = [(f"title {place % 2900}", f"kind {place % 7}") for place in range(3000)]
    workspace = catalog(tmp_path, rows)
    check_kills(llmseq, workspace, server, tmp_path, {title for title, _ in rows})
    check(workspace)


@needs_beauty
def test_all_of_beauty_against_a_server_that_fails(llmseq, server, tmp_path):
    workspace = Workspace(tmp_path / "workspace")
    workspace.ingest(IngestOptions([FOLDER], "beauty", format="amazon"))
    with workspace.store.read("testing") as con:
        titles = [row[0] for row in con.execute("select title from core.item").fetchall()]
    distinct = {" ".join(title.split()) for title in titles if title and title.strip()}
    check_kills(llmseq, workspace, server, tmp_path, distinct)
    titles, vectors = stored(workspace)
    for title, vector in zip(titles, vectors, strict=True):
        if title.strip():
            assert np.array_equal(vector, vector_of(" ".join(title.split()), 16))
        else:
            assert np.isfinite(vector).all()


@pytest.mark.parametrize("damage", ["[]", "[1, 2]", "['nan'::float]", "list_value(null)"])
def test_vectors_that_cannot_be_used_are_told_and_sent_again(llmseq, server, tmp_path, damage):
    workspace = catalog(tmp_path, ROWS)
    llmseq("embed", "--source", "openai")
    with workspace.store.write("damaging") as con:
        con.execute(f"update core.text_vector set vector = {damage} where rowid = 0")
    refused = llmseq("train", "llmseqsim", "--embeddings", "openai")
    assert (refused.status, "items are missing or unusable" in refused.err) == (1, True), refused.err
    done = llmseq("embed", "--source", "openai", "--json")
    assert (done.status, done.json["texts_sent"]) == (0, 1), done.err
    assert "1 stored vectors are unusable and were deleted" in done.err
    assert max(server.paid.values()) == 2
    assert np.array_equal(stored(workspace)[1][0], vector_of("red sock", 16))
