"""`EmbeddingSource`: what every source of text embeddings speaks, remote or local."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmseq_cli.clients.retirements import Retirement
from llmseq_cli.clients.token_estimate import TokenEstimate


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
class VectorAnswer:
    """What came back for one request.

    vectors: float32[n_texts, dim], in the order of the texts.
    tokens: tokens that the provider counted, None where it does not say.
    requests_per_minute, tokens_per_minute: limits of the account that the answer told, None where it does not.
    """

    vectors: np.ndarray
    tokens: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


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
    folder: str | None = None
    """Where the model lies on this machine, if it is no published one: its name alone does not find it again."""

    @abstractmethod
    def count_tokens(self, texts: list[str]) -> np.ndarray:
        """Tokens of every text, int64[n_texts]; an upper estimate where the model's tokenizer is not at hand."""

    @abstractmethod
    def cut(self, text: str, tokens: int) -> str:
        """The longest beginning of the text that has at most so many tokens by `count_tokens`."""

    def retirement(self, *, ask: bool) -> Retirement | None:
        """When the model is shut down, None where nothing is announced. ask: the service may be asked."""
        return None

    @abstractmethod
    def embed(self, texts: list[str]) -> VectorAnswer:
        """Vectors of non-empty texts. Raises TransientError, RefusedError or FinalError."""

    def close(self) -> None:  # noqa: B027 most hold nothing
        """Gives back what the source holds beside memory."""


class RemoteSource(EmbeddingSource):
    """A source that texts are sent to. Their tokens are estimated here, before any is paid for."""

    remote: ClassVar[bool] = True
    tokens: ClassVar[TokenEstimate]

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        return self.tokens.count(texts)

    def cut(self, text: str, tokens: int) -> str:
        return self.tokens.cut(text, tokens)
