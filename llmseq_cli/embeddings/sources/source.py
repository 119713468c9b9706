"""`EmbeddingSource`: the interface of all sources of text embeddings, remote or local."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmseq_cli.clients.retirements import Retirement
from llmseq_cli.clients.token_estimate import TokenEstimate


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of sending per minute; None if the source sets no limit.

    requests_per_minute and tokens_per_minute are the usual limits of a new account; the user can change them.
    """

    texts_per_request: int
    tokens_per_request: int | None = None
    tokens_per_text: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@dataclass(frozen=True)
class VectorAnswer:
    """The answer to one request.

    vectors: float32[n_texts, dim], in the order of the texts.
    tokens: as counted by the provider, None if unknown. requests_per_minute, tokens_per_minute: the account's limits
    according to the answer, None if unknown.
    """

    vectors: np.ndarray
    tokens: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


class EmbeddingSource(ABC):
    """Turns texts into vectors. `embed` is one request (remote) or one batch (local) and may be called from threads.

    model: the model's id. dimensions: the requested number, None for the model's default.
    """

    name: ClassVar[str]
    remote: ClassVar[bool]
    """Whether texts leave this machine; only then do rates, concurrency and cost matter."""

    parallel: int = 1
    """Batches that a local source processes at a time; for a remote one, the user chooses."""

    model: str
    dimensions: int | None
    limits: Limits
    variant: str = ""
    """Anything else that determines the vectors (the user's own server, a pooling, a task type): the cache never mixes
    vectors of different variants."""
    folder: str | None = None
    """The folder of an unpublished model on this machine: its name alone would not find it again."""

    @abstractmethod
    def count_tokens(self, texts: list[str]) -> np.ndarray:
        """Tokens of every text, int64[n_texts]; an upper estimate if the model's tokenizer is not available."""

    @abstractmethod
    def cut(self, text: str, tokens: int) -> str:
        """The longest prefix of the text with at most this many tokens by `count_tokens`."""

    def retirement(self, *, ask: bool) -> Retirement | None:
        """When the model will be shut down, None if nothing is announced. ask: the service may be asked."""
        return None

    @abstractmethod
    def embed(self, texts: list[str]) -> VectorAnswer:
        """Vectors of non-empty texts. Raises TransientError, RefusedError or FinalError."""

    def close(self) -> None:  # noqa: B027 most have nothing to close
        """Release what the source holds besides memory."""


class RemoteSource(EmbeddingSource):
    """A source that sends texts to a service. Tokens are estimated here, before any is paid for."""

    remote: ClassVar[bool] = True
    tokens: ClassVar[TokenEstimate]

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        return self.tokens.count(texts)

    def cut(self, text: str, tokens: int) -> str:
        return self.tokens.cut(text, tokens)
