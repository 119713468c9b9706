"""`llmseq embed --batch`: handed over once, found again after a kill, collected by custom_id, failures sent again."""

import itertools
import json
import signal
import threading

import numpy as np
import pytest
from support.embedding_server import KEY, EmbeddingServer, error, finish_batches, vector_of
from support.embedding_steps import ROWS, catalog, stored
from support.warm import Command

from llmseq_cli import EmbedOptions
from llmseq_cli.embeddings import openai_batch


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = EmbeddingServer()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    yield server
    server.stop()


@pytest.fixture
def many(tmp_path):
    return catalog(tmp_path, [(f"title {place}", "") for place in range(90)])


def embed(llmseq, *arguments):
    return llmseq("embed", "--source", "openai", "--set", "texts_per_request=20", *arguments)


def states(llmseq):
    rows = llmseq("sql", "select state from core.embedding_batch order by batch_number", "--json").json
    return [row["state"] for row in rows]


def check(workspace):
    titles, vectors = stored(workspace)
    assert np.array_equal(vectors, np.stack([vector_of(title, 16) for title in titles]))


def test_from_handing_over_to_vectors(llmseq, server, many):
    begun = embed(llmseq, "--batch", "--json").json
    assert (begun["under_way"], begun["batches"]) == (90, 1)
    assert "embed --resume" in begun["next"]
    assert server.paid == {}
    lines = [json.loads(line) for line in server.files["file-0"].splitlines()]
    assert [len(line["body"]["input"]) for line in lines] == [20, 20, 20, 20, 10]
    assert len({line["custom_id"] for line in lines}) == 5
    waiting = embed(llmseq, "--resume", "--json").json
    assert (waiting["under_way"], len(server.batches)) == (90, 1)
    finish_batches(server)
    made = embed(llmseq, "--resume", "--json").json
    assert (made["texts_sent"], made["requests"], made["tokens"]) == (90, 5, 180)
    assert made["cost_usd"] == pytest.approx(180 * 0.01 / 1e6)
    check(many)
    assert set(server.paid.values()) == {1}
    assert states(llmseq) == ["collected"]
    before = len(server.requests)
    assert embed(llmseq, "--resume", "--json").json["texts_sent"] == 0
    assert embed(llmseq, "--json").json["texts_sent"] == 0
    assert len(server.requests) == before


def test_what_is_under_way_is_not_sent_otherwise(llmseq, server, many):
    embed(llmseq, "--batch")
    assert embed(llmseq, "--batch", "--json").json["under_way"] == 90
    assert len(server.batches) == 1
    refused = embed(llmseq)
    assert (refused.status, "90 texts are in an open batch" in refused.err) == (1, True)
    assert server.paid == {}


def test_failed_requests_are_sent_again(llmseq, server, many):
    embed(llmseq, "--batch")
    server.batch_faults = {"1": (500, error("oops")), "3": (429, error("slow"))}
    finish_batches(server)
    server.batch_faults = {}
    again = embed(llmseq, "--resume", "--json").json
    assert (again["collected"], again["under_way"]) == (50, 40)
    finish_batches(server)
    assert embed(llmseq, "--resume", "--json").json["texts_sent"] == 40
    check(many)
    assert set(server.paid.values()) == {1}
    assert states(llmseq) == ["collected", "collected"]


def test_refused_requests_are_taken_apart(llmseq, server, many):
    server.forbidden = ("title 33",)
    embed(llmseq, "--batch")
    finish_batches(server)
    assert embed(llmseq, "--resume", "--json").json["under_way"] == 20
    handed_over = server.files[server.batches["batch-1"]["input_file_id"]]
    lines = [json.loads(line) for line in handed_over.splitlines()]
    assert [len(line["body"]["input"]) for line in lines] == [1] * 20
    finish_batches(server)
    made = embed(llmseq, "--resume", "--json").json
    assert [row["text"] for row in made["refused"]] == ["title 33"]
    assert "flagged" in made["refused"][0]["reason"]
    assert set(server.paid.values()) == {1}
    assert len(server.paid) == 89


def test_what_fails_three_times_ends_it(llmseq, server, many):
    embed(llmseq, "--batch")
    server.batch_faults = {"0": (500, error("oops"))}
    for _ in range(2):
        finish_batches(server)
        assert embed(llmseq, "--resume").status == 0
    finish_batches(server)
    ended = embed(llmseq, "--resume")
    assert (ended.status, "failed 3 times for 'title 0'" in ended.err) == (1, True)


def test_expired_batches_keep_what_they_have(llmseq, server, many):
    embed(llmseq, "--batch")
    server.batch_faults = {"4": (0, None)}
    finish_batches(server)
    server.batches["batch-0"]["status"] = "expired"
    server.batch_faults = {}
    assert embed(llmseq, "--resume", "--json").json["under_way"] == 10
    finish_batches(server)
    embed(llmseq, "--resume")
    check(many)
    assert set(server.paid.values()) == {1}


def test_batches_that_the_server_does_not_take(llmseq, server, many):
    embed(llmseq, "--batch")
    server.batches["batch-0"] |= {"status": "failed", "errors": {"data": [{"message": "too many enqueued tokens"}]}}
    ended = embed(llmseq, "--resume")
    assert (ended.status, "too many enqueued tokens" in ended.err) == (1, True)
    assert states(llmseq) == ["failed"]
    assert embed(llmseq, "--batch", "--json").json["under_way"] == 90


def test_batches_that_the_server_forgot_are_sent_again(llmseq, server, many):
    embed(llmseq, "--batch")
    server.batches.clear()
    resumed = embed(llmseq, "--resume")
    assert "no longer knows batch-0" in resumed.err
    assert states(llmseq) == ["lost", "submitted"]


@pytest.mark.parametrize("call", ["upload", "submit before", "submit after"])
def test_killed_around_a_call(llmseq, server, many, monkeypatch, call):
    """The program dies right before or after a call, before the note about it is written."""

    class KilledError(BaseException):
        pass

    def die(*_, **__):
        raise KilledError

    create = openai_batch.BatchRun._create
    with monkeypatch.context() as patch:
        if call == "upload":
            patch.setattr(openai_batch.BatchRun, "_line", die)
        elif call == "submit before":
            patch.setattr(openai_batch.BatchRun, "_create", die)
        else:
            patch.setattr(openai_batch.BatchRun, "_create", lambda *given: die(create(*given)))
        with pytest.raises(KilledError):
            many.embed(EmbedOptions("openai", dataset="shop", batch=True))
    assert states(llmseq) == ["prepared" if call == "upload" else "uploaded"]
    assert len(server.batches) == (call == "submit after")
    begun = many.embed(EmbedOptions("openai", dataset="shop", resume=True))
    assert begun["under_way"] == 90
    assert len(server.batches) == 1
    finish_batches(server)
    many.embed(EmbedOptions("openai", dataset="shop", resume=True))
    check(many)
    assert set(server.paid.values()) == {1}


def test_large_catalogs_become_several_batches(llmseq, server, many, monkeypatch):
    monkeypatch.setattr(openai_batch, "_TEXTS_PER_BATCH", 40)
    begun = embed(llmseq, "--batch", "--json").json
    assert (begun["under_way"], begun["batches"]) == (90, 3)
    finish_batches(server)
    embed(llmseq, "--resume")
    check(many)


def test_wait(llmseq, server, many, monkeypatch):
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            finish_batches(server)

    monkeypatch.setattr(openai_batch.time, "sleep", nap)
    assert embed(llmseq, "--batch", "--wait", "--json").json["texts_sent"] == 90
    assert naps == [30, 30]
    check(many)


def test_max_cost_and_dry_run(llmseq, server, many):
    plan = embed(llmseq, "--batch", "--dry-run", "--json").json
    assert plan["cost_usd"] == pytest.approx(plan["tokens"] * 0.01 / 1e6)
    ended = embed(llmseq, "--batch", "--max-cost", "0.0000001")
    assert (ended.status, "more than --max-cost" in ended.err) == (1, True)
    assert server.requests == []


def test_nothing_to_resume(llmseq, server, tmp_path):
    catalog(tmp_path, ROWS)
    ended = llmseq("embed", "--resume")
    assert (ended.status, "no batch was submitted" in ended.err) == (1, True)
    assert llmseq("embed", "--batch", "--source", "lexical").status == 2


@pytest.mark.parametrize("wrong", ["no key", "wrong key", "no batches", "no files"])
@pytest.mark.parametrize("then", ["plain", "--batch", "--resume"])
def test_what_was_not_accepted_is_not_under_way(llmseq, server, many, monkeypatch, wrong, then):
    with monkeypatch.context() as patch:
        if wrong == "no key":
            patch.delenv("OPENAI_BASE_URL")
            patch.delenv("OPENAI_API_KEY")
        elif wrong == "wrong key":
            patch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
        elif wrong == "no batches":
            server.has_batches = False
        else:
            server.at = lambda what: (_ for _ in ()).throw(ConnectionError) if what == "upload" else None
            clock = itertools.count(0, 50)
            patch.setattr("llmseq_cli.clients.retries.time.monotonic", lambda: next(clock))
            patch.setattr("llmseq_cli.embeddings.openai_batch.time.sleep", lambda seconds: None)
        ended = embed(llmseq, "--batch")
        assert (ended.status, "Traceback" in ended.err) == (1, False), ended.err
    assert "sk-wrong" not in ended.err
    server.at = lambda what: None
    assert llmseq("embeddings", "--batches", "--json").json == []
    assert server.batches == {}
    if then == "plain":
        assert embed(llmseq, "--json").json["texts_sent"] == 90
    else:
        if wrong == "no batches":
            ended = embed(llmseq, then)
            assert (ended.status, "without --batch" in ended.err or "no batch was" in ended.err) == (1, True), ended.err
            assert embed(llmseq, "--json").json["texts_sent"] == 90
            return
        if wrong in ("no key",) and then == "--resume":  # nothing was prepared
            assert "no batch was submitted" in embed(llmseq, then).err
            return
        assert embed(llmseq, then, "--json").json["under_way"] == 90
        finish_batches(server)
        assert embed(llmseq, "--resume", "--json").json["texts_sent"] == 90
    check(many)
    assert set(server.paid.values()) == {1}


@pytest.mark.parametrize("at", ["upload", "create", "created"])
@pytest.mark.parametrize("then", ["plain", "--resume"])
def test_kill_9_between_upload_and_create(llmseq, server, many, at, then):
    """A real process, killed while the server works on its request."""
    words = ["embed", "--source", "openai", "--batch", "--workspace", str(many.folder), "--wait-for-lock"]
    process, dead = [], threading.Event()

    def kill(what):
        if what == at and not dead.is_set():
            process[0].send_signal(signal.SIGKILL)
            process[0].wait(30)
            dead.set()

    server.at = kill
    process.append(Command(*words))
    assert process[0].wait(120) == -signal.SIGKILL
    assert dead.wait(30)
    for _ in range(100):  # "create" goes on after the kill: the batch is there all the same
        if at == "upload" or server.batches:
            break
        threading.Event().wait(0.05)
    if then == "plain" and at == "upload":
        assert embed(llmseq, "--json").json["texts_sent"] == 90
    elif then == "plain":
        refused = embed(llmseq)
        assert (refused.status, "90 texts are in an open batch" in refused.err, "--forget" in refused.err) == (
            1,
            True,
            True,
        )
        [row] = llmseq("embeddings", "--batches", "--json").json
        assert (row["texts"], row["state"], row["id"]) == (90, "accepted", "batch-0")
        finish_batches(server)
        made = embed(llmseq, "--json").json  # collects what is done meanwhile
        assert (made["texts_sent"], made["cached"]) == (0, 90)
    else:
        assert embed(llmseq, "--resume", "--json").json["under_way"] == 90
        finish_batches(server)
        assert embed(llmseq, "--resume", "--json").json["texts_sent"] == 90
    assert len(server.batches) == (0 if then == "plain" and at == "upload" else 1)
    check(many)
    assert set(server.paid.values()) == {1}


def test_batches_are_listed_and_forgotten(llmseq, server, many):
    embed(llmseq, "--batch")
    [row] = llmseq("embeddings", "--batches", "--json").json
    assert (row["number"], row["dataset"], row["source"], row["texts"]) == (1, "shop", "openai", 90)
    assert (row["state"], row["id"]) == ("accepted", "batch-0")
    assert "batch-0" in llmseq("embeddings", "--batches").out
    wrong = llmseq("embeddings", "--forget", "7")
    assert (wrong.status, "there is no open batch 7" in wrong.err) == (1, True)
    assert "90 texts of shop" in llmseq("embeddings", "--forget", "1").out
    assert llmseq("embeddings", "--batches", "--json").json == []
    assert states(llmseq) == ["forgotten"]
    assert embed(llmseq, "--json").json["texts_sent"] == 90
    check(many)


def test_a_batch_that_cannot_be_looked_for_can_be_forgotten(llmseq, server, many, monkeypatch):
    embed(llmseq, "--batch")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    ended = embed(llmseq)
    assert (ended.status, "--forget 1` drops batch 1" in ended.err) == (1, True), ended.err
    server.has_batches = False
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert embed(llmseq, "--json").json["texts_sent"] == 90  # the server knows it no more
    assert states(llmseq) == ["lost"]


def test_a_line_that_makes_no_sense_costs_its_texts_only(llmseq, server, many):
    embed(llmseq, "--batch")
    finish_batches(server)
    name = server.batches["batch-0"]["output_file_id"]
    lines = [json.loads(line) for line in server.files[name].splitlines()]
    for line in lines:
        data = line["response"]["body"]["data"]
        if line["custom_id"] == "0":
            data[3]["embedding"] = []
        if line["custom_id"] == "1":
            line["response"]["body"] = [[1.0]]
        if line["custom_id"] == "2":
            line["response"]["body"]["usage"] = {"total_tokens": 10**30}
    odd = [b"<html>", b"[[1]]", b"3", b'{"custom_id": 4}', b'{"custom_id": "99", "response": {"status_code": 200}}']
    server.files[name] = b"\n".join([*odd, *(json.dumps(line).encode() for line in lines)])
    again = embed(llmseq, "--resume", "--json").json
    assert (again["collected"], again["under_way"]) == (69, 21)
    finish_batches(server)
    embed(llmseq, "--resume")
    check(many)
