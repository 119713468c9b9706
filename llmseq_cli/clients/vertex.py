"""Vertex AI: its address, Google's credentials, the SDK's client, the meaning of its errors."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmseq_cli.clients.answers import Answer
from llmseq_cli.clients.errors import FinalError, RefusedError, TransientError, UnreachableError, never_connected
from llmseq_cli.clients.readable import readable
from llmseq_cli.clients.retry_after import retry_after, retry_info
from llmseq_cli.clients.token_estimate import TokenEstimate
from llmseq_cli.errors import UsageError

if TYPE_CHECKING:
    import httpx
    from google.auth.credentials import Credentials
    from google.genai import Client
    from google.genai.errors import APIError

DEFAULT_LOCATION = "us-central1"

VERTEX_TOKENS = TokenEstimate(r"[A-Za-z]+|[^\sA-Za-z]")
"""Google's tokenizers split digits."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOO_LONG = re.compile(r"token count|number of tokens|token limit|too long|too large|payload size|input length", re.I)
_NOT_THE_TEXTS = re.compile(
    r"dimension|task.?type|model .*not (?:found|supported)|unsupported model|user location|billing", re.I
)
_SECRETS = re.compile(r"\bya29\.[\w.-]+|\beyJ[\w-]+\.[\w.-]+|(?<=Bearer )\S+|-----BEGIN[^-]+-----.*", re.S)
_LOG_IN = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file"


class VertexClient:
    """Vertex AI with the credentials that Google's tools find (GOOGLE_APPLICATION_CREDENTIALS, gcloud's, the machine's
    own).

    base_url: another endpoint (private, or a gateway); default: $GOOGLE_VERTEX_BASE_URL, or the region's own. project,
    location: None takes them from the environment, or uses the credentials' project and DEFAULT_LOCATION.
    variant: the endpoint if it is not Google's, without user and password.
    """

    def __init__(self, base_url: str | None, project: str | None, location: str | None, timeout: float) -> None:
        self.address = _endpoint(base_url)
        self.location = location or os.environ.get("GOOGLE_CLOUD_LOCATION") or DEFAULT_LOCATION
        self.timeout = timeout
        self.host = urlsplit(self.address or "").hostname or "Vertex AI"
        self.variant = _foreign(self.address)
        self._project = project
        self._lock = threading.Lock()
        self._heard = threading.local()

    @property
    def project(self) -> str:
        """The project. Raises FinalError if none is known."""
        return self._project or os.environ.get("GOOGLE_CLOUD_PROJECT") or self.signed_in[1]

    @cached_property
    def signed_in(self) -> tuple[Credentials, str]:
        """Application default credentials and the project. Raises FinalError."""
        import google.auth
        from google.auth.exceptions import GoogleAuthError

        with _quiet():
            try:
                credentials, found = google.auth.default(scopes=[_SCOPE])
            except (GoogleAuthError, OSError, ValueError) as error:
                raise FinalError(f"there are no Google Cloud credentials: {self.scrub(str(error))}", _LOG_IN) from None
        project = self._project or found  # $GOOGLE_CLOUD_PROJECT if that is set
        if not project:
            raise FinalError("no Google Cloud project is known", "--set project=ID, or set GOOGLE_CLOUD_PROJECT")
        return credentials, project

    @cached_property
    def _sdk(self) -> Client:
        with _quiet():
            from google.genai import Client
            from google.genai.types import HttpOptions, HttpRetryOptions

            credentials, project = self.signed_in
            return Client(
                vertexai=True,
                credentials=credentials,
                project=project,
                location=self.location,
                http_options=HttpOptions(
                    base_url=self.address,
                    timeout=round(self.timeout * 1000),
                    retry_options=HttpRetryOptions(attempts=1),
                    client_args={"event_hooks": {"response": [self._hear]}},
                ),
            )

    def _hear(self, response: httpx.Response) -> None:
        self._heard.status, self._heard.body = response.status_code, response.read()

    def ask(self, call: Callable[[Client], Any]) -> Answer:
        """The raw body of the answer to a google-genai call. The SDK's own models would convert what does not fit, and
        lose everything for one bad entry. Raises the SDK's errors, those of httpx and google-auth, and ours.
        """
        with self._lock:
            sdk = self._sdk
        self._heard.status, self._heard.body = 0, b""
        try:
            call(sdk)
        except Exception as error:
            status = self._heard.status
            if not of_reading(error) or not status:
                raise
            if not 200 <= status < 300:
                raise self.explained_status(status, "", self.scrub(_text(self._heard.body)), None) from None
        return self.answer(self._heard.body)

    def answer(self, body: bytes) -> Answer:
        return Answer(self.host, body, self.scrub)

    def explained(self, error: Exception, model: str = "") -> Exception:
        """Translate an exception of these libraries to TransientError, RefusedError or FinalError, without secrets."""
        import httpx
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.genai.errors import APIError

        # google-auth's errors carry the token server's whole answer as a second argument.
        told = error.args[0] if isinstance(error, GoogleAuthError) and error.args else error
        said = self.scrub(str(told)) or type(error).__name__
        if isinstance(error, APIError):
            return self._explained_api_error(error, model)
        if isinstance(error, GoogleAuthError):
            if never_connected(error):
                return UnreachableError(f"no access token: {said}")
            if isinstance(error, TransportError) or error.retryable:
                return TransientError(f"no access token: {said}")
            return FinalError(f"Google gives no access token: {said}", _LOG_IN)
        if isinstance(error, httpx.TimeoutException):
            return TransientError(f"{self.host}: no answer in {self.timeout:g} s", lost=True)
        if never_connected(error):
            return UnreachableError(f"{self.host}: no connection ({said})")
        if isinstance(error, (httpx.RequestError, OSError)):
            return TransientError(f"{self.host}: no connection ({said})", lost=True)
        if of_reading(error):
            return self.answer(b"").wrong(f"makes no sense ({said})")
        return error

    def _explained_api_error(self, error: APIError, model: str) -> Exception:
        said = self.scrub(str(error.message or error.details))
        headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
        wait = retry_after(headers)
        wait = retry_info(error.details) if wait is None else wait
        return self.explained_status(error.code, str(error.status), said, wait, model)

    def explained_status(self, code: int, status: str, said: str, wait: float | None, model: str = "") -> Exception:
        """Translate an HTTP status of Google. status: Google's name for it. said: its message, scrubbed."""
        if code == 401:
            return FinalError(f"Google does not accept the credentials: {said}", _LOG_IN)
        if code == 403:
            hint = (
                "the account needs the role 'Vertex AI User' in the project, which needs the Vertex AI API and billing"
            )
            return FinalError(f"Google denies access: {said}", hint)
        if code in (408, 409, 425, 429, 499) or code >= 500:
            return TransientError(f"{code} {said}", wait)
        if code == 413 or (code in (400, 422) and status != "FAILED_PRECONDITION"):
            too_long = code == 413 or bool(_TOO_LONG.search(said))
            if too_long or not _NOT_THE_TEXTS.search(said):
                return RefusedError(f"{code} {said}", too_long=too_long)
        name = f" {model}" if model else ""
        return FinalError(f"{code} {said}", f"check --model{name}, --dimensions, project and location")

    def scrub(self, text: str, longest: int | None = None) -> str:
        """A server's message, safe to show: without tokens and keys, on one line of readable length."""
        text = _SECRETS.sub("***", text)
        return readable(text) if longest is None else readable(text, longest)


def of_reading(error: Exception) -> bool:
    """Whether a library raised the error about the answer, not the request: pydantic's errors are ValueErrors, too."""
    from google.auth.exceptions import GoogleAuthError

    kinds = (ValueError, TypeError, LookupError, AttributeError, RecursionError, ArithmeticError)
    return isinstance(error, kinds) and not isinstance(error, (GoogleAuthError, OSError))


def _text(body: bytes) -> str:
    return body[:2_000].decode("utf-8", "replace")


def _endpoint(base_url: str | None) -> str | None:
    """The endpoint's address, None for the region's own. Raises UsageError if it is not valid."""
    address = (base_url or os.environ.get("GOOGLE_VERTEX_BASE_URL") or "").strip().rstrip("/")
    parts = urlsplit(address)
    if address and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise UsageError(
            f"'{address}' is not an endpoint address",
            "for example --base-url https://europe-west4-aiplatform.googleapis.com",
        )
    return address or None


def _foreign(address: str | None) -> str:
    """The address if it is not Google's (another service may return other vectors), without user and password."""
    parts = urlsplit(address or "")
    if not parts.hostname or parts.hostname.endswith(".googleapis.com"):
        return ""
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep messages of Google's libraries off the terminal while looking for credentials."""
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
