"""The engine that asks: slots, failures, what is told."""

import threading

import pytest

from llmseq_cli.clients.errors import FinalError, TransientError
from llmseq_cli.language_model.messages import ChatRequest, Completions
from llmseq_cli.progress import SilentProgress
from llmseq_cli.prompting.asking import AskOptions, Question, ask
from llmseq_cli.providers.provider import ProviderLimits


class Provider:
    """Answers each question with itself; `fail` may raise before it does."""

    remote = True
    limits = ProviderLimits(tokens_per_example=1000, validation=0)

    def __init__(self, fail=lambda question: None):
        self.fail, self.lock = fail, threading.Lock()
        self.answered, self.now, self.most = [], 0, 0

    def complete(self, request):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            self.fail(request.user)
            self.answered.append(request.user)
            return Completions([request.user], ["stop"], 1, 1)
        finally:
            with self.lock:
                self.now -= 1


def questions(n):
    return [Question(place, "", 0, ChatRequest("m", "", str(place), 1, 0, 1, 9), 1) for place in range(n)]


def kept_of(provider, n, concurrency):
    kept = []
    ask(provider, questions(n), n, kept.extend, AskOptions(concurrency), SilentProgress())
    return sorted(one.question.session_id for one in kept)


def test_who_waits_to_try_again_leaves_the_slot_to_others(monkeypatch):
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 1.0)
    failed = []

    def fail_once(question):
        if question == "0" and not failed:
            failed.append(question)
            raise TransientError("busy")

    provider = Provider(fail_once)
    assert kept_of(provider, 5, 1) == [0, 1, 2, 3, 4]
    assert provider.answered == ["1", "2", "3", "4", "0"]
    assert provider.most == 1


def test_never_more_requests_than_slots():
    barrier = threading.Barrier(3)

    def meet(question):  # three at a time, or it fails
        barrier.wait(30)

    provider = Provider(meet)
    assert kept_of(provider, 30, 3) == list(range(30))
    assert provider.most == 3


def test_what_went_wrong_first_is_told(monkeypatch):
    def fail(question):
        raise FinalError("no quota left") if question == "7" else TransientError("busy")

    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 60.0)
    for _ in range(20):
        with pytest.raises(FinalError, match="no quota left"):
            kept_of(Provider(fail), 8, 4)
