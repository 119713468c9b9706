"""Words for what goes wrong with a download: what happened, and what to do about it."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from llmseq_cli.errors import LlmseqError


class SourceError(LlmseqError):
    """This address does not give the file; another one may."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def explain_connection(error: Exception, host: str) -> SourceError | None:
    """The error for a server that cannot be reached at all; None where trying again may help."""
    import httpx

    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return SourceError(f"no server is called {host}", "check the address and that you are online")
        if isinstance(cause, ConnectionRefusedError):
            return SourceError(f"{host} refuses the connection", "check the address and its port, or try again later")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SourceError(
                f"the certificate of {host} is not valid: {cause.verify_message}",
                "fetch the file with a browser if you trust the server, then `llmseq ingest` the file",
            )
        if isinstance(cause, httpx.ProxyError):
            return SourceError("the proxy does not let the request through", "check HTTPS_PROXY and NO_PROXY")
    return None


def transport_reason(error: Exception) -> str:
    """Why a request broke off, for a message that says that it is tried again."""
    import httpx

    if isinstance(error, httpx.ConnectTimeout):
        return "the server does not answer"
    if isinstance(error, httpx.TimeoutException):
        return "the server stopped sending"
    return "the connection broke off"


def refusal(status: int, host: str, name: str) -> SourceError:
    """The error for an answer that another try does not change."""
    if status in (404, 410):
        return SourceError(
            f"{host} has no {name} at this address ({status})", "check the address, or try another mirror"
        )
    if status in (401, 403, 407):
        return SourceError(
            f"{host} does not give out {name} ({status})", "it may need a login, or an address that has not expired"
        )
    return SourceError(f"{host} answers {status} for {name}", "check the address, or try another mirror")


def cannot_write(error: OSError, target: Path) -> LlmseqError:
    """The error for a disk that is full or a folder that cannot be written."""
    kept = "then run it again: it goes on where it stopped"
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)):
        return LlmseqError(f"the disk of {target.parent} is full", f"free some space, {kept}")
    if error.errno == errno.EFBIG:
        return LlmseqError(
            f"{target.parent} cannot hold a file as large as {target.name}", "give another folder with --out"
        )
    return LlmseqError(f"{target} cannot be written: {error.strerror or error}", "give another folder with --out")
