"""Embeddings from OpenAI and any server that speaks its protocol (vLLM, TEI, Ollama, infinity)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmseq_cli.clients.idempotency import idempotency_header
from llmseq_cli.clients.openai import OPENAI_TOKENS, OpenAIClient, refused_parameter, told_limits
from llmseq_cli.clients.retirements import Retirement
from llmseq_cli.clients.token_estimate import TokenEstimate
from llmseq_cli.clients.vector_answers import openai_vectors
from llmseq_cli.embeddings.sources.source import Limits, RemoteSource, VectorAnswer
from llmseq_cli.errors import UsageError
from llmseq_cli.settings import Settings, setting

DEFAULT_MODEL = "text-embedding-3-small"

_WIDTHS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}

# The limit of text-embedding-3-small in the lowest paid tier; the server's headers give the account's own.
_REQUESTS_PER_MINUTE = 3_000
_TOKENS_PER_MINUTE = 1_000_000


@dataclass(frozen=True)
class OpenAISettings(Settings):
    """Limits of a request. Defaults are OpenAI's; other servers get 32 texts, which all of them accept."""

    texts_per_request: int | None = setting(None, "texts per request; none: 2048, or 32 with --base-url", low=1)
    tokens_per_request: int | None = setting(300_000, "tokens per request; none sets no limit", low=1)
    tokens_per_text: int | None = setting(8192, "tokens per text, longer texts are cut; none sets no limit", low=1)
    timeout: float = setting(120.0, "seconds to wait for an answer", low=1)


class OpenAISource(RemoteSource):
    """OpenAI, or a compatible server at `base_url`; see `OpenAIClient`.

    Raises UsageError for dimensions that the model does not support; FinalError, at the first request, without a key.
    """

    name: ClassVar[str] = "openai"
    tokens: ClassVar[TokenEstimate] = OPENAI_TOKENS

    def __init__(
        self,
        model: str | None = None,
        dimensions: int | None = None,
        base_url: str | None = None,
        settings: OpenAISettings | None = None,
    ) -> None:
        self.model = model or DEFAULT_MODEL
        self.settings = settings or OpenAISettings()
        self.client = OpenAIClient(base_url, self.settings.timeout)
        self.variant = self.client.variant
        known = _WIDTHS.get(self.model) if self.client.is_openai else None
        self.dimensions = None if dimensions == known else dimensions
        if known and self.dimensions and (self.dimensions > known or self.model.endswith("ada-002")):
            raise UsageError(f"{self.model} has {known} dimensions, not {dimensions}", "leave out --dimensions")
        self.width = self.dimensions or known
        self.limits = self._limits()
        self._encoding: Any = "base64"

    def _limits(self) -> Limits:
        given, own = self.settings, self.client.is_openai
        return Limits(
            texts_per_request=given.texts_per_request or (2048 if own else 32),
            tokens_per_request=given.tokens_per_request,
            tokens_per_text=given.tokens_per_text,
            requests_per_minute=_REQUESTS_PER_MINUTE if own else None,
            tokens_per_minute=_TOKENS_PER_MINUTE if own else None,
        )

    def retirement(self, *, ask: bool) -> Retirement | None:
        return self.client.retirement(self.model, ask=ask)

    def embed(self, texts: list[str]) -> VectorAnswer:
        import openai

        asked: dict[str, Any] = {"input": texts, "model": self.model, "encoding_format": self._encoding}
        if self.dimensions is not None:
            asked["dimensions"] = self.dimensions
        try:
            raw = self.client.sdk.embeddings.with_raw_response.create(**asked, extra_headers=idempotency_header(asked))
        except openai.APIStatusError as error:
            if asked["encoding_format"] == "base64" and _dislikes_encoding(error):
                self._encoding = "float"
                return self.embed(texts)
            raise self.client.explained(error, self.model) from None
        except openai.OpenAIError as error:
            raise self.client.explained(error, self.model) from None
        found = openai_vectors(self.client.answer(raw), len(texts), self.width)
        return VectorAnswer(found.vectors, found.tokens, *told_limits(raw.headers))


def _dislikes_encoding(error: Any) -> bool:
    said = refused_parameter(error)
    return error.status_code in (400, 422) and ("encoding_format" in said or "base64" in said)
