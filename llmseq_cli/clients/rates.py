"""Budgets of requests and tokens per minute, shared by threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BURST_SECONDS = 1.0
"""How much of a budget may be spent at once after a pause: one second's worth, so that no window is exceeded."""

_HEADROOM = 0.99
"""The part of a limit to use: both clocks are imprecise, and every "too many requests" costs a request."""


class _Allowance:
    """One resource that refills steadily, by virtual scheduling (ITU-T I.371, the generic cell rate algorithm). The
    only state is the time at which everything taken so far will have been refilled.
    """

    def __init__(self, per_minute: float | None) -> None:
        self.per_second: float | None = None
        self.due = -float("inf")
        self.set_rate(per_minute)

    def set_rate(self, per_minute: float | None) -> None:
        self.per_second = per_minute * _HEADROOM / 60 if per_minute else None

    def take(self, amount: float, now: float) -> float:
        """Take the amount; return when it may be used."""
        if self.per_second is None:
            return now
        self.due = max(self.due, now - _BURST_SECONDS)
        start = max(now, self.due)
        self.due += amount / self.per_second
        return start

    def give_back(self, amount: float) -> None:
        if self.per_second is not None:
            self.due -= amount / self.per_second


class RateBudget:
    """Keeps requests below limits of requests and tokens per minute; None sets no limit.

    Every request first calls `take` and waits as long as it says; `settle` corrects the amount once the provider has
    counted. `hold` makes all threads wait, as a server asks with "too many requests".
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = _Allowance(requests_per_minute)
        self._tokens = _Allowance(tokens_per_minute)
        self._clock = clock
        self._lock = threading.Lock()
        self._held_until = -float("inf")
        self._estimated = 0.0
        self._counted = 0.0

    @property
    def tokens_per_estimate(self) -> float:
        """Tokens counted by the provider per estimated token; 1 until something is known."""
        return self._counted / self._estimated if self._estimated else 1.0

    def take(self, tokens: float) -> float:
        """Reserve one request with this many estimated tokens; return the seconds to wait before it may be sent.

        Estimates are upper bounds, so they are scaled by the provider's counts so far; otherwise half of the token
        budget would remain unused.
        """
        with self._lock:
            now = self._clock()
            start = max(self._requests.take(1, now), self._tokens.take(tokens * self.tokens_per_estimate, now))
            return max(start, self._held_until) - now

    def settle(self, tokens: float, counted: int | None) -> None:
        """Report the provider's count for a request with this many estimated tokens."""
        if counted is None:
            return
        with self._lock:
            self._tokens.give_back(tokens * self.tokens_per_estimate - counted)
            self._estimated += tokens
            self._counted += counted

    def hold(self, seconds: float) -> None:
        """Send nothing for this many seconds."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)

    def held(self) -> float:
        """Seconds for which nothing may be sent because of `hold`."""
        with self._lock:
            return max(0.0, self._held_until - self._clock())

    def set_limits(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """Set limits announced by the server; None leaves a limit unchanged."""
        with self._lock:
            if requests_per_minute:
                self._requests.set_rate(requests_per_minute)
            if tokens_per_minute:
                self._tokens.set_rate(tokens_per_minute)
