"""Embeddings from Google's models on Vertex AI."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from llmseq_cli.clients.retirements import Retirement, retirement
from llmseq_cli.clients.token_estimate import TokenEstimate
from llmseq_cli.clients.vector_answers import vertex_vectors
from llmseq_cli.clients.vertex import DEFAULT_LOCATION, VERTEX_TOKENS, VertexClient
from llmseq_cli.embeddings.sources.source import Limits, RemoteSource, VectorAnswer
from llmseq_cli.errors import UsageError
from llmseq_cli.settings import Settings, setting

DEFAULT_MODEL = "gemini-embedding-001"
TASK_TYPES = (
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
)

_WIDTHS = {
    "gemini-embedding-001": 3072,
    "text-embedding-005": 768,
    "text-embedding-004": 768,
    "text-multilingual-embedding-002": 768,
}

# docs.cloud.google.com/vertex-ai/generative-ai/docs/quotas and .../embeddings/get-text-embeddings
_TEXTS_PER_REQUEST = 250
_TOKENS_PER_REQUEST = 20_000
_TOKENS_PER_TEXT = 2048
_GEMINI_REQUESTS_PER_MINUTE = 30_000
_GEMINI_TOKENS_PER_MINUTE = 5_000_000
_REQUESTS_PER_MINUTE = 1_500


@dataclass(frozen=True)
class VertexSettings(Settings):
    """Where the model runs and what its vectors are for."""

    project: str | None = setting(None, "Google Cloud project; none: $GOOGLE_CLOUD_PROJECT, or the credentials' own")
    location: str | None = setting(None, f"region; none: $GOOGLE_CLOUD_LOCATION, or {DEFAULT_LOCATION}")
    task_type: str | None = setting(None, "purpose of the vectors; none: the model's default", choices=TASK_TYPES)
    texts_per_request: int | None = setting(
        None, "texts per request; none: 250, or 1 for Gemini's models", low=1, high=_TEXTS_PER_REQUEST
    )
    timeout: float = setting(120.0, "seconds to wait for an answer", low=1)


class VertexSource(RemoteSource):
    """Google's models on Vertex AI, through google-genai; see `VertexClient`.

    Vectors are stored unchanged: those of gemini-embedding-001 have length 1 only with all 3,072 dimensions. Texts that
    are too long are refused (`auto_truncate` is off), so that we know which ones are cut. Raises UsageError for
    dimensions or request sizes that the model does not support; FinalError, at the first request, if credentials or
    project are missing.
    """

    name: ClassVar[str] = "vertex"
    tokens: ClassVar[TokenEstimate] = VERTEX_TOKENS

    def __init__(
        self,
        model: str | None = None,
        dimensions: int | None = None,
        base_url: str | None = None,
        settings: VertexSettings | None = None,
    ) -> None:
        self.model = re.sub(r"^(publishers/google/models|google|models)/", "", model or DEFAULT_MODEL)
        self.settings = given = settings or VertexSettings()
        self.client = VertexClient(base_url, given.project, given.location, given.timeout)
        known = _WIDTHS.get(self.model)
        self.dimensions = None if dimensions == known else dimensions
        if known and self.dimensions and self.dimensions > known:
            raise UsageError(f"{self.model} has {known} dimensions, not {dimensions}", "leave out --dimensions")
        self.width = self.dimensions or known
        self.limits = self._limits()
        self.variant = ", ".join(part for part in (given.task_type, self.client.variant) if part)

    def _limits(self) -> Limits:
        gemini, given = "gemini" in self.model, self.settings.texts_per_request
        alone = self.model != DEFAULT_MODEL and (gemini or "maas" in self.model)
        if alone and given and given > 1:
            raise UsageError(f"{self.model} takes one text per request, not {given}", "leave out texts_per_request")
        return Limits(
            texts_per_request=given or (1 if gemini or alone else _TEXTS_PER_REQUEST),
            tokens_per_request=_TOKENS_PER_REQUEST,
            tokens_per_text=_TOKENS_PER_TEXT,
            requests_per_minute=_GEMINI_REQUESTS_PER_MINUTE if gemini else _REQUESTS_PER_MINUTE,
            tokens_per_minute=_GEMINI_TOKENS_PER_MINUTE if gemini else None,
        )

    def retirement(self, *, ask: bool) -> Retirement | None:
        return retirement(self.name, self.model)

    def embed(self, texts: list[str]) -> VectorAnswer:
        from google.genai.types import EmbedContentConfig

        config = EmbedContentConfig(
            output_dimensionality=self.dimensions, task_type=self.settings.task_type, auto_truncate=False
        )
        contents = list[Any](texts)
        try:
            answer = self.client.ask(
                lambda sdk: sdk.models.embed_content(model=self.model, contents=contents, config=config)
            )
        except Exception as error:  # of google-genai, httpx, google-auth
            raise self.client.explained(error, self.model) from None
        found = vertex_vectors(answer, len(texts), self.width)
        return VectorAnswer(found.vectors, found.tokens)
