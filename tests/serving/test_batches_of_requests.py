"""What is asked while a model computes is computed together next."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llmseq_cli.serving import batches
from llmseq_cli.serving.batches import Batches, BusyError


class Slow:
    """A model that waits to be let go, and fails for a session of "bad"."""

    def __init__(self, run: str) -> None:
        self.run, self.asked, self.go, self.begun = run, [], threading.Event(), threading.Event()

    def answers(self, sessions, times, k):
        assert len(times) == len(sessions)
        self.asked.append((len(sessions), k))
        self.begun.set()
        self.go.wait(5)
        if any(session == ["bad"] for session in sessions):
            raise ValueError("bad")
        return [{"session": session, "k": k} for session in sessions]


async def asked_behind_a_first(model: Slow, asks):
    """Answers to the first and to what is asked while that is computed."""
    gathered = Batches()
    gathered.start()
    first = asyncio.ensure_future(gathered.answers(model, [["first"]], 1))
    await asyncio.to_thread(model.begun.wait, 5)
    rest = [asyncio.ensure_future(gathered.answers(*ask)) for ask in asks]
    await asyncio.sleep(0)
    model.go.set()
    answers = await asyncio.gather(first, *rest, return_exceptions=True)
    await asyncio.to_thread(gathered.stop)
    return answers


def test_requests_of_the_same_kind_are_answered_together():
    model, other = Slow("a"), Slow("b")
    other.go.set()
    asks = [(model, [["x"]], 1), (model, [["y"], ["z"]], 1), (model, [["x"]], 2), (other, [["x"]], 1)]
    answers = asyncio.run(asked_behind_a_first(model, asks))
    assert model.asked == [(1, 1), (3, 1), (1, 2)]
    assert other.asked == [(1, 1)]
    assert [[one["session"] for one in answer] for answer in answers] == [
        [["first"]], [["x"]], [["y"], ["z"]], [["x"]], [["x"]],
    ]  # fmt: skip


def test_a_failure_reaches_those_it_concerns():
    model = Slow("a")
    first, bad, good = asyncio.run(asked_behind_a_first(model, [(model, [["bad"]], 1), (model, [["x"]], 2)]))
    assert isinstance(bad, ValueError)
    assert first[0]["session"] == ["first"]
    assert good[0]["k"] == 2


def test_too_much_waiting_is_turned_away(monkeypatch):
    monkeypatch.setattr(batches, "MOST_WAITING", 2)
    model = Slow("a")
    answers = asyncio.run(asked_behind_a_first(model, [(model, [["x"]], 1), (model, [["y"]], 1)]))
    assert [isinstance(answer, BusyError) for answer in answers] == [False, False, True]


def test_those_who_go_away_are_not_waited_for():
    async def leave() -> list[tuple[int, int]]:
        model, gathered = Slow("a"), Batches()
        gathered.start()
        gone = asyncio.ensure_future(gathered.answers(model, [["x"]], 1))
        await asyncio.to_thread(model.begun.wait, 5)
        waiting = asyncio.ensure_future(gathered.answers(model, [["y"]], 2))
        await asyncio.sleep(0)
        gone.cancel(), waiting.cancel()
        await asyncio.sleep(0)
        model.go.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await asyncio.to_thread(gathered.stop)
        assert gathered._waiting == 0
        return model.asked

    assert asyncio.run(leave()) == [(1, 1)]
