"""The openai source against a loopback server that checks what it is asked."""

import time
from email.utils import formatdate

import numpy as np
import pytest
from support.embedding_server import KEY, EmbeddingServer, error, vector_of

from llmseq_cli.clients.errors import BadAnswerError, FinalError, RefusedError, TransientError, UnreachableError
from llmseq_cli.clients.openai import OpenAIClient
from llmseq_cli.embeddings.sources.openai import OpenAISettings, OpenAISource
from llmseq_cli.errors import UsageError

TEXTS = ["red sock", "green silk scarf", "hat"]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = EmbeddingServer()
    yield server
    server.stop()


def expected(texts, dimensions=16):
    return np.stack([vector_of(text, dimensions) for text in texts])


def test_vectors_and_tokens(server):
    server.tell_limits = {"x-ratelimit-limit-requests": "5000", "x-ratelimit-limit-tokens": "2000000"}
    answer = OpenAISource(base_url=server.url).embed(TEXTS)
    assert np.array_equal(answer.vectors, expected(TEXTS))
    assert answer.vectors.dtype == np.float32
    assert (answer.tokens, answer.requests_per_minute, answer.tokens_per_minute) == (6, 5000, 2_000_000)


def test_dimensions_are_asked_for(server):
    assert np.array_equal(OpenAISource(dimensions=4, base_url=server.url).embed(TEXTS).vectors, expected(TEXTS, 4))


def test_answers_out_of_order(server):
    server.script = ["shuffle"] * 5
    source = OpenAISource(base_url=server.url)
    for _ in range(5):
        assert np.array_equal(source.embed(TEXTS).vectors, expected(TEXTS))


def test_server_without_base64(server):
    server.base64 = False
    source = OpenAISource(base_url=server.url)
    assert np.allclose(source.embed(TEXTS).vectors, expected(TEXTS))
    before = len(server.requests)
    source.embed(TEXTS)
    assert len(server.requests) == before + 1


def test_server_without_key(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server.key = None
    assert len(OpenAISource(base_url=server.url).embed(TEXTS).vectors) == 3
    with pytest.raises(FinalError, match="OPENAI_API_KEY is not set"):
        OpenAISource().embed(TEXTS)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((429, error("slow down", "rate_limit_exceeded"), {"retry-after": "7"}), TransientError, "429 slow down"),
        ((429, error("no money", "insufficient_quota", type="insufficient_quota"), {}), FinalError, "no quota left"),
        ((429, error("Request too large for gpt"), {}), RefusedError, "too large"),
        ((500, error("oops"), {}), TransientError, "500 oops"),
        ((503, b"<html>busy</html>", {}), TransientError, "503"),
        ((401, error("Incorrect API key provided: " + KEY), {}), FinalError, "does not accept the key"),
        ((403, error("region " + KEY), {}), FinalError, "region \\*\\*\\*"),
        ((404, error("no such model", "model_not_found"), {}), FinalError, "no such model"),
        ((400, error("not for this model", param="dimensions"), {}), FinalError, "not for this model"),
        ((400, error("flagged"), {}), RefusedError, "flagged"),
        ((422, {"detail": "bad text"}, {}), RefusedError, "bad text"),
        ((200, b'{"data": [', {}), TransientError, "cut off"),
        ((200, {"data": []}, {}), BadAnswerError, "0 vectors for 3 texts"),
        ((200, {"data": [{"index": 1, "embedding": [1.0]}] * 3}, {}), BadAnswerError, "comes twice"),
        (
            (200, {"data": [{"index": i, "embedding": [1.0] * (i + 1)} for i in range(3)]}, {}),
            BadAnswerError,
            "widths 1 to 3",
        ),
        ((200, {"error": "busy"}, {}), BadAnswerError, r"127\.0\.0\.1:\d+: the answer holds no vectors: .*busy"),
        ("few", BadAnswerError, "2 vectors for 3"),
        ("reset", TransientError, "no connection"),
        ("cut", TransientError, "no connection|cut off"),
    ],
)
def test_what_answers_mean(server, answer, kind, words):
    server.script = [answer]
    with pytest.raises(kind, match=words) as caught:
        OpenAISource(base_url=server.url).embed(TEXTS)
    assert KEY not in f"{caught.value} {caught.value.__cause__}"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_the_server_asks_to_wait(server, headers, seconds):
    server.script = [(429, error("slow"), headers)]
    with pytest.raises(TransientError) as caught:
        OpenAISource(base_url=server.url).embed(TEXTS)
    assert caught.value.wait == seconds


def test_a_date_to_wait_for(server):
    server.script = [(429, error("slow"), {"retry-after": formatdate(time.time() + 6000, usegmt=True)})]
    with pytest.raises(TransientError) as caught:
        OpenAISource(base_url=server.url).embed(TEXTS)
    assert caught.value.wait == pytest.approx(6000, abs=600)


def test_too_long_is_told(server):
    server.words_per_text = 2
    with pytest.raises(RefusedError) as caught:
        OpenAISource(base_url=server.url).embed(TEXTS)
    assert caught.value.too_long


def test_nobody_listens():
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9: no connection"):
        OpenAISource(base_url="http://127.0.0.1:9/v1").embed(TEXTS)
    with pytest.raises(UnreachableError, match=r"nowhere\.invalid: no connection"):
        OpenAISource(base_url="http://nowhere.invalid/v1").embed(TEXTS)


def test_tokens_are_estimated_from_above():
    source = OpenAISource()
    # As cl100k_base splits them: "the", " quick", " brown", " fox" are one token each, "0123456789" is four.
    counts = source.count_tokens(["the quick brown fox", "0123456789", "a-b", "日本", "", "  "])
    assert counts.tolist() == [6, 4, 3, 6, 0, 0]


@pytest.mark.parametrize("text", ["the quick brown fox jumps", "日本語のタイトル mixed", "x" * 50, "a,b;c d"])
def test_cut_is_the_longest_beginning(text):
    source = OpenAISource()
    for tokens in range(1, 12):
        cut = source.cut(text, tokens)
        assert text.startswith(cut)
        assert source.count_tokens([cut])[0] <= tokens
        assert cut == text or source.count_tokens([text[: len(cut) + 2]])[0] >= tokens


def test_dimensions_that_cannot_be():
    assert OpenAISource(dimensions=1536).dimensions is None
    assert OpenAISource(dimensions=256).dimensions == 256
    with pytest.raises(UsageError, match="has 1536 dimensions"):
        OpenAISource(dimensions=2000)
    with pytest.raises(UsageError, match="ada-002 has 1536"):
        OpenAISource("text-embedding-ada-002", 256)


def test_addresses(monkeypatch):
    assert OpenAIClient(None, 1).address == "https://api.openai.com/v1"
    assert OpenAISource().variant == ""
    assert OpenAISource(base_url="http://me:secret@host:8000/v1/").variant == "http://host:8000/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://tei/v1")
    assert OpenAISource().variant == "http://tei/v1"
    assert OpenAISource().limits.texts_per_request == 32
    assert OpenAISource(settings=OpenAISettings(texts_per_request=100)).limits.texts_per_request == 100
    with pytest.raises(UsageError, match="is not a server address"):
        OpenAIClient("localhost:8000", 1)
