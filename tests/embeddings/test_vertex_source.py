"""The vertex source: Google's own client and credentials against a loopback server that checks what it is asked."""

import os
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate

import numpy as np
import pytest
from support.embedding_server import vector_of
from support.embedding_steps import ROWS, catalog
from support.fetching import QUICK, get
from support.vertex_server import PROJECT, TOKEN, VertexServer, google_error, write_service_account
from support.warm import Command

from llmseq_cli.clients.errors import BadAnswerError, FinalError, RefusedError, TransientError, UnreachableError
from llmseq_cli.embeddings.fetch import FetchOptions
from llmseq_cli.embeddings.sources.registry import SourceOptions, make_source
from llmseq_cli.embeddings.sources.vertex import VertexSettings, VertexSource
from llmseq_cli.embeddings.stored import load_embeddings
from llmseq_cli.errors import UsageError

TEXTS = ["red sock", "green silk scarf", "hat"]
ENGLISH = "text-embedding-005"


@pytest.fixture(autouse=True)
def _no_google(monkeypatch, tmp_path):
    """No test sees the user's Google account, nor asks whether it runs on Google's machines."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GEMINI_", "GCLOUD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = VertexServer()
    folder = tmp_path / "keys"
    folder.mkdir()
    file, server.private_key, server.public_key = write_service_account(folder, server.token_uri)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", server.url)
    yield server
    server.stop()


def expected(texts, dimensions):
    return np.stack([vector_of(text, dimensions) for text in texts])


def test_vectors_and_tokens(server):
    answer = VertexSource(ENGLISH).embed(TEXTS)
    assert np.array_equal(answer.vectors, expected(TEXTS, 768))
    assert (answer.vectors.dtype, answer.tokens) == (np.float32, 6)
    [(project, location, model, method, body)] = server.asked
    assert (project, location, model, method) == (PROJECT, "us-central1", ENGLISH, "predict")
    assert body == {"instances": [{"content": text} for text in TEXTS], "parameters": {"autoTruncate": False}}


def test_settings_reach_the_server(server, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "other")
    assert np.array_equal(VertexSource(dimensions=8).embed(TEXTS[:1]).vectors, expected(TEXTS[:1], 8))
    assert server.asked[-1][:4] == ("other", "europe-west4", "gemini-embedding-001", "predict")
    assert server.asked[-1][4]["parameters"] == {"outputDimensionality": 8, "autoTruncate": False}
    given = {"project": "mine", "location": "asia-east1", "task_type": "SEMANTIC_SIMILARITY"}
    source = make_source("vertex", SourceOptions(ENGLISH, base_url=server.url, settings=given))
    source.embed(TEXTS)
    assert server.asked[-1][:3] == ("mine", "asia-east1", ENGLISH)
    assert {instance["task_type"] for instance in server.asked[-1][4]["instances"]} == {"SEMANTIC_SIMILARITY"}


def test_later_gemini_models_are_asked_their_own_way(server):
    answer = VertexSource("gemini-embedding-2", 8).embed(TEXTS[:1])
    assert np.array_equal(answer.vectors, expected(TEXTS[:1], 8))
    assert (server.asked[-1][3], answer.tokens) == ("embedContent", 2)


@pytest.mark.parametrize("name", ["publishers/google/models/text-embedding-005", "google/text-embedding-005"])
def test_names_of_a_model(server, name):
    source = VertexSource(name, 4)
    assert source.model == ENGLISH
    source.embed(TEXTS)
    assert server.asked[-1][2] == ENGLISH


def test_limits():
    gemini, english = VertexSource().limits, VertexSource(ENGLISH).limits
    assert (gemini.texts_per_request, gemini.tokens_per_text) == (1, 2048)
    assert (english.texts_per_request, english.tokens_per_request, english.tokens_per_text) == (250, 20_000, 2048)
    assert (gemini.requests_per_minute, gemini.tokens_per_minute) == (30_000, 5_000_000)
    assert (english.requests_per_minute, english.tokens_per_minute) == (1_500, None)
    assert VertexSource(settings=VertexSettings(texts_per_request=50)).limits.texts_per_request == 50
    with pytest.raises(UsageError, match="takes one text per request"):
        VertexSource("gemini-embedding-2", settings=VertexSettings(texts_per_request=2))


def test_what_cannot_be():
    assert VertexSource(dimensions=3072).dimensions is None
    with pytest.raises(UsageError, match="has 768 dimensions, not 1000"):
        VertexSource(ENGLISH, 1000)
    with pytest.raises(UsageError, match="is not an endpoint address"):
        VertexSource(base_url="localhost:80")
    with pytest.raises(UsageError, match="task_type"):
        VertexSettings(task_type="CLUSTER")


def test_variants(monkeypatch):
    assert VertexSource().variant == ""
    assert VertexSource(base_url="https://europe-west4-aiplatform.googleapis.com").variant == ""
    gateway = VertexSource(base_url="http://me:secret@gate:80/google/", settings=VertexSettings(task_type="CLUSTERING"))
    assert gateway.variant == "CLUSTERING, http://gate:80/google"
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "https://gate")
    assert VertexSource().variant == "https://gate"


def info(seconds):
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": seconds}


EXHAUSTED = google_error(429, "Quota exceeded", "RESOURCE_EXHAUSTED")
TOO_LONG = "Unable to submit request because the input token count is 3000 but the model supports up to 2048."


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((429, EXHAUSTED, {"retry-after": "7"}), TransientError, "429 Quota exceeded"),
        ((500, google_error(500, "oops", "INTERNAL")), TransientError, "500 oops"),
        ((503, b"<html>busy</html>"), TransientError, "503"),
        ((504, b"\xff\xfe\x00", {}), TransientError, "cut off|504"),
        ((401, google_error(401, f"token {TOKEN}", "UNAUTHENTICATED")), FinalError, "does not accept"),
        ((403, google_error(403, f"Bearer {TOKEN} may not", "PERMISSION_DENIED")), FinalError, "denies access"),
        ((404, google_error(404, "Publisher Model was not found", "NOT_FOUND")), FinalError, "not found"),
        ((400, google_error(400, "outputDimensionality is wrong", "INVALID_ARGUMENT")), FinalError, "Dimensionality"),
        ((400, google_error(400, "Enable it", "FAILED_PRECONDITION")), FinalError, "Enable it"),
        ((400, google_error(400, "The content was blocked", "INVALID_ARGUMENT")), RefusedError, "blocked"),
        ((200, b'{"predictions": ['), TransientError, "cut off"),
        ((200, b""), BadAnswerError, "0 vectors for 3 texts"),
        ((200, {"predictions": [{"embeddings": {"values": [1.0]}}] * 3}), BadAnswerError, "width 1 where 768"),
        (
            (200, {"predictions": [{"embeddings": {"values": ["x"]}}] * 3}),
            BadAnswerError,
            "lacks a vector that makes sense",
        ),
        ((200, {"predictions": [{}] * 3}), BadAnswerError, "sense|width 0"),
        ((200, {"predictions": "busy"}), BadAnswerError, "sense|vectors"),
        ((200, {"error": "busy"}), BadAnswerError, "0 vectors"),
        ("few", BadAnswerError, "2 vectors for 3"),
        ("reset", TransientError, "no connection"),
        ("cut", TransientError, "no connection|cut off"),
    ],
)
def test_what_answers_mean(server, answer, kind, words):
    server.script = [answer]
    with pytest.raises(kind, match=words) as caught:
        VertexSource(ENGLISH).embed(TEXTS)
    assert TOKEN not in f"{caught.value} {caught.value.__cause__} {getattr(caught.value, 'hint', '')}"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ((429, EXHAUSTED, {"retry-after": "7"}), 7),
        ((429, EXHAUSTED, {"retry-after": "soon"}), None),
        ((429, google_error(429, "slow", "RESOURCE_EXHAUSTED", [{"@type": "x"}, info("2.5s")]), {}), 2.5),
        ((429, google_error(429, "slow", "RESOURCE_EXHAUSTED", [info("soon")]), {}), None),
        ((429, b"slow down", {}), None),
        ((503, EXHAUSTED, {}), None),
    ],
)
def test_how_long_the_server_asks_to_wait(server, answer, seconds):
    server.script = [answer]
    with pytest.raises(TransientError) as caught:
        VertexSource(ENGLISH).embed(TEXTS)
    assert caught.value.wait == seconds


def test_a_date_to_wait_for(server):
    server.script = [(429, EXHAUSTED, {"retry-after": formatdate(time.time() + 6000, usegmt=True)})]
    with pytest.raises(TransientError) as caught:
        VertexSource(ENGLISH).embed(TEXTS)
    assert caught.value.wait == pytest.approx(6000, abs=600)


@pytest.mark.parametrize("answer", [(400, google_error(400, TOO_LONG, "INVALID_ARGUMENT")), (413, b"")])
def test_too_long_is_told(server, answer):
    server.script = [answer]
    with pytest.raises(RefusedError) as caught:
        VertexSource(ENGLISH).embed(TEXTS)
    assert caught.value.too_long


def test_slow_server(server):
    server.latency = 1.5
    with pytest.raises(TransientError, match=r"127\.0\.0\.1: no answer in 1 s"):
        VertexSource(ENGLISH, settings=VertexSettings(timeout=1)).embed(TEXTS)


def test_server_without_statistics(server):
    server.statistics = False
    assert VertexSource(ENGLISH, 4).embed(TEXTS).tokens is None


def test_threads_share_one_client_and_token(server):
    source = VertexSource(ENGLISH, 4)
    answers = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: source.embed([f"text {n}"]).vectors})) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(answers[n], expected([f"text {n}"], 4)) for n in range(8))
    assert server.tokens_given == 1


def test_tokens_are_renewed(server):
    server.token_lifetime = 1
    source = VertexSource(ENGLISH, 4)
    source.embed(TEXTS)
    source.embed(TEXTS)
    assert server.tokens_given == 2


def test_an_account_that_was_deleted(server):
    server.token_script = [(400, {"error": "invalid_grant", "error_description": "Invalid grant: account not found"})]
    with pytest.raises(FinalError, match=r"no access token: .*account not found") as caught:
        VertexSource(ENGLISH).embed(TEXTS)
    assert "gcloud auth" in caught.value.hint
    assert server.requests == []


def test_token_server_is_away(server, monkeypatch, tmp_path):
    file, private, _ = write_service_account(tmp_path, "http://127.0.0.1:9/token")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(UnreachableError, match="no access token") as caught:
        VertexSource(ENGLISH).embed(TEXTS)
    assert private.splitlines()[1] not in str(caught.value)


def test_credentials_that_are_missing_or_torn(llmseq, server, monkeypatch, tmp_path):
    catalog(tmp_path, ROWS)
    torn = tmp_path / "torn.json"
    torn.write_text('{"type": "service_account"}')
    for file in (torn, tmp_path / "nowhere.json"):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        ended = llmseq("embed", "--source", "vertex")
        assert (ended.status, "no Google Cloud credentials" in ended.err) == (1, True)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    ended = llmseq("embed", "--source", "vertex")
    assert (ended.status, "no Google Cloud credentials" in ended.err) == (1, True)
    assert "hint: run `gcloud auth application-default login`" in " ".join(ended.err.split())
    assert server.requests == []


def test_endpoint_is_away(server):
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1: no connection"):
        VertexSource(ENGLISH, base_url="http://127.0.0.1:9").embed(TEXTS)


def test_without_credentials_two_lines_are_all_that_is_printed(tmp_path):
    catalog(tmp_path, ROWS)
    ended = subprocess.run(
        [sys.executable, "-m", "llmseq_cli", "embed", "--source", "vertex"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert [line.split(":")[0] for line in ended.stderr.splitlines()] == ["error", "hint"]


def test_project_is_missing(server, monkeypatch, tmp_path):
    user = tmp_path / "user.json"
    user.write_text('{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(user))
    with pytest.raises(FinalError, match="no Google Cloud project is known"):
        VertexSource().embed(TEXTS)


def test_tokens_are_estimated_from_above():
    # Digits are kept apart by Gemini's tokenizer; words are one token each, or two.
    counts = VertexSource().count_tokens(["the quick brown fox", "0123456789", "a-b", "日本", "", "  "])
    assert counts.tolist() == [6, 10, 3, 6, 0, 0]


@pytest.mark.parametrize("text", ["the quick brown fox jumps", "日本語のタイトル mixed", "x" * 50, "a,b;c d", "1 234"])
def test_cut_is_the_longest_beginning(text):
    source = VertexSource()
    for tokens in range(1, 12):
        cut = source.cut(text, tokens)
        assert text.startswith(cut)
        assert source.count_tokens([cut])[0] <= tokens
        assert cut == text or source.count_tokens([text[: len(cut) + 2]])[0] >= tokens


def test_nothing_known_before_the_first_request(llmseq, tmp_path):
    catalog(tmp_path, ROWS)
    plan = llmseq("embed", "--source", "vertex", "--dry-run", "--json").json
    assert (plan["source"], plan["model"], plan["texts"], plan["requests"]) == ("vertex", "gemini-embedding-001", 3, 3)
    assert plan["cost_usd"] == pytest.approx(plan["tokens"] * 0.15 / 1e6)


def test_gemini_sends_one_text_a_request(llmseq, server, tmp_path):
    workspace = catalog(tmp_path, ROWS)
    made = llmseq("embed", "--source", "vertex", "--dimensions", "16", "--json").json
    assert (made["texts_sent"], made["requests"], made["tokens"], made["dimensions"]) == (3, 3, 5, 16)
    assert {len(body["instances"]) for *_, body in server.asked} == {1}
    _check(workspace, {0: "red sock", 1: "blue sock", 3: "hat", 5: "red sock"})
    before = len(server.requests)
    again = llmseq("embed", "--source", "vertex", "--dimensions", "16", "--json").json
    assert (again["texts_sent"], len(server.requests), server.tokens_given) == (0, before, 1)
    other = ("--set", "task_type=CLUSTERING")
    assert llmseq("embed", "--source", "vertex", "--dimensions", "16", *other, "--json").json["texts_sent"] == 3


def _check(workspace, titles, dimensions=16):
    with workspace.store.read("testing") as con:
        items = con.execute("select count(*) from core.item").fetchall()[0][0]
        vectors = load_embeddings(con, 1, "vertex", items).vectors
    for place, title in titles.items():
        assert np.array_equal(vectors[place], vector_of(title, dimensions))


def test_requests_are_as_full_as_they_may_be(llmseq, server, tmp_path):
    long = " ".join(["sock"] * 100)
    rows = [(f"sock {chr(97 + n % 26)}{chr(97 + n // 26)}", "") for n in range(600)]
    catalog(tmp_path, [*rows, *((f"{long} {title}", "") for title, _ in rows[:200])])
    llmseq("embed", "--source", "vertex", "--model", ENGLISH, "--dimensions", "16")
    sizes = [len(body["instances"]) for *_, body in server.asked]
    assert (sum(sizes), max(sizes)) == (800, 250)
    source = VertexSource(ENGLISH)
    for *_, body in server.asked:
        assert source.count_tokens([instance["content"] for instance in body["instances"]]).sum() <= 20_000
    assert 3 < len(sizes) < 10


def test_bad_vectors_are_never_kept(server):
    source = VertexSource(ENGLISH, 16)
    server.broken = {"hat": lambda vector: vector * np.nan}
    kept, usage, _ = get(source, TEXTS, FetchOptions(dimensions=16, patience=QUICK))
    assert (sorted(kept.vectors), list(usage.refused)) == ([0, 1], [2])
    for broken in (lambda vector: vector[:5], lambda vector: [*vector, 1.0]):
        server.broken = dict.fromkeys(TEXTS, broken)
        with pytest.raises(FinalError, match=r"vectors of width \d+ where 16 belong"):
            get(source, TEXTS, FetchOptions(dimensions=16, patience=QUICK))
    server.broken = {}
    server.script = ["few"]
    kept, usage, _ = get(source, TEXTS, FetchOptions(dimensions=16, patience=QUICK))
    kept.check(TEXTS, 16)
    assert (len(kept.vectors), usage.retries) == (3, 1)


def test_long_texts_are_cut_and_counted(llmseq, server, tmp_path):
    catalog(tmp_path, [("hat", ""), ("sock " * 700, "")])
    server.tokens_per_text = 500
    made = llmseq("embed", "--source", "vertex", "--dimensions", "16", "--json").json
    assert (made["cut"], made["texts_sent"], made["refused"]) == (1, 2, [])
    assert max(len(text.split()) for text in server.paid) <= 500


def embed_process(tmp_path):
    arguments = ["embed", "--source", "vertex", "--model", ENGLISH, "--dimensions", "16", "--concurrency", "8"]
    arguments += ["--set", "texts_per_request=20", "--workspace", str(tmp_path / "workspace")]
    return Command(*arguments)


def test_killed_and_run_again_each_text_is_paid_once(llmseq, server, tmp_path):
    titles = [f"title {place % 2900}" for place in range(3000)]
    workspace = catalog(tmp_path, [(title, "") for title in titles])
    server.fault_share, server.latency = 0.2, 0.01
    process = embed_process(tmp_path)
    deadline = time.monotonic() + 120
    while len(server.paid) < 1000 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    printed = "".join(process.communicate())
    assert process.returncode == -signal.SIGKILL, printed
    process = embed_process(tmp_path)
    printed += "".join(process.communicate(timeout=240))
    assert process.returncode == 0, printed
    assert set(server.paid) == set(titles)
    assert max(server.paid.values()) <= 2
    # In flight when killed: at most 8 requests and 16 that waited to be written, of 20 texts.
    assert sum(times > 1 for times in server.paid.values()) <= (8 + 16) * 20
    assert set(server.faults) == set(server.fault_kinds)
    _check(workspace, dict(enumerate(titles)))
    before = len(server.requests)
    again = llmseq("embed", "--source", "vertex", "--model", ENGLISH, "--dimensions", "16", "--json").json
    assert (again["texts_sent"], len(server.requests)) == (0, before)
    secrets = [TOKEN.encode(), server.private_key.splitlines()[1].encode()]
    assert not any(secret in printed.encode() for secret in secrets)
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.name != "account.json"]
    assert files
    assert not any(secret in file.read_bytes() for file in files for secret in secrets)
