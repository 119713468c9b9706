"""Errors of remote services: one hierarchy for all providers."""

from __future__ import annotations

import socket
from typing import Any

from llmseq_cli.errors import LlmseqError


class TransientError(Exception):
    """A temporary failure: rate limit, overload, broken connection.

    wait: seconds that the server asks to wait. lost: the server may have done the work, but its answer did not arrive.
    """

    def __init__(self, reason: str, wait: float | None = None, *, lost: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        self.lost = lost


class UnreachableError(TransientError):
    """The connection is refused, or the host name is unknown. If the server has never answered, its address is probably
    wrong.
    """


class BadAnswerError(TransientError):
    """A useless answer that is paid for: retried only `Patience.bad_answers` times.

    refuses: the texts may be the cause, so RefusedError follows instead of FinalError. hint: what to do about it.
    part: the valid part of the answer (`Vectors`), or None. tokens: the provider's count for it, None if unknown.
    """

    part: Any = None

    def __init__(
        self,
        reason: str,
        *,
        refuses: bool = False,
        hint: str = "check --model and --dimensions, and the server",
        tokens: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.refuses = refuses
        self.hint = hint
        self.tokens = tokens


class RefusedError(Exception):
    """The server refuses these particular texts (too long, forbidden, malformed); others may still pass.

    too_long: the reason is known to be length; a single text is then cut until it passes.
    """

    def __init__(self, reason: str, *, too_long: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.too_long = too_long


class FinalError(LlmseqError):
    """No further request can succeed: wrong key, no quota left, unknown model."""


class CalledOffError(Exception):
    """The work was called off while a thread waited."""


def never_connected(error: BaseException | None) -> bool:
    """Whether an error of any library comes from a refused connection or an unknown host."""
    while error is not None:
        if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
            return True
        error = error.__cause__ or error.__context__
    return False
