"""The one engine, through both of its adapters, against a server that counts what it is sent."""

import json
import threading
import time

import pytest
from support.fault_server import FaultHandler, FaultServer, error

from llmseq_cli.clients.errors import FinalError
from llmseq_cli.clients.retries import Patience
from llmseq_cli.embeddings.fetch import FetchOptions, fetch
from llmseq_cli.embeddings.sources.registry import SourceOptions, make_source
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import SilentProgress
from llmseq_cli.prompting.asking import AskOptions, Question, ask
from llmseq_cli.providers.provider import ChatRequest
from llmseq_cli.providers.registry import make_provider

AT_A_TIME = 64
TOTAL = 400
QUICK = Patience(attempts=2, seconds=0, first_wait=0.01, largest_wait=0.02)


class CountingHandler(FaultHandler):
    def do_POST(self):  # noqa: N802
        server, asked = self.server, json.loads(self.body())
        with server.lock:
            server.arrived += 1
            number = server.arrived
        status = server.status(number)
        document = error("no", "x")
        if status == 200 and "input" in asked:
            data = [{"index": place, "embedding": [1.0, 2.0]} for place in range(len(asked["input"]))]
            document = {"data": data, "usage": {"total_tokens": 1}}
        elif status == 200:
            choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
            document = {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        self.answer(status, document)
        with server.lock:
            server.answered += status == 200


class CountingServer(FaultServer):
    """`status(number)` of a request says how it ends and whether it ends only after `gate` is open."""

    request_queue_size = 256
    handler = CountingHandler

    def __init__(self, status):
        super().__init__()
        self.status = status
        self.arrived, self.answered, self.gate = 0, 0, threading.Event()


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-1234567890")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def start(status):
        servers.append(CountingServer(status))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def embed(server, **options):
    """Fetches vectors of texts, one a request; returns how many were kept."""
    source = make_source("openai", SourceOptions(None, None, server.url, {"texts_per_request": 1}))
    kept, texts = [], [f"text {place}" for place in range(TOTAL)]
    options = FetchOptions(concurrency=AT_A_TIME, patience=QUICK, **options)
    return kept, lambda: fetch(source, texts, source.count_tokens(texts), kept.extend, options, SilentProgress())


def chat(server, **options):
    """Asks questions; returns how many answers were kept."""
    provider = make_provider("openai", server.url, {})
    asked = [Question(place, "", 0, ChatRequest("m", "", f"{place}?", 1, 0, 1, 9), 9) for place in range(TOTAL)]
    kept, options = [], AskOptions(concurrency=AT_A_TIME, patience=QUICK, **options)
    return kept, lambda: ask(provider, asked, TOTAL, kept.extend, options, SilentProgress())


@pytest.mark.parametrize("way", [embed, chat])
@pytest.mark.parametrize(("status", "words"), [(401, "key"), (402, "quota"), (404, "404"), (503, "2 attempts")])
def test_nothing_is_sent_after_the_fatal_answer(serve, way, status, words, monkeypatch):
    """All slots are under way; one ends it, the others answer a little later. A slot that gets free stays unused."""
    full, told = threading.Event(), threading.Event()
    release = threading.Semaphore.release

    def release_and_rest(self, n=1):  # whoever waits for the slot runs before the thread that had it
        release(self, n)
        time.sleep(0.05)

    monkeypatch.setattr(threading.Semaphore, "release", release_and_rest)

    def answer(number):
        if number >= AT_A_TIME:
            full.set()
        assert full.wait(30)
        if status == 503 or number == 1:  # with 503 every request fails until patience ends
            told.set()
            return status
        assert told.wait(30)
        time.sleep(0.3)
        return 200

    server = serve(answer)
    kept, run = way(server)
    with pytest.raises(FinalError, match=words):
        run()
    time.sleep(0.1)
    if status == 503:  # a first attempt for each text at most, a second one for those that were still allowed it
        assert AT_A_TIME < server.arrived < TOTAL
        return
    assert server.arrived == AT_A_TIME
    assert len(kept) == server.answered == AT_A_TIME - 1


@pytest.mark.parametrize("way", [embed, chat])
def test_the_fatal_answer_may_come_at_any_time(serve, way):
    """Slots free themselves all the time: at most what the other slots hold can still arrive."""

    def answer(number):
        if number == 150:
            return 401
        time.sleep(0.01 if number < 150 else 1.5)  # long enough for the fatal answer to be heard first
        return 200

    server = serve(answer)
    kept, run = way(server)
    with pytest.raises(FinalError, match="key"):
        run()
    assert server.arrived < 150 + AT_A_TIME
    assert len(kept) == server.arrived - 1


@pytest.mark.parametrize("way", [embed, chat])
@pytest.mark.parametrize("headers", [{"retry-after": "0"}, {"retry-after-ms": "0"}])
def test_retry_after_0_is_at_once_for_both(serve, way, headers, monkeypatch):
    pauses = []
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: pauses.append(high) or high)
    first = threading.Event()
    server = serve(lambda number: 200)
    handler = server.RequestHandlerClass

    def answer(number):
        if first.is_set():
            return 200
        first.set()
        return 429

    server.status = answer
    end = handler.end_headers

    def with_headers(self):
        for name, value in headers.items():
            self.send_header(name, value)
        end(self)

    monkeypatch.setattr(handler, "end_headers", with_headers)
    kept, run = way(server)
    run()
    assert len(kept) == TOTAL
    assert pauses == [0.0]


@pytest.mark.parametrize("way", [embed, chat])
def test_max_cost_holds_with_many_requests_at_a_time(serve, way):
    server = serve(lambda number: 200)
    prices = {"usd_per_token": 0.1} if way is embed else {"input_usd": 0.1, "output_usd": 0.1}
    kept, run = way(server, max_cost=9.0, **prices)
    with pytest.raises(LlmseqError, match=r"stopped before --max-cost 9"):
        run()
    assert 0 < len(kept) == server.arrived
    assert server.arrived * 0.1 * (1 if way is embed else 2) <= 9.0
