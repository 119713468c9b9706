"""The one retry policy for calls to providers, built on tenacity."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from llmseq_cli.clients.errors import BadAnswerError, FinalError, RefusedError, TransientError, UnreachableError

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """When to give up: after this many attempts, but not before this many seconds.

    unreachable: attempts to reach a server that has never answered.
    longest_wait: give up if the server asks to wait longer (seconds). first_wait, largest_wait: bounds of the random
    pauses if the server names none; they double with each attempt.
    """

    attempts: int = 8
    bad_answers: int = 3
    unreachable: int = 3
    seconds: float = 120.0
    longest_wait: float = 900.0
    first_wait: float = 0.5
    largest_wait: float = 60.0


def patiently(
    call: Callable[[], T],
    patience: Patience,
    pause: Callable[[float], None],
    tell: Callable[[str, float], None],
    reached: Callable[[], bool] = lambda: True,
) -> T:
    """Repeat a call while it raises TransientError; any other exception passes through.

    pause waits a number of seconds (and may raise CalledOffError); tell is called with the reason and the seconds.
    reached: whether the server has answered anything before. Raises FinalError when patience ends, RefusedError for bad
    answers that the texts may have caused.
    """
    from tenacity import Retrying, retry_if_exception_type

    started = time.monotonic()

    def gives_up(state: RetryCallState) -> bool:
        error = _failure(state)
        if isinstance(error, BadAnswerError):
            return state.attempt_number >= patience.bad_answers
        if isinstance(error, UnreachableError) and not reached():
            return state.attempt_number >= patience.unreachable
        if error.wait is not None and error.wait > patience.longest_wait:
            return True
        return state.attempt_number >= patience.attempts and time.monotonic() - started >= patience.seconds

    def explain(state: RetryCallState) -> T:
        error = _failure(state)
        if isinstance(error, BadAnswerError):
            if error.refuses:
                raise RefusedError(error.reason) from error
            raise FinalError(error.reason, error.hint) from error
        if error.wait is not None and error.wait > patience.longest_wait:
            raise FinalError(
                f"{error.reason}; the server asks to wait {error.wait / 60:,.0f} minutes",
                "run the same command again then: the answers so far are stored",
            ) from error
        if isinstance(error, UnreachableError) and not reached():
            raise FinalError(
                f"{error.reason} ({state.attempt_number} attempts)",
                "check the address (--base-url), the server and the network",
            ) from error
        raise FinalError(
            f"{error.reason} ({state.attempt_number} attempts)",
            "run the same command again later: the answers so far are stored and not paid for twice",
        ) from error

    return Retrying(
        retry=retry_if_exception_type(TransientError),
        wait=lambda state: _seconds(state, patience),
        stop=gives_up,
        sleep=pause,
        before_sleep=lambda state: tell(*_note(state)),
        retry_error_callback=explain,
    )(call)


def _failure(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)
    return error


def _seconds(state: RetryCallState, patience: Patience) -> float:
    """As long as the server asks for, plus a little so that not all threads come back at once; otherwise a random pause
    below a bound that doubles ("full jitter", aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter). The
    pause is also the minimum once a server has said "come back soon" more than `patience.attempts` times.
    """
    asked = _failure(state).wait
    if asked is not None and state.attempt_number <= patience.attempts:
        return asked + random.uniform(0, min(1.0, 0.1 * asked))
    bound = min(patience.largest_wait, patience.first_wait * 2 ** min(state.attempt_number, 30))
    return max(asked or 0.0, random.uniform(bound / 4, bound))


def _note(state: RetryCallState) -> tuple[str, float]:
    seconds = state.next_action.sleep if state.next_action else 0.0
    note = f"{_failure(state).reason}; trying again in {seconds:.1f} s (attempt {state.attempt_number})"
    return note, seconds
