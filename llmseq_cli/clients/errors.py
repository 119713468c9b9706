"""What can go wrong when a remote service is asked; one tree of errors for all providers."""

from __future__ import annotations

import socket
from typing import Any

from llmseq_cli.errors import LlmseqError


class TransientError(Exception):
    """A failure that may pass: rate limit, overload, broken connection.

    wait: seconds that the server asks for. lost: the server may have done the work, and its answer did not arrive.
    """

    def __init__(self, reason: str, wait: float | None = None, *, lost: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        self.lost = lost


class UnreachableError(TransientError):
    """No connection comes about: it is refused, or no host of that name is found. Where nothing was ever answered,
    the address is more likely wrong than the server overloaded.
    """


class BadAnswerError(TransientError):
    """An answer that is paid for and of no use: asked for again only `Patience.bad_answers` times.

    refuses: it may be the texts' fault, so that RefusedError follows instead of FinalError. hint: what to do about it.
    part: what is sound of the answer (`Vectors`), None for nothing. tokens: what the provider counted for it, None
    where it did not say.
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
    """The server refuses these very texts (too long, forbidden, malformed); other texts may still pass.

    too_long: it is known that length is the reason; a single text is then cut until it passes.
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
    """Whether a refused connection or an unknown host is behind an error, whichever library raised it."""
    while error is not None:
        if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
            return True
        error = error.__cause__ or error.__context__
    return False
