"""The engine of paid calls: nothing is sent after a fatal answer, nothing under way is forgotten."""

import json
import threading
import time

import numpy as np
import pytest

from llmseq_cli.clients.dispatcher import Dispatcher, DispatchOptions, Told, Workload
from llmseq_cli.clients.errors import BadAnswerError, FinalError, TransientError
from llmseq_cli.clients.in_flight import InFlight
from llmseq_cli.clients.retries import Patience
from llmseq_cli.embeddings.cache import text_hash
from llmseq_cli.embeddings.fetch import FetchOptions, fetch
from llmseq_cli.embeddings.sources.source import EmbeddingSource, Limits, VectorAnswer
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import SilentProgress


class Numbers(Workload):
    """Requests 0 … n − 1; `answer` may raise."""

    def __init__(self, n, answer=lambda number: None, cost=0.0):
        self.numbers, self.answer, self.each = iter(range(n)), answer, cost
        self.sent, self.taken, self.discarded = [], [], []

    def next(self):
        return next(self.numbers, None)

    def tokens(self, unit):
        return 1.0

    def cost(self, unit):
        return self.each

    def spent(self):
        return len(self.taken) * self.each

    def left(self):
        return "the rest is left"

    def content(self, unit):
        return unit

    def send(self, unit):
        self.sent.append(unit)
        self.answer(unit)
        return unit, Told(1)

    def take(self, outcomes):
        self.taken += [one.unit for one in outcomes]

    def wasted(self, tokens):
        self.discarded.append(tokens)


QUICK = Patience(attempts=3, seconds=0, first_wait=0.001, largest_wait=0.01)


def run(workload, in_flight=None, **options):
    progress = SilentProgress()
    with progress.task("Sending") as task:
        dispatcher = Dispatcher(workload, DispatchOptions(**{"patience": QUICK} | options), progress, task, in_flight)
        if in_flight is None:
            dispatcher.run()
        else:
            with in_flight:
                dispatcher.run()


@pytest.mark.parametrize("round", range(5))
def test_nothing_is_sent_after_a_fatal_answer(round):
    """64 at a time: the fatal answer comes while 63 are under way; they come back, nobody sends another."""
    under_way = threading.Barrier(64)
    said = threading.Event()
    late, fatal = [], []

    def answer(number):
        if said.is_set():
            late.append(number)
        elif under_way.wait(30) == 7:
            fatal.append(number)
            said.set()
            raise FinalError("no quota left", "pay")
        else:
            said.wait(30)
            time.sleep(0.5)  # these come back after the fatal one was seen

    workload = Numbers(1000, answer)
    with pytest.raises(FinalError, match="no quota left"):
        run(workload, concurrency=64)
    assert late == []
    assert len(workload.sent) == 64
    assert sorted([*workload.taken, *fatal]) == sorted(workload.sent)


def test_what_is_paid_and_useless_is_counted_by_the_provider_or_the_estimate():
    failures = {0: [BadAnswerError("nonsense", tokens=17)], 1: [BadAnswerError("nonsense")]}

    def answer(number):
        if failures.get(number):
            raise failures[number].pop()

    workload = Numbers(3, answer)
    run(workload, concurrency=1)
    assert sorted(workload.discarded) == [1, 17]
    assert sorted(workload.taken) == [0, 1, 2]


def test_max_cost_is_never_passed():
    workload = Numbers(100, cost=1.0)
    with pytest.raises(LlmseqError, match=r"stopped before --max-cost 10: 10 USD spent, the rest is left"):
        run(workload, concurrency=8, max_cost=10.0)
    assert len(workload.sent) == 10


def test_requests_are_noted_before_they_are_sent(tmp_path):
    file = tmp_path / "in-flight.jsonl"
    noted = []
    workload = Numbers(20, lambda number: noted.append((number, InFlight(file).left())))
    run(workload, InFlight(file), concurrency=3)
    assert all(number in left for number, left in noted)
    assert not file.exists()


def test_what_was_under_way_when_the_program_died_is_known(tmp_path):
    file = tmp_path / "in-flight.jsonl"
    lines = [{"sent": 1, "content": "a"}, {"sent": 2, "content": "b"}, {"answered": [1]}, {"sent": 3, "content": "c"}]
    damaged = [b'{"sent": "x"}', b"[1, 2]", b"\xff\xfe", b'{"answered": 5}', b"[" * 100_000, b'{"sent": 4, "cont']
    file.write_bytes(b"\n".join([json.dumps(line).encode() for line in lines] + damaged))
    assert InFlight(file).left() == ["b", "c"]


def test_only_what_may_be_paid_for_and_lost_counts_as_under_way(tmp_path):
    failures = {1: TransientError("no answer in 5 s", lost=True), 2: TransientError("busy"), 3: FinalError("wrong key")}

    def answer(number):
        if number in failures:
            raise failures[number]

    file = tmp_path / "in-flight.jsonl"
    with pytest.raises(FinalError):
        run(Numbers(9, answer), InFlight(file), concurrency=1)
    assert InFlight(file).left() == [1]


class Source(EmbeddingSource):
    name, remote = "test", True
    model, dimensions = "m", None
    limits = Limits(texts_per_request=4)

    def __init__(self):
        self.asked = []

    def count_tokens(self, texts):
        return np.ones(len(texts), dtype=np.int64)

    def cut(self, text, tokens):
        return text[:tokens]

    def embed(self, texts):
        self.asked.append(list(texts))
        return VectorAnswer(np.ones((len(texts), 2), dtype=np.float32), len(texts))


def test_lost_requests_are_repeated_exactly_and_first(tmp_path):
    """A server that knows idempotency keys answers them from its memory, if the body is the same."""
    file = tmp_path / "in-flight.jsonl"
    texts = [f"text {number}" for number in range(12)]
    with InFlight(file) as journal:
        journal.sent(1, [text_hash(text) for text in texts[5:8]])
        journal.sent(2, [text_hash(text) for text in ("text 9", "gone")])
        journal.sent(3, {"not": "a list"})
        journal.sent(4, [1, None])
    source, kept = Source(), []
    fetch(source, texts, source.count_tokens(texts), kept.extend, FetchOptions(1), SilentProgress(), InFlight(file))
    assert source.asked[0] == texts[5:8]
    assert sorted(text for texts in source.asked for text in texts) == sorted(texts)
    assert sum(len(one.places) for one in kept) == 12
    assert not file.exists()


@pytest.mark.parametrize("width", [0])
def test_empty_vectors_are_no_answer(width):
    class Empty(Source):
        def embed(self, texts):
            return VectorAnswer(np.ones((len(texts), width), dtype=np.float32), len(texts))

    source, kept = Empty(), []
    options = FetchOptions(1, patience=QUICK)
    with pytest.raises(FinalError, match="vectors of width 0"):
        fetch(source, ["a", "b"], np.ones(2, dtype=np.int64), kept.extend, options, SilentProgress())
    assert kept == []
