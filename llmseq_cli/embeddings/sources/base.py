"""`EmbeddingSource`: what every source of text embeddings speaks, remote or local."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmseq_cli.errors import LlmseqError


@dataclass(frozen=True)
class Limits:
    """What one request may hold, and how much may be sent a minute; None where the source sets no limit.

    requests_per_minute and tokens_per_minute are what a new account is usually allowed; the user can say otherwise.
    """

    texts_per_request: int
    tokens_per_request: int | None = None
    tokens_per_text: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@dataclass(frozen=True)
class Answer:
    """What came back for one request.

    vectors: float32[n_texts, dim], in the order of the texts.
    tokens: tokens that the provider counted, None where it does not say.
    requests_per_minute, tokens_per_minute: limits of the account that the answer told, None where it does not.
    """

    vectors: np.ndarray
    tokens: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


class TransientError(Exception):
    """A failure that may pass: rate limit, overload, broken connection. `wait`: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class UnreachableError(TransientError):
    """No connection comes about: it is refused, or no host of that name is found. Where nothing was ever answered,
    the address is more likely wrong than the server overloaded.
    """


def never_connected(error: BaseException | None) -> bool:
    """Whether a refused connection or an unknown host is behind an error, whichever library raised it."""
    while error is not None:
        if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
            return True
        error = error.__cause__ or error.__context__
    return False


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


class EmbeddingSource(ABC):
    """Turns texts into vectors. `embed` is one request (remote) or one batch (local) and may be called from threads.

    model: the model's id. dimensions: how many were asked for, None for the model's own number.
    """

    name: ClassVar[str]
    remote: ClassVar[bool]
    """Whether texts leave this machine: only then do rates, concurrency and money matter."""

    parallel: int = 1
    """Batches that a local source takes at a time; a remote one takes as many as the user says."""

    model: str
    dimensions: int | None
    limits: Limits
    variant: str = ""
    """What else decides the vectors of a text (a server of one's own, a pooling, a task type): vectors of another
    variant are never taken from the cache."""

    @abstractmethod
    def count_tokens(self, texts: list[str]) -> np.ndarray:
        """Tokens of every text, int64[n_texts]; an upper estimate where the model's tokenizer is not at hand."""

    @abstractmethod
    def cut(self, text: str, tokens: int) -> str:
        """The longest beginning of the text that has at most so many tokens by `count_tokens`."""

    @abstractmethod
    def embed(self, texts: list[str]) -> Answer:
        """Vectors of non-empty texts. Raises TransientError, RefusedError or FinalError."""

    def close(self) -> None:  # noqa: B027 most hold nothing
        """Gives back what the source holds beside memory."""
