"""Embeddings of OpenAI and of every server that speaks its protocol (vLLM, TEI, Ollama, infinity)."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Mapping
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
from llmseq_cli.clients.idempotency import IdempotencyKeys
from llmseq_cli.clients.retry_after import retry_after
from llmseq_cli.embeddings.sources.source import Answer, EmbeddingSource, Limits
from llmseq_cli.errors import UsageError
from llmseq_cli.settings import Settings, setting

if TYPE_CHECKING:
    import openai

DEFAULT_MODEL = "text-embedding-3-small"
OPENAI_URL = "https://api.openai.com/v1"

_WIDTHS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}

# Of text-embedding-3-small in the lowest paid tier; the server's headers tell the account's own.
_REQUESTS_PER_MINUTE = 3_000
_TOKENS_PER_MINUTE = 1_000_000

_TOO_LONG = re.compile(
    r"context length|input length|too long|too large|fewer tokens|less than \d+ tokens|maximum .*tokens", re.I
)
_NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated")
_PIECE = re.compile(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]")
_LETTERS_PER_TOKEN = 3


@dataclass(frozen=True)
class OpenAISettings(Settings):
    """What a server takes at once. Defaults are OpenAI's; servers of one's own get 32 texts, which all take."""

    texts_per_request: int | None = setting(None, "texts in one request; none: 2048, or 32 with --base-url", low=1)
    tokens_per_request: int | None = setting(300_000, "tokens in one request; none sets no limit", low=1)
    tokens_per_text: int | None = setting(8192, "tokens of one text, longer ones are cut; none sets no limit", low=1)
    timeout: float = setting(120.0, "seconds until an answer is given up", low=1)


def server_address(base_url: str | None) -> str:
    """The address that is meant: as given, else $OPENAI_BASE_URL, else OpenAI's own. Raises UsageError."""
    address = (base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).strip().rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"'{address}' is not the address of a server", "for example --base-url http://localhost:8000/v1"
        )
    return address


class OpenAISource(EmbeddingSource):
    """OpenAI, or a compatible server at `base_url`. The key comes from $OPENAI_API_KEY and nowhere else.

    Raises UsageError for dimensions that the model cannot have, FinalError where the key is missing.
    """

    name: ClassVar[str] = "openai"
    remote: ClassVar[bool] = True

    def __init__(
        self,
        model: str | None = None,
        dimensions: int | None = None,
        base_url: str | None = None,
        settings: OpenAISettings | None = None,
    ) -> None:
        self.model = model or DEFAULT_MODEL
        self.settings = settings or OpenAISettings()
        self.address = server_address(base_url)
        self.is_openai = urlsplit(self.address).hostname == "api.openai.com"
        self.width = _WIDTHS.get(self.model) if self.is_openai else None
        self.dimensions = None if dimensions == self.width else dimensions
        if self.width and self.dimensions and (self.dimensions > self.width or self.model.endswith("ada-002")):
            raise UsageError(f"{self.model} has {self.width} dimensions, not {dimensions}", "leave --dimensions out")
        self.limits = self._limits()
        if not self.is_openai:
            parts = urlsplit(self.address)
            port = f":{parts.port}" if parts.port else ""
            self.variant = f"{parts.scheme}://{parts.hostname}{port}{parts.path}"  # no name and password
        self._encoding: Any = "base64"
        self._keys = IdempotencyKeys()
        self._lock = threading.Lock()

    def _limits(self) -> Limits:
        given = self.settings
        return Limits(
            texts_per_request=given.texts_per_request or (2048 if self.is_openai else 32),
            tokens_per_request=given.tokens_per_request,
            tokens_per_text=given.tokens_per_text,
            requests_per_minute=_REQUESTS_PER_MINUTE if self.is_openai else None,
            tokens_per_minute=_TOKENS_PER_MINUTE if self.is_openai else None,
        )

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        """An upper estimate, for OpenAI's tokenizer is not on this machine: a word or number counts as one token for
        every three characters begun (the tokenizer needs four or five), any other character as its bytes in UTF-8.
        """
        return np.fromiter((_estimate(text) for text in texts), dtype=np.int64, count=len(texts))

    def cut(self, text: str, tokens: int) -> str:
        left, end = tokens, 0
        for match in _PIECE.finditer(text):
            piece = match.group()
            needed = _piece_tokens(piece)
            if needed > left:
                return text[: match.start() + left * _LETTERS_PER_TOKEN] if piece.isascii() and left else text[:end]
            left -= needed
            end = match.end()
        return text

    def embed(self, texts: list[str]) -> Answer:
        import openai

        asked: dict[str, Any] = {"input": texts, "model": self.model, "encoding_format": self._encoding}
        if self.dimensions is not None:
            asked["dimensions"] = self.dimensions
        try:
            raw = self.client.embeddings.with_raw_response.create(**asked, extra_headers=self._keys.header(asked))
        except openai.APIStatusError as error:
            if asked["encoding_format"] == "base64" and _dislikes_encoding(error):
                self._encoding = "float"
                return self.embed(texts)
            raise self.explained(error) from None
        except openai.OpenAIError as error:
            raise self.explained(error) from None
        try:
            return self._read(raw.content, raw.headers, len(texts))
        except TransientError:
            self._keys.discard(asked)
            raise

    @cached_property
    def _client(self) -> openai.OpenAI:
        import openai

        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not key and self.is_openai:
            raise FinalError("OPENAI_API_KEY is not set", "set it in the environment, or name a server with --base-url")
        # A server without keys ignores what it gets; the library insists on something.
        return openai.OpenAI(api_key=key or "none", base_url=self.address, max_retries=0, timeout=self.settings.timeout)

    @property
    def client(self) -> openai.OpenAI:
        """The library's client, whose own retries are off; made by the first thread that asks."""
        with self._lock:
            return self._client

    def _read(self, body: bytes, headers: Mapping[str, str], n_texts: int) -> Answer:
        """Vectors in the order of the texts, by the `index` of each. Raises BadAnswerError, or TransientError where the
        answer is cut off.
        """
        try:
            document = json.loads(body)
        except ValueError:
            raise TransientError("the server's answer is cut off", lost=True) from None
        try:
            vectors, tokens = read_vectors(document, n_texts)
        except (KeyError, TypeError, ValueError) as error:
            raise BadAnswerError(f"the server's answer makes no sense: {self.scrub(str(error))}") from None
        width = self.dimensions or self.width
        if width and vectors.shape[1] != width:
            raise BadAnswerError(f"the server answered vectors of width {vectors.shape[1]} where {width} belong")
        return Answer(
            vectors,
            tokens,
            _number(headers.get("x-ratelimit-limit-requests")),
            _number(headers.get("x-ratelimit-limit-tokens")),
        )

    def explained(self, error: Exception) -> Exception:
        """What an exception of the library means: TransientError, RefusedError or FinalError, without the key."""
        import openai

        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__ or error
            if never_connected(error):
                where = urlsplit(self.address).netloc.rpartition("@")[2]
                return UnreachableError(f"{where}: no connection ({self.scrub(str(cause))})")
            slow = isinstance(error, openai.APITimeoutError)
            why = f"no answer in {self.settings.timeout:g} s" if slow else f"no connection ({self.scrub(str(cause))})"
            return TransientError(f"{urlsplit(self.address).hostname}: {why}", lost=True)
        if not isinstance(error, openai.APIStatusError):
            return FinalError(self.scrub(str(error)), "see platform.openai.com/docs")
        return self._explained_status(error)

    def _explained_status(self, error: openai.APIStatusError) -> Exception:
        status, said = error.status_code, self.scrub(_said(error))
        if status == 401:
            return FinalError("the server does not accept the key", "check OPENAI_API_KEY")
        if error.code in _NO_QUOTA or error.type in _NO_QUOTA or status == 402:
            return FinalError(
                f"the account has no quota left: {said}", "see platform.openai.com/settings/organization/billing"
            )
        if status == 429 and "request too large" in said.lower():
            return RefusedError(said)
        if status in (408, 409, 425, 429) or status >= 500:
            return TransientError(f"{status} {said}", retry_after(error.response.headers))
        if status in (400, 413, 422) and error.code != "model_not_found" and error.param not in ("model", "dimensions"):
            return RefusedError(f"{status} {said}", too_long=status == 413 or bool(_TOO_LONG.search(said)))
        hint = f"check --model {self.model} and the address {self.variant or OPENAI_URL}"
        return FinalError(f"{status} {said}", hint)

    def scrub(self, text: str) -> str:
        """The text without the key, in one line of bearable length."""
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if key:
            text = text.replace(key, "***")
        text = re.sub(r"\bsk-[\w*.-]{3,}", "sk-***", text)
        text = re.sub(r"(?<=://)[^/@\s]+@", "", text)
        return " ".join(text.split())[:300]


def read_vectors(document: Any, n_texts: int) -> tuple[np.ndarray, int | None]:
    """(float32[n_texts, dim], tokens) out of an answer of the embeddings endpoint. Raises ValueError, KeyError or
    TypeError where it is not one.
    """
    data = document["data"]
    if len(data) != n_texts:
        raise ValueError(f"{len(data)} vectors for {n_texts} texts")
    rows: list[np.ndarray | None] = [None] * n_texts
    for place, entry in enumerate(data):
        index = int(entry.get("index", place))
        if not 0 <= index < n_texts or rows[index] is not None:
            raise ValueError(f"index {index} is out of range or comes twice")
        vector = entry["embedding"]
        # OpenAI's base64 holds little-endian float32.
        decoded = (
            np.frombuffer(base64.b64decode(vector), dtype="<f4") if isinstance(vector, str) else np.asarray(vector)
        )
        rows[index] = decoded
    usage = document.get("usage") or {}
    tokens = usage.get("total_tokens", usage.get("prompt_tokens"))
    with np.errstate(over="ignore"):
        return np.stack([row for row in rows if row is not None]).astype(np.float32), None if tokens is None else int(
            tokens
        )


def _estimate(text: str) -> int:
    return sum(map(_piece_tokens, _PIECE.findall(text)))


def _piece_tokens(piece: str) -> int:
    if piece.isascii():
        return -(-len(piece) // _LETTERS_PER_TOKEN)
    return len(piece.encode("utf-8", "surrogatepass"))


def _said(error: openai.APIStatusError) -> str:
    """The server's own words, wherever it put them."""
    body = error.body
    if isinstance(body, dict):
        for key in ("message", "error", "detail"):
            if isinstance(body.get(key), str):
                return body[key]
    return str(body) if body else error.response.reason_phrase


def _dislikes_encoding(error: openai.APIStatusError) -> bool:
    said = f"{error.param} {_said(error)}"
    return error.status_code in (400, 422) and ("encoding_format" in said or "base64" in said)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
