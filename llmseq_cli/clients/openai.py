"""A server that speaks OpenAI's protocol: its address, its key, the SDK's client, the meaning of its errors."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from llmseq_cli.clients.answers import Answer, Page
from llmseq_cli.clients.errors import FinalError, RefusedError, TransientError, UnreachableError, never_connected
from llmseq_cli.clients.openai_answers import ModelCard
from llmseq_cli.clients.readable import readable
from llmseq_cli.clients.retirements import Retirement, retirement
from llmseq_cli.clients.retry_after import retry_after
from llmseq_cli.clients.token_estimate import TokenEstimate
from llmseq_cli.errors import UsageError

if TYPE_CHECKING:
    import openai
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")

OPENAI_URL = "https://api.openai.com/v1"

OPENAI_TOKENS = TokenEstimate(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]")
"""OpenAI's tokenizers use four or five characters per token for words, and three digits."""

_TOO_LONG = re.compile(
    r"context length|input length|too long|too large|fewer tokens|less than \d+ tokens|maximum .*tokens", re.I
)
_NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated")
_ABOUT_SECONDS = 20.0  # to wait for facts about a model
_PER_PAGE = 100
_MOST_PAGES = 200


class OpenAIClient:
    """OpenAI, or a compatible server at `base_url`. The key comes only from the environment.

    host: the server's name and port. variant: the address without user and password, '' for OpenAI itself. Services
    that speak the same protocol are subclasses, which define their address and the name of their key.
    """

    service: ClassVar[str] = "openai"
    own_address: ClassVar[str] = OPENAI_URL
    address_variable: ClassVar[str] = "OPENAI_BASE_URL"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"

    def __init__(self, base_url: str | None, timeout: float) -> None:
        self.address, self.timeout = self._address(base_url), timeout
        parts = urlsplit(self.address)
        self.host = parts.netloc.rpartition("@")[2]
        self.is_own = parts.hostname == urlsplit(self.own_address).hostname
        self.is_openai = self.is_own and self.service == "openai"
        self.variant = "" if self.is_openai else f"{parts.scheme}://{self.host}{parts.path}"
        self._lock = threading.Lock()

    def _address(self, base_url: str | None) -> str:
        """The server's address: as given, from the environment, or the service's default. Raises UsageError."""
        address = (base_url or os.environ.get(self.address_variable) or self.own_address).strip().rstrip("/")
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"'{address}' is not a server address", "for example --base-url http://localhost:8000/v1")
        return address

    @property
    def key(self) -> str:
        return os.environ.get(self.key_variable, "").strip()

    @cached_property
    def _sdk(self) -> openai.OpenAI:
        import openai

        if not self.key and self.is_own:
            raise FinalError(
                f"{self.key_variable} is not set", "set it in the environment, or name a server with --base-url"
            )
        # A server without keys ignores this value, but the SDK requires one.
        return openai.OpenAI(api_key=self.key or "none", base_url=self.address, max_retries=0, timeout=self.timeout)

    @property
    def sdk(self) -> openai.OpenAI:
        """The SDK's client, without its own retries. Raises FinalError if the key is missing."""
        with self._lock:
            return self._sdk

    def get(self, path: str, **params: str) -> Answer:
        """Get a route for which the SDK has no method; it fails as the SDK's methods do."""
        return Answer(self.host, self.sdk.get(path, cast_to=bytes, options={"params": params}), self.scrub)

    def post(self, path: str, body: dict[str, Any] | None = None, **params: str) -> Answer:
        content = self.sdk.post(path, cast_to=bytes, body=body or {}, options={"params": params})
        return Answer(self.host, content, self.scrub)

    def post_file(self, path: str, name: str, content: IO[bytes], **fields: str) -> Answer:
        """Send a file as a form, with further fields."""
        files: Any = [("file", (name, content))]
        form: Any = {"headers": {"Content-Type": "multipart/form-data"}}
        answered = self.sdk.post(path, cast_to=bytes, body=fields, files=files, options=form)
        return Answer(self.host, answered, self.scrub)

    def answer(self, raw: Any) -> Answer:
        """The body of a raw response, for us to parse: the SDK's own models accept anything."""
        return Answer(self.host, raw.content, self.scrub)

    def pages(self, ask: Callable[..., Any], kind: type[M], **asked: Any) -> Iterator[M]:
        """All entries of a list, page by page. ask: a `list` method of the SDK's `with_raw_response`. Entries that do
        not fit `kind` are left out.
        """
        after: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            page = self.answer(ask(limit=_PER_PAGE, **after, **asked)).read(Page)
            entries = page.entries(kind)
            yield from entries
            last = getattr(entries[-1], "id", None) if entries else None
            if not page.has_more or last is None or after.get("after") == last:
                return
            after = {"after": last}

    def retirement(self, model: str, *, ask: bool) -> Retirement | None:
        """When the model will be shut down, from announcements (for OpenAI's models) and, with `ask`, from the server.
        If the server does not say or fails, go on: the work itself will show.
        """
        import openai

        told = None
        if ask:
            try:
                raw = self.sdk.models.with_raw_response.retrieve(model, timeout=min(self.timeout, _ABOUT_SECONDS))
                told = self.told_shutdown(self.answer(raw).read(ModelCard))
            except (openai.OpenAIError, TransientError):
                told = None
        return retirement(self.service if self.is_own else "", model, told)

    def told_shutdown(self, card: ModelCard) -> str | None:
        """The shutdown date of a model according to the server, YYYY-MM-DD."""
        return card.shutdown_date

    def explained(self, error: Exception, model: str = "") -> Exception:
        """Translate an SDK exception to TransientError, RefusedError or FinalError, without the key."""
        import openai

        if isinstance(error, openai.APIConnectionError):
            cause = self.scrub(str(error.__cause__ or error))
            if never_connected(error):
                return UnreachableError(f"{self.host}: no connection ({cause})")
            slow = isinstance(error, openai.APITimeoutError)
            why = f"no answer in {self.timeout:g} s" if slow else f"no connection ({cause})"
            return TransientError(f"{self.host}: {why}", lost=True)
        if not isinstance(error, openai.APIStatusError):
            return FinalError(self.scrub(str(error)), "see platform.openai.com/docs")
        return self._explained_status(error, model)

    def _explained_status(self, error: openai.APIStatusError, model: str) -> Exception:
        status, said = error.status_code, self.scrub(_said(error))
        if status == 401:
            return FinalError("the server does not accept the key", f"check {self.key_variable}")
        if error.code in _NO_QUOTA or error.type in _NO_QUOTA or status == 402:
            return FinalError(
                f"the account has no quota left: {said}", "see platform.openai.com/settings/organization/billing"
            )
        if status == 429 and "request too large" in said.lower():
            return RefusedError(said)
        if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
            return TransientError(f"{status} {said}", retry_after(error.response.headers))
        if status in (400, 413, 422) and error.code != "model_not_found" and error.param not in ("model", "dimensions"):
            return RefusedError(f"{status} {said}", too_long=status == 413 or bool(_TOO_LONG.search(said)))
        name = f" {model}" if model else ""
        return FinalError(f"{status} {said}", f"check --model{name} and the address {self.variant or OPENAI_URL}")

    def scrub(self, text: str, longest: int | None = None) -> str:
        """A server's message, safe to show: without the key, on one line of readable length."""
        if self.key:
            text = text.replace(self.key, "***")
        text = re.sub(r"\bsk-[\w*.-]{3,}", "sk-***", text)
        text = re.sub(r"(?<=://)[^/@\s]+@", "", text)
        return readable(text) if longest is None else readable(text, longest)


def told_limits(headers: Mapping[str, str]) -> tuple[float | None, float | None]:
    """(requests, tokens) per minute that the server allows the account, None if unknown."""
    return _rate(headers.get("x-ratelimit-limit-requests")), _rate(headers.get("x-ratelimit-limit-tokens"))


def _rate(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def _said(error: openai.APIStatusError) -> str:
    """The server's message, wherever it is in the error."""
    body: Any = error.body
    if isinstance(body, dict):
        for key in ("message", "error", "detail"):
            if isinstance(body.get(key), str):
                return str(body[key])
    return str(body) if body else error.response.reason_phrase


def refused_parameter(error: openai.APIStatusError) -> str:
    """The parameter that the server refuses, and its message."""
    return f"{error.param} {_said(error)}"
