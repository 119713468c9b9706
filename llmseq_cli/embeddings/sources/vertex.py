"""Embeddings of Google's models on Vertex AI."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import numpy as np

from llmseq_cli.clients.errors import (
    BadAnswerError,
    FinalError,
    RefusedError,
    TransientError,
    UnreachableError,
    never_connected,
)
from llmseq_cli.clients.retry_after import retry_after, retry_info
from llmseq_cli.embeddings.sources.source import Answer, EmbeddingSource, Limits
from llmseq_cli.errors import UsageError
from llmseq_cli.settings import Settings, setting

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.genai import Client
    from google.genai.errors import APIError
    from google.genai.types import ContentEmbedding

DEFAULT_MODEL = "gemini-embedding-001"
DEFAULT_LOCATION = "us-central1"
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

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
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

_TOO_LONG = re.compile(r"token count|number of tokens|token limit|too long|too large|payload size|input length", re.I)
_NOT_THE_TEXTS = re.compile(
    r"dimension|task.?type|model .*not (?:found|supported)|unsupported model|user location|billing", re.I
)
_SECRETS = re.compile(r"\bya29\.[\w.-]+|\beyJ[\w-]+\.[\w.-]+|(?<=Bearer )\S+|-----BEGIN[^-]+-----.*", re.S)
_LOG_IN = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file"

_PIECE = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")
_LETTERS_PER_TOKEN = 3


@dataclass(frozen=True)
class VertexSettings(Settings):
    """Where the model runs and what its vectors are for."""

    project: str | None = setting(None, "Google Cloud project; none: $GOOGLE_CLOUD_PROJECT, or the credentials' own")
    location: str | None = setting(None, f"region; none: $GOOGLE_CLOUD_LOCATION, or {DEFAULT_LOCATION}")
    task_type: str | None = setting(None, "what vectors are made for; none leaves it to the model", choices=TASK_TYPES)
    texts_per_request: int | None = setting(
        None, "texts in one request; none: 250, or 1 for Gemini's models", low=1, high=_TEXTS_PER_REQUEST
    )
    timeout: float = setting(120.0, "seconds until an answer is given up", low=1)


class VertexSource(EmbeddingSource):
    """Google's models on Vertex AI, through google-genai, with the credentials that Google's tools find
    (GOOGLE_APPLICATION_CREDENTIALS, gcloud's, the machine's own).

    base_url: another endpoint (private, or a gateway); else $GOOGLE_VERTEX_BASE_URL, else the region's own.
    Vectors are kept as they are answered: those of gemini-embedding-001 have length 1 only with all 3,072 dimensions.
    Texts that are too long are refused (`auto_truncate` is off), so that what is cut is known.
    Raises UsageError for dimensions or requests that the model cannot have; FinalError, at the first request, where
    credentials or project are missing.
    """

    name: ClassVar[str] = "vertex"
    remote: ClassVar[bool] = True

    def __init__(
        self,
        model: str | None = None,
        dimensions: int | None = None,
        base_url: str | None = None,
        settings: VertexSettings | None = None,
    ) -> None:
        self.model = re.sub(r"^(publishers/google/models|google|models)/", "", model or DEFAULT_MODEL)
        self.settings = settings or VertexSettings()
        self.address = _endpoint(base_url)
        self.width = _WIDTHS.get(self.model)
        self.dimensions = None if dimensions == self.width else dimensions
        if self.width and self.dimensions and self.dimensions > self.width:
            raise UsageError(f"{self.model} has {self.width} dimensions, not {dimensions}", "leave --dimensions out")
        self.limits = self._limits()
        self.variant = ", ".join(part for part in (self.settings.task_type, _foreign(self.address)) if part)
        self._lock = threading.Lock()

    def _limits(self) -> Limits:
        gemini, given = "gemini" in self.model, self.settings.texts_per_request
        alone = self.model != DEFAULT_MODEL and (gemini or "maas" in self.model)
        if alone and given and given > 1:
            raise UsageError(f"{self.model} takes one text a request, not {given}", "leave texts_per_request out")
        return Limits(
            texts_per_request=given or (1 if gemini or alone else _TEXTS_PER_REQUEST),
            tokens_per_request=_TOKENS_PER_REQUEST,
            tokens_per_text=_TOKENS_PER_TEXT,
            requests_per_minute=_GEMINI_REQUESTS_PER_MINUTE if gemini else _REQUESTS_PER_MINUTE,
            tokens_per_minute=_GEMINI_TOKENS_PER_MINUTE if gemini else None,
        )

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        """An upper estimate, for Google's tokenizers are not on this machine: a word counts as one token for every
        three letters begun, a digit (which they keep apart) or sign as one, any other character as its bytes in UTF-8.
        """
        return np.fromiter((_estimate(text) for text in texts), dtype=np.int64, count=len(texts))

    def cut(self, text: str, tokens: int) -> str:
        left, end = tokens, 0
        for match in _PIECE.finditer(text):
            needed = _piece_tokens(match.group())
            if needed > left:
                word = match.group().isascii() and left > 0
                return text[: match.start() + left * _LETTERS_PER_TOKEN] if word else text[:end]
            left -= needed
            end = match.end()
        return text

    def embed(self, texts: list[str]) -> Answer:
        from google.genai.types import EmbedContentConfig

        config = EmbedContentConfig(
            output_dimensionality=self.dimensions, task_type=self.settings.task_type, auto_truncate=False
        )
        client, contents = self.client, list[Any](texts)
        try:
            answer = client.models.embed_content(model=self.model, contents=contents, config=config)
        except Exception as error:  # of the library, of httpx, of google-auth, of pydantic
            raise self.explained(error) from None
        return self._read(answer.embeddings or [], len(texts))

    @property
    def client(self) -> Client:
        """The library's client, whose own retries are off; made by the first thread that asks."""
        with self._lock:
            return self._client

    @cached_property
    def _client(self) -> Client:
        with _quiet():
            from google.genai import Client
            from google.genai.types import HttpOptions, HttpRetryOptions

            credentials, project = self.signed_in
            return Client(
                vertexai=True,
                credentials=credentials,
                project=project,
                location=self.settings.location or os.environ.get("GOOGLE_CLOUD_LOCATION") or DEFAULT_LOCATION,
                http_options=HttpOptions(
                    base_url=self.address,
                    timeout=round(self.settings.timeout * 1000),
                    retry_options=HttpRetryOptions(attempts=1),
                ),
            )

    @cached_property
    def signed_in(self) -> tuple[Credentials, str]:
        """Application default credentials and the project. Raises FinalError."""
        import google.auth
        from google.auth.exceptions import GoogleAuthError

        try:
            credentials, found = google.auth.default(scopes=[_SCOPE])
        except (GoogleAuthError, OSError, ValueError) as error:
            raise FinalError(f"there are no Google Cloud credentials: {self.scrub(str(error))}", _LOG_IN) from None
        project = self.settings.project or found  # which is $GOOGLE_CLOUD_PROJECT where that is set
        if not project:
            raise FinalError("no Google Cloud project is known", "--set project=ID, or set GOOGLE_CLOUD_PROJECT")
        return credentials, project

    def _read(self, embeddings: list[ContentEmbedding], n_texts: int) -> Answer:
        """Vectors, which Google answers in the order of the texts. Raises BadAnswerError."""
        if len(embeddings) != n_texts:
            raise BadAnswerError(f"the server answered {len(embeddings):,} vectors for {n_texts:,} texts")
        widths = {len(one.values or ()) for one in embeddings}
        expected = self.dimensions or self.width or max(widths)
        if widths != {expected} or not expected:
            raise BadAnswerError(f"the server answered vectors of width {min(widths)} where {expected} belong")
        counts = [one.statistics.token_count if one.statistics else None for one in embeddings]
        counted = [count for count in counts if count is not None]
        with np.errstate(over="ignore"):
            vectors = np.array([one.values for one in embeddings], dtype=np.float64).astype(np.float32)
        return Answer(vectors, round(sum(counted)) if len(counted) == n_texts else None)

    def explained(self, error: Exception) -> Exception:
        """What an exception of the libraries means: TransientError, RefusedError or FinalError, without secrets."""
        import httpx
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.genai.errors import APIError

        # google-auth's errors carry the token server's whole answer as a second argument.
        told = error.args[0] if isinstance(error, GoogleAuthError) and error.args else error
        said = self.scrub(str(told)) or type(error).__name__
        if isinstance(error, APIError):
            return self._explained_status(error)
        if isinstance(error, GoogleAuthError):
            if never_connected(error):
                return UnreachableError(f"no access token: {said}")
            if isinstance(error, TransportError) or error.retryable:
                return TransientError(f"no access token: {said}")
            return FinalError(f"Google gives no access token: {said}", _LOG_IN)
        if isinstance(error, httpx.TimeoutException):
            return TransientError(f"{self._host}: no answer in {self.settings.timeout:g} s", lost=True)
        if never_connected(error):
            return UnreachableError(f"{self._host}: no connection ({said})")
        if isinstance(error, (httpx.RequestError, OSError)):
            return TransientError(f"{self._host}: no connection ({said})", lost=True)
        if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
            return TransientError("the server's answer is cut off", lost=True)
        if isinstance(error, (ValueError, TypeError, KeyError, AttributeError)):
            return BadAnswerError(f"the server's answer makes no sense: {said}")
        return error

    @property
    def _host(self) -> str:
        return urlsplit(self.address or "").hostname or "Vertex AI"

    def _explained_status(self, error: APIError) -> Exception:
        code, said = error.code, self.scrub(str(error.message or error.details))
        if code == 401:
            return FinalError(f"Google does not accept the credentials: {said}", _LOG_IN)
        if code == 403:
            hint = (
                "the account needs the role 'Vertex AI User' in the project, which needs the Vertex AI API and billing"
            )
            return FinalError(f"Google denies access: {said}", hint)
        if code in (408, 409, 425, 429, 499) or code >= 500:
            return TransientError(f"{code} {said}", _wait(error))
        if code == 413 or (code in (400, 422) and error.status != "FAILED_PRECONDITION"):
            too_long = code == 413 or bool(_TOO_LONG.search(said))
            if too_long or not _NOT_THE_TEXTS.search(said):
                return RefusedError(f"{code} {said}", too_long=too_long)
        return FinalError(f"{code} {said}", f"check --model {self.model}, --dimensions, project and location")

    def scrub(self, text: str) -> str:
        """The text without tokens and keys, in one line of bearable length."""
        return " ".join(_SECRETS.sub("***", text).split())[:300]


def _endpoint(base_url: str | None) -> str | None:
    """The address that is meant, None for the region's own. Raises UsageError."""
    address = (base_url or os.environ.get("GOOGLE_VERTEX_BASE_URL") or "").strip().rstrip("/")
    parts = urlsplit(address)
    if address and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise UsageError(
            f"'{address}' is not the address of an endpoint",
            "for example --base-url https://europe-west4-aiplatform.googleapis.com",
        )
    return address or None


def _foreign(address: str | None) -> str:
    """The address where it is not Google's, which may have other vectors; without a name and password."""
    parts = urlsplit(address or "")
    if not parts.hostname or parts.hostname.endswith(".googleapis.com"):
        return ""
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps notes of Google's libraries off the terminal while credentials are looked for."""
    loggers = [logging.getLogger(name) for name in ("google.auth", "google_genai")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _estimate(text: str) -> int:
    return sum(map(_piece_tokens, _PIECE.findall(text)))


def _piece_tokens(piece: str) -> int:
    if piece.isascii():
        return -(-len(piece) // _LETTERS_PER_TOKEN)
    return len(piece.encode("utf-8", "surrogatepass"))


def _wait(error: APIError) -> float | None:
    """Seconds that the server asks for, in its headers or its answer."""
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    asked = retry_after(headers)
    return retry_info(error.details) if asked is None else asked
