"""Budgets of requests and tokens, on a clock that the test moves."""

import pytest

from llmseq_cli.clients.rates import RateBudget


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def send(budget, clock, tokens):
    """Waits as told and returns when the request was sent."""
    clock.now += budget.take(tokens)
    return clock.now


def test_without_limits_nothing_waits():
    budget = RateBudget(clock=Clock())
    assert [budget.take(10**9) for _ in range(5)] == [0] * 5


def test_requests_are_paced_and_no_minute_is_overdrawn():
    clock = Clock()
    budget = RateBudget(requests_per_minute=600, clock=clock)
    times = [send(budget, clock, 1) for _ in range(2000)]
    assert times[-1] - times[0] == pytest.approx(2000 / 10, rel=0.02)
    for first in range(0, 1400, 100):
        assert sum(times[first] <= moment < times[first] + 60 for moment in times) <= 605


def test_tokens_are_paced():
    clock = Clock()
    budget = RateBudget(tokens_per_minute=60_000, clock=clock)
    times = [send(budget, clock, 500) for _ in range(100)]
    assert times[-1] - times[0] == pytest.approx(50, rel=0.05)


def test_idle_time_is_not_saved_up():
    clock = Clock()
    budget = RateBudget(requests_per_minute=60, clock=clock)
    send(budget, clock, 1)
    clock.now += 3600
    waits = [budget.take(1) for _ in range(4)]
    assert waits[1] <= 1.02
    assert waits[3] == pytest.approx(2, abs=0.1)


def test_estimates_are_corrected_by_what_is_counted():
    clock = Clock()
    budget = RateBudget(tokens_per_minute=6000, clock=clock)
    start, counted = clock.now, 0
    while clock.now < start + 600:
        send(budget, clock, 300)
        budget.settle(300, 100)
        counted += 100
    assert budget.tokens_per_estimate == pytest.approx(1 / 3)
    assert counted == pytest.approx(60_000, rel=0.02)


def test_hold_holds_everybody():
    clock = Clock()
    budget = RateBudget(requests_per_minute=6_000_000, clock=clock)
    budget.hold(7)
    budget.hold(3)
    assert budget.take(1) == pytest.approx(7)
    clock.now += 7.5
    assert budget.held() == 0
    assert budget.take(1) == 0


def test_limits_that_the_server_tells():
    clock = Clock()
    budget = RateBudget(requests_per_minute=60, tokens_per_minute=600, clock=clock)
    budget.set_limits(6000, None)
    times = [send(budget, clock, 0) for _ in range(500)]
    assert times[-1] - times[0] < 5.2
    budget.set_limits(None, 60_000)
    assert [round(budget.take(1000)) for _ in range(3)][-1] <= 2
