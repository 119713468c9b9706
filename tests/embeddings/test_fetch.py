"""The engine: full requests, retries, bisecting, money, what is kept when it fails."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from support.embedding_server import KEY, EmbeddingServer, error, vector_of
from support.fetching import QUICK, TEXTS, WORDS, Kept, get
from support.file_server import Recorder

from llmseq_cli.clients.errors import FinalError, RefusedError, TransientError, UnreachableError
from llmseq_cli.clients.retries import Patience
from llmseq_cli.embeddings.fetch import FetchOptions, fetch, fill
from llmseq_cli.embeddings.sources.openai import OpenAISettings, OpenAISource
from llmseq_cli.embeddings.sources.source import EmbeddingSource, Limits, VectorAnswer
from llmseq_cli.errors import LlmseqError


class Local(EmbeddingSource):
    """A source in this process: a word is a token; `answers` decides about a request, by its texts."""

    name, remote, model, dimensions = "local", True, "m", None

    def __init__(self, texts_per_request=50, tokens_per_request=None, answers=lambda texts: None):
        self.limits = Limits(texts_per_request, tokens_per_request)
        self.answers, self.asked = answers, []

    def count_tokens(self, texts):
        return np.array([len(text.split()) for text in texts], dtype=np.int64)

    def cut(self, text, tokens):
        return " ".join(text.split()[:tokens])

    def embed(self, texts):
        self.asked.append(texts)
        answer = self.answers(texts)
        if isinstance(answer, Exception):
            raise answer
        vectors = np.stack([vector_of(text, 4) for text in texts])
        return answer or VectorAnswer(vectors, sum(len(text.split()) for text in texts))


def test_fill_keeps_to_both_limits():
    tokens = np.array([5, 5, 5, 20, 1, 1, 1, 1])
    assert [places.tolist() for places in fill(tokens, 3, 10)] == [[0, 1], [2], [3], [4, 5, 6], [7]]
    assert [places.tolist() for places in fill(tokens, 100, None)] == [list(range(8))]
    assert list(fill(tokens[:0], 3, 10)) == []


@pytest.mark.parametrize("seed", range(5))
def test_fill_loses_nothing_and_wastes_no_request(seed):
    random = np.random.default_rng(seed)
    tokens = random.integers(1, 40, 1000)
    parts = list(fill(tokens, 12, 150))
    assert np.concatenate(parts).tolist() == list(range(1000))
    for part, following in zip(parts, parts[1:], strict=False):
        assert len(part) <= 12
        assert tokens[part].sum() <= 150
        assert len(part) == 12 or tokens[part].sum() + tokens[following[0]] > 150


def test_all_texts_once():
    kept, usage, progress = get(source := Local())
    assert sorted(kept.vectors) == list(range(500))
    kept.check(TEXTS)
    assert len(source.asked) == usage.requests == 10
    assert (usage.texts, usage.tokens, usage.retries) == (500, 2500, 0)
    assert progress.tasks[0]["at"] == progress.tasks[0]["total"] == 500


def test_concurrency_is_kept_to():
    under_way, most, lock = [0], [0], threading.Lock()

    def watch(_):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.005)
        with lock:
            under_way[0] -= 1

    get(Local(10, answers=watch), options=FetchOptions(concurrency=3, patience=QUICK))
    assert most[0] == 3


def test_who_waits_to_try_again_keeps_nobody_from_asking():
    failures = [TransientError("overloaded")]
    patience = Patience(first_wait=1.0, largest_wait=2.0)
    source = Local(100, answers=lambda texts: failures.pop() if failures else None)
    kept, usage, _ = get(source, options=FetchOptions(concurrency=1, patience=patience))
    assert (len(kept.vectors), usage.retries) == (500, 1)
    assert source.asked == [[*TEXTS[start : start + 100]] for start in (0, 100, 200, 300, 400, 0)]


def test_local_models_get_texts_of_like_length():
    source = Local(2)
    source.remote = False
    texts = ["a", "a b c d", "a b", "a b c", "b"]
    kept, _, _ = get(source, texts)
    kept.check(texts)
    assert source.asked == [["a b c d", "a b c"], ["a b", "a"], ["b"]]


def test_bad_texts_are_found_and_set_aside():
    bad = {17, 18, 203, 499}

    def refuse(texts):
        return RefusedError("no") if any(text in {TEXTS[place] for place in bad} for text in texts) else None

    kept, usage, _ = get(source := Local(answers=refuse))
    assert set(kept.vectors) == set(range(500)) - bad
    assert usage.refused == dict.fromkeys(bad, "no")
    kept.check(TEXTS)
    assert len(source.asked) < 60


def test_server_that_refuses_everything_ends_it():
    with pytest.raises(FinalError, match="refuses every text: never"):
        get(source := Local(answers=lambda texts: RefusedError("never")))
    assert len(source.asked) < 300


def test_a_model_that_has_answered_before_may_refuse_all_that_is_left():
    source = Local(answers=lambda texts: RefusedError("bad"))
    kept, usage, _ = get(source, TEXTS[:30], FetchOptions(patience=QUICK, proven=True))
    assert (len(usage.refused), kept.vectors) == (30, {})


def test_too_long_texts_are_cut():
    def refuse(texts):
        return RefusedError("long", too_long=True) if any(len(text.split()) > 30 for text in texts) else None

    texts = [*TEXTS[:20], " ".join(map(str, range(100))), *TEXTS[20:40]]
    kept, usage, _ = get(Local(answers=refuse), texts)
    assert len(kept.vectors) == 41
    assert (len(usage.cut), usage.refused) == (1, {})
    cut = next(
        length
        for length in range(16, 31)
        if np.array_equal(kept.vectors[20], vector_of(" ".join(map(str, range(length))), 4))
    )
    assert cut > 20


def test_failures_that_pass(monkeypatch):
    monkeypatch.setattr("llmseq_cli.clients.dispatcher._LONG_WAIT_SECONDS", 0)
    lock, failures = threading.Lock(), list(range(30))

    def fail(_):
        with lock:
            number = failures.pop() if failures else 0
        return TransientError("busy", wait=0.002 if number % 2 else None) if number % 3 else None

    patience = Patience(attempts=25, seconds=0, first_wait=0.001, largest_wait=0.01)
    kept, usage, progress = get(Local(answers=fail), options=FetchOptions(patience=patience))
    assert len(kept.vectors) == 500
    assert usage.retries == 20
    assert len(progress.messages) == 1
    assert "busy; trying again in" in progress.messages[0]


def test_patience_ends():
    with pytest.raises(FinalError, match=r"down \(6 attempts\)") as caught:
        get(Local(answers=lambda texts: TransientError("down")))
    assert "stored" in caught.value.hint


def test_an_address_that_never_answered_is_given_up_soon():
    with pytest.raises(FinalError, match=r"refused \(3 attempts\)") as caught:
        get(Local(answers=lambda texts: UnreachableError("refused")))
    assert "--base-url" in caught.value.hint


@pytest.mark.parametrize("first", [None, TransientError("busy"), RefusedError("bad text")])
def test_a_server_that_answered_once_is_waited_for(first):
    answers = [first]

    def go_away(_):
        return answers.pop() if answers else UnreachableError("refused")

    with pytest.raises(FinalError, match=r"refused \([67] attempts\)") as caught:
        get(Local(answers=go_away), options=FetchOptions(concurrency=1, patience=QUICK))
    assert "stored" in caught.value.hint


def test_a_day_is_not_waited_for():
    with pytest.raises(FinalError, match="asks to wait 1,440 minutes"):
        get(Local(answers=lambda texts: TransientError("daily limit", wait=86_400)))


def test_hold_of_one_thread_holds_all():
    times, first = [], threading.Event()

    def limit(_):
        times.append(time.monotonic())
        if not first.is_set():
            first.set()
            return TransientError("slow down", wait=0.2)
        time.sleep(0.02)
        return None

    get(Local(10, answers=limit), options=FetchOptions(concurrency=2, patience=QUICK))
    pauses = np.diff(times)
    assert pauses.max() > 0.1
    assert len(times) == 51


def test_what_was_answered_is_kept_when_it_fails():
    calls = []

    def fail(texts):
        calls.append(texts)
        if len(calls) > 4:
            return FinalError("no quota", "pay")
        time.sleep(0.01)
        return None

    kept = Kept()
    with pytest.raises(FinalError, match="no quota"):
        fetch(Local(answers=fail), TEXTS, WORDS, kept, FetchOptions(concurrency=3, patience=QUICK), Recorder())
    assert len(kept.vectors) == 4 * 50
    kept.check(TEXTS)


def test_a_thread_that_hangs_does_not_hold_the_connection(monkeypatch):
    monkeypatch.setattr("llmseq_cli.embeddings.fetch._GRACE_SECONDS", 0.05)
    monkeypatch.setattr("llmseq_cli.clients.dispatcher._FAREWELL_SECONDS", 0.05)
    asked, go_on = threading.Semaphore(0), threading.Event()

    def hang_or_fail(texts):
        if texts == TEXTS[:50]:
            assert asked.acquire(timeout=10)
            return FinalError("no quota", "pay")
        asked.release()
        assert go_on.wait(10)
        return None

    kept = Kept()
    alive = weakref.ref(kept)
    with pytest.raises(FinalError, match="no quota"):
        fetch(Local(answers=hang_or_fail), TEXTS, WORDS, kept, FetchOptions(patience=QUICK), Recorder())
    del kept
    gc.collect()
    assert any("_serve" in thread.name for thread in threading.enumerate())
    assert alive() is None
    go_on.set()


def test_no_thread_is_left_after_a_failure():
    with pytest.raises(FinalError, match="no quota"):
        get(Local(answers=lambda texts: FinalError("no quota", "pay")), options=FetchOptions(concurrency=32))
    assert not [thread.name for thread in threading.enumerate() if "_serve" in thread.name]


def test_what_is_under_way_is_kept_at_ctrl_c():
    class Interrupting(Kept):
        def __call__(self, fetched):
            super().__call__(fetched)
            if self.calls == 1:
                raise KeyboardInterrupt

    source, kept = Local(answers=lambda texts: time.sleep(0.02)), Interrupting()
    with pytest.raises(KeyboardInterrupt):
        fetch(source, TEXTS, WORDS, kept, FetchOptions(concurrency=4, patience=QUICK), Recorder())
    assert len(kept.vectors) == 50 * len(source.asked) < 500


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda texts: VectorAnswer(np.ones((len(texts) - 1, 4))), "49 vectors for 50 texts"),
        (lambda texts: VectorAnswer(np.ones(4)), "4 vectors for 50 texts"),
        (lambda texts: VectorAnswer(np.ones((len(texts), 3))), "width 3 instead of 4"),
    ],
)
def test_answers_that_stay_wrong_are_final(answer, words):
    options = FetchOptions(dimensions=4, concurrency=1, patience=QUICK)
    with pytest.raises(FinalError, match=words):
        get(source := Local(answers=answer), options=options)
    assert 3 <= len(source.asked) <= 6  # of one request, or of a second one that is asked while the first one waits


def test_not_finite_once_is_asked_again_and_paid_for():
    spoiled = []

    def spoil(texts):
        if len(spoiled) < 2:
            spoiled.append(texts)
            return VectorAnswer(np.full((len(texts), 4), np.nan), 1000)
        return None

    kept, usage, _ = get(Local(answers=spoil))
    assert len(kept.vectors) == 500
    assert (usage.tokens, usage.wasted_tokens) == (4500, 2000)


def test_a_text_whose_vector_is_never_finite_is_set_aside():
    def spoil(texts):
        vectors = np.stack([vector_of(text, 4) for text in texts])
        vectors[[text == TEXTS[77] for text in texts]] = np.inf
        return VectorAnswer(vectors, 1)

    kept, usage, _ = get(Local(answers=spoil))
    assert set(usage.refused) == {77}
    assert "not finite" in usage.refused[77]
    assert len(kept.vectors) == 499


def test_max_cost_is_not_passed():
    options = FetchOptions(usd_per_token=0.01, max_cost=8.0, concurrency=4, patience=QUICK)
    kept = Kept()
    with pytest.raises(LlmseqError, match=r"stopped before --max-cost 8: 7\.5 USD spent, 350 texts are left"):
        fetch(Local(), TEXTS, WORDS, kept, options, Recorder())
    assert len(kept.vectors) == 150


def test_max_cost_goes_by_what_was_counted():
    source = Local(answers=lambda texts: VectorAnswer(np.ones((len(texts), 4)), 50))
    kept, usage, _ = get(source, options=FetchOptions(usd_per_token=0.01, max_cost=8.0, patience=QUICK))
    assert len(kept.vectors) == 500
    assert usage.tokens == 500


def test_limits_that_the_server_tells_replace_the_defaults():
    source = Local(10)
    source.limits = Limits(10, requests_per_minute=60)
    source.answers = lambda texts: VectorAnswer(np.ones((len(texts), 4)), 1, requests_per_minute=60_000)
    kept, _, _ = get(source, TEXTS[:200], FetchOptions(concurrency=1, patience=QUICK))
    assert len(kept.vectors) == 200


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = EmbeddingServer()
    yield server
    server.stop()


def test_server_that_fails_in_one_call_of_five(server):
    server.fault_share = 0.2
    texts = [f"text {place}" for place in range(3000)]
    source = OpenAISource(base_url=server.url, settings=OpenAISettings(texts_per_request=20))
    kept, usage, _ = get(source, texts, FetchOptions(patience=Patience(attempts=9, seconds=0, first_wait=0.005)))
    assert len(kept.vectors) == 3000
    kept.check(texts, 16)
    assert set(server.paid.values()) == {1}
    assert set(server.faults) == set(server.fault_kinds)
    assert usage.tokens == 6000


def test_server_told_apart_by_words(server):
    server.forbidden, server.words_per_text = ("forbidden",), 20
    texts = [*TEXTS[:40], "a forbidden thing", "long " * 50, *TEXTS[40:60]]
    kept, usage, _ = get(OpenAISource(base_url=server.url), texts)
    assert list(usage.refused) == [40]
    assert "flagged" in usage.refused[40]
    assert len(usage.cut) == 1
    assert len(kept.vectors) == 61


def test_batches_too_large_for_the_server(server):
    server.texts_per_request = 8
    kept, usage, _ = get(OpenAISource(base_url=server.url), TEXTS[:100])
    assert len(kept.vectors) == 100
    assert usage.refused == {}


def test_unknown_model_is_final_at_once(server):
    server.script = [(404, error("no such model", "model_not_found"), {})] * 20
    with pytest.raises(FinalError, match="no such model"):
        get(OpenAISource("nonsense", base_url=server.url), TEXTS[:10])
    assert len(server.requests) == 1
