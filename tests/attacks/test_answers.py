"""500 wrong answers of each kind: only the program's own errors come of them, nothing hangs, nothing wrong is kept."""

import base64
import contextlib
import json

import httpx
import numpy as np
import openai
import pytest
from support.chat_server import MODEL, ChatServer
from support.embedding_server import KEY, EmbeddingServer
from support.embedding_steps import catalog
from support.mutations import DEEP, HTML, mutations

from llmseq_cli.clients.answers import MOST_TOKENS, Answer, Page, fitting
from llmseq_cli.clients.errors import BadAnswerError, FinalError, RefusedError, TransientError
from llmseq_cli.clients.openai import OpenAIClient
from llmseq_cli.clients.openai_answers import BatchLine, BatchState, File, TuningEvent, TuningJob, openai_chat
from llmseq_cli.clients.readable import readable
from llmseq_cli.clients.vector_answers import openai_vectors, openai_vectors_in, vertex_vectors
from llmseq_cli.clients.vertex_answers import vertex_chat
from llmseq_cli.embeddings.sources.openai import OpenAISource
from llmseq_cli.providers.openai import OpenAIProvider, OpenAITuning
from llmseq_cli.providers.provider import ChatRequest

OWN = (TransientError, RefusedError, FinalError)
WIDTH, TEXTS = 4, 3
EACH = 500


def answer(body):
    return Answer("shop.example", body, OpenAIClient("http://shop.example/v1", 1).scrub)


def floats(place):
    return [round(0.1 * (place + step), 3) for step in range(WIDTH)]


def single(place):
    return base64.b64encode(np.array(floats(place), dtype="<f4").tobytes()).decode()


VECTORS = {
    "object": "list",
    "data": [{"index": i, "embedding": single(i) if i == 1 else floats(i)} for i in range(TEXTS)],
    "usage": {"prompt_tokens": 6, "total_tokens": 6},
}
CHAT = {
    "choices": [{"index": i, "message": {"role": "assistant", "content": f"hat {i}"}, "finish_reason": "stop"}
                for i in range(3)],
    "usage": {"prompt_tokens": 7, "completion_tokens": 9},
}  # fmt: skip
JOB = {
    "id": "ftjob-1", "status": "succeeded", "fine_tuned_model": "ft:gpt:org::1", "error": {"message": "none"},
    "trained_tokens": 100, "estimated_finish": 1_700_000_000, "metadata": {"llmseq": "t"}, "result_files": ["file-1"],
}  # fmt: skip
FILE = {"id": "file-1", "filename": "a.jsonl", "bytes": 12, "purpose": "fine-tune"}
EVENT = {"id": "ev-1", "message": "The job is running"}
BATCH = {
    "id": "batch-1", "status": "completed", "output_file_id": "file-2", "error_file_id": None,
    "metadata": {"llmseq": "t"}, "errors": {"data": [{"message": "too many"}]},
}  # fmt: skip
LINE = {"custom_id": "0", "response": {"status_code": 200, "body": VECTORS}}
PREDICTIONS = {
    "predictions": [{"embeddings": {"values": floats(i), "statistics": {"token_count": 2.0}}} for i in range(TEXTS)]
}
GENERATED = {
    "candidates": [{"content": {"parts": [{"text": f"hat {i}"}]}, "finishReason": "STOP"} for i in range(3)],
    "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 9, "thoughtsTokenCount": 2},
}


def sound_count(tokens):
    return tokens is None or (type(tokens) is int and 0 <= tokens <= 2 * TEXTS * MOST_TOKENS)


def check_vectors(found):
    assert len(found.places) == len(found.vectors) == len(set(found.places.tolist()))
    assert found.vectors.dtype == np.float32
    assert np.isfinite(found.vectors).all()
    assert len(found.places) == 0 or (
        found.vectors.shape[1] > 0 and 0 <= min(found.places) <= max(found.places) < TEXTS
    )
    assert sound_count(found.tokens)


def check_words(found):
    assert found.texts
    assert len(found.texts) == len(found.finishes)
    assert all(type(text) is str for text in [*found.texts, *found.finishes])
    assert sound_count(found.prompt_tokens)
    assert sound_count(found.completion_tokens)


def check_job(found):
    check_entries([found])
    assert type(found.status) is str
    assert found.fine_tuned_model is None or type(found.fine_tuned_model) is str
    assert sound_count(found.trained_tokens)
    assert all("/" not in one for one in found.result_files)


def check_entries(found):
    for one in found:
        assert type(one.id) is str
        assert not set(one.id) & {"/", "\x1b", "\0"}


def check_line(found):
    if found is not None:
        check_vectors(openai_vectors_in(found.response.body, TEXTS, WIDTH))
        assert type(found.response.refusal) is str


def own_error(call):
    """The error of the program's own that a call ends with, None for none; it must be fit to show."""
    try:
        call()
    except OWN as error:
        caught = error
    else:
        return None
    assert len(str(caught)) < 500
    assert str(caught).isprintable()
    return caught


def page(kind, entry):
    return {
        "data": [entry, entry | {"id": "other"}],
        "has_more": True,
    }, lambda body: answer(body).read(Page).entries(kind)


KINDS = {
    "openai embeddings": (VECTORS, lambda body: openai_vectors(answer(body), TEXTS, WIDTH), check_vectors),
    "openai embeddings of any width": (VECTORS, lambda body: openai_vectors(answer(body), TEXTS, None), check_vectors),
    "openai chat": (CHAT, lambda body: openai_chat(answer(body), "check"), check_words),
    "openai job": (JOB, lambda body: answer(body).read(TuningJob), check_job),
    "openai file": (FILE, lambda body: answer(body).read(File), lambda found: check_entries([found])),
    "openai files": (*page(File, FILE), check_entries),
    "openai jobs": (*page(TuningJob, JOB), check_entries),
    "openai events": (*page(TuningEvent, EVENT), check_entries),
    "openai batch": (
        BATCH,
        lambda body: answer(body).read(BatchState),
        lambda found: check_entries([found]) or found.said,
    ),
    "openai batches": (*page(BatchState, BATCH), check_entries),
    "openai batch lines": (LINE, lambda body: fitting(BatchLine, answer(body).document()), check_line),
    "vertex embeddings": (PREDICTIONS, lambda body: vertex_vectors(answer(body), TEXTS, WIDTH), check_vectors),
    "vertex chat": (GENERATED, lambda body: vertex_chat(answer(body), "check"), check_words),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_wrong_answers_are_one_error(kind):
    valid, read, check = KINDS[kind]
    check(read(json.dumps(valid).encode()))
    errors = 0
    for body in mutations(valid, EACH, seed=14):
        error = own_error(lambda body=body: check(read(body)))
        if error is not None:
            errors += 1
            assert isinstance(error, RefusedError) or "shop.example" in str(error)
            if isinstance(error, BadAnswerError) and error.part is not None:
                check_vectors(error.part)
    assert errors > 50


def test_vertex_tuning_jobs_are_read_or_one_error(monkeypatch):
    """Through Google's client, over a transport that answers what we say."""
    requests = pytest.importorskip("requests")
    from google.auth.credentials import AnonymousCredentials

    from llmseq_cli.clients.vertex import VertexClient
    from llmseq_cli.clients.vertex_tuning import TuningJobs
    from llmseq_cli.providers.vertex import VertexProvider, VertexTuning

    place = "projects/p/locations/us-central1"
    valid = {
        "name": f"{place}/tuningJobs/1", "state": "JOB_STATE_SUCCEEDED", "baseModel": "gemini",
        "labels": {"llmseq": "t"},
        "tunedModelDisplayName": "x-t", "tunedModel": {"model": "m", "endpoint": f"{place}/endpoints/1"},
        "supervisedTuningSpec": {"trainingDatasetUri": "gs://b/f", "hyperParameters": {"epochCount": "2"}},
        "tuningDataStats": {"supervisedTuningDataStats": {"totalBillableTokenCount": "100"}},
        "error": {"code": 3, "message": "too dull"},
    }  # fmt: skip
    sent = {}

    def send(adapter, request, **_):
        response = requests.Response()
        response.status_code, response._content = sent["status"], sent["body"]
        response.request, response.url = request, request.url
        return response

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", send)
    monkeypatch.setattr(VertexClient, "signed_in", (AnonymousCredentials(), "p"))
    provider = VertexProvider("http://127.0.0.1:9/projects/p/locations/us-central1", VertexTuning())

    def poll():
        job = provider.poll(f"{place}/tuningJobs/1")
        assert job.status in ("queued", "running", "succeeded", "failed", "cancelled")
        assert sound_count(job.trained_tokens)
        return job

    sent |= {"status": 200, "body": json.dumps(valid).encode()}
    job = poll()
    assert (job.status, job.trained_tokens, job.error) == ("succeeded", 200, "too dull")
    errors = []
    for step, body in enumerate(mutations(valid, EACH, seed=15)):
        sent |= {"status": 503 if step % 5 == 4 else 200, "body": body}
        errors += [error for error in [own_error(poll)] if error is not None]
    assert len(errors) > 150
    listed = {"tuningJobs": [valid, valid | {"name": f"{place}/tuningJobs/2"}]}
    for body in mutations(listed, 100, seed=16):
        sent |= {"status": 200, "body": body}
        own_error(lambda: [job.name for job in TuningJobs(provider.client).all()])
    sent["body"] = json.dumps(listed).encode()
    assert len(list(TuningJobs(provider.client).all())) == 2
    sent["body"] = json.dumps({"nextPageToken": "again"}).encode()
    assert list(TuningJobs(provider.client).all()) == []  # the same page for ever ends, too


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = EmbeddingServer(dimensions=WIDTH)
    yield server
    server.stop()


def test_through_a_real_server(server):
    source = OpenAISource(base_url=server.url, dimensions=WIDTH)
    for body in mutations(VECTORS, 40, seed=17):
        server.script = [(200, body)]
        with contextlib.suppress(*OWN):
            vectors = source.embed(["a", "b", "c"]).vectors
            assert vectors.shape == (3, WIDTH)
            assert np.isfinite(vectors).all()


def test_chat_through_a_real_server(monkeypatch):
    server = ChatServer()
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        provider = OpenAIProvider(server.url, OpenAITuning())
        request = ChatRequest(MODEL, "", "what next?", 3, 0.5, 0.9, 30)
        for body in mutations(CHAT, 40, seed=18):
            server.script = [(200, json.loads(body) if body.startswith(b'{"choices"') and _whole(body) else body)]
            with contextlib.suppress(*OWN):
                check_words(provider.complete(request))
        assert len(server.requests) >= 40
    finally:
        server.stop()


def _whole(body):
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def test_what_is_sound_of_an_answer_is_kept(llmseq, server, tmp_path, monkeypatch):
    """One empty vector among many: the others are kept, and only the one text is asked again."""
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 0.0)
    workspace = catalog(tmp_path, [(f"title {place}", "") for place in range(40)])
    server.broken = {"title 7": lambda vector: vector[:0]}
    ended = llmseq("embed", "--source", "openai", "--base-url", server.url)
    assert (ended.status, "bug" in ended.err, "width 0" in ended.err) == (1, False, True), ended.err
    kept = llmseq("sql", "select len(vector) as width from core.text_vector", "--json").json
    assert [row["width"] for row in kept] == [WIDTH] * 39
    server.broken = {}
    made = llmseq("embed", "--source", "openai", "--base-url", server.url, "--json").json
    assert (made["texts_sent"], made["cached"], made["dimensions"]) == (1, 39, WIDTH)
    with workspace.store.read("testing") as con:
        rows = con.execute("select vector from core.text_vector where len(vector) <> 4").fetchall()
    assert rows == []
    assert server.paid["title 3"] == 1


def test_vectors_that_cannot_be_used_are_asked_again(llmseq, server, tmp_path):
    """A cache of an earlier version may hold an empty vector."""
    workspace = catalog(tmp_path, [(f"title {place}", "") for place in range(10)])
    words = ["embed", "--source", "openai", "--base-url", server.url, "--json"]
    llmseq(*words)
    with workspace.store.write("testing") as con:
        con.execute("update core.text_vector set vector = [] where rowid < 3")
    assert llmseq(*words).json["texts_sent"] == 3
    kept = llmseq("sql", "select len(vector) as width from core.text_vector", "--json").json
    assert [row["width"] for row in kept] == [WIDTH] * 10


@pytest.mark.parametrize("tokens", [-1, 10**30, 1e300, True, "7", [7], {"a": 1}, float("nan"), float("inf"), None])
def test_tokens_that_cannot_be_are_not_told(tokens):
    chat = CHAT | {"usage": {"prompt_tokens": tokens, "completion_tokens": 9}}
    found = openai_chat(answer(json.dumps(chat).encode()), "check")
    assert (found.prompt_tokens, found.completion_tokens) == (7 if tokens == "7" else None, 9)
    assert found.texts == ["hat 0", "hat 1", "hat 2"]


def test_valid_choices_are_kept():
    bad = {"message": {"content": ["hat"]}}
    found = openai_chat(answer(json.dumps(CHAT | {"choices": [bad, 3, *CHAT["choices"][:2]]}).encode()), "check")
    assert found.texts == ["hat 0", "hat 1"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07and\tso\r\non", "red and so on"),
        ("\x9b31mred \x00\x07 \u202eback", "red back"),
        ("a" * 1500, "a" * 299 + "…"),
        ("日本語のタイトル", "日本語のタイトル"),
    ],
)
def test_words_of_servers_are_shown_in_one_clean_line(said, shown):
    assert readable(said) == shown


def test_errors_of_servers_are_cut_and_cleaned(server):
    request = httpx.Request("POST", server.url)
    body = {"message": f"\x1b[2J{KEY} " + "no " * 600}
    error = openai.APIStatusError("x", response=httpx.Response(404, request=request), body=body)
    explained = OpenAIClient(server.url, 1).explained(error)
    assert isinstance(explained, FinalError)
    assert explained.message.startswith("404 *** no no")
    assert len(explained.message) < 310
    assert explained.message.isprintable()
    for odd in (HTML, DEEP):
        with pytest.raises(BadAnswerError, match=r"shop\.example: the answer is not JSON") as caught:
            answer(odd).document()
        assert len(str(caught.value)) < 260
