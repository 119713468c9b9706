"""The one retry policy of calls to providers, made of tenacity."""

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
    """When to give up: after so many attempts, but not before so many seconds have been spent on them.

    unreachable: attempts at a server that cannot be reached and never was.
    longest_wait: a server that asks for more seconds than this is not waited for. first_wait, largest_wait: bounds of
    the random pauses, which double with each attempt, where the server names none.
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
    """Repeats a call while it raises TransientError; any other exception passes through.

    pause waits so many seconds (and may raise CalledOffError); tell is told what is waited for
    and for how many seconds. reached: whether the server has answered anything before. Raises FinalError once
    patience ends, RefusedError for bad answers that the texts may be to blame for.
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
                "run the same command again then: answers so far are kept",
            ) from error
        if isinstance(error, UnreachableError) and not reached():
            raise FinalError(
                f"{error.reason} ({state.attempt_number} attempts)",
                "check the address (--base-url), that the server runs, and the network",
            ) from error
        raise FinalError(
            f"{error.reason} ({state.attempt_number} attempts)",
            "run the same command again later: answers so far are kept and not paid for twice",
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
    """As long as the server asks for, and a little more so that not all come back at once; else a random pause below
    a bound that doubles ("full jitter", aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter). The pause is
    the least wait, too, once a server has said "come back soon" more often than `patience.attempts`.
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
