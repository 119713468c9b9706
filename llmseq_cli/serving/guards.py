"""Protects the service: which requests are allowed, how many, and how large."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from multiprocessing import get_context
from typing import Any

from llmseq_cli.serving.options import MOST_BYTES, TOKEN

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = ("/health",)  # needs no token and has no rate limit
_BODY_SECONDS = 20  # longest time for a body to arrive
_LOCK_SECONDS = 0.1
_PAGE_HEADERS = [
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
     b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]  # fmt: skip


class RateLimit:
    """A limit on requests per second over all workers; up to one second's worth may arrive at once."""

    def __init__(self, per_second: float) -> None:
        self.per_second, self.most = per_second, max(1.0, per_second)
        # Requests left, and at what time. Shared with the worker processes.
        self._state = get_context("spawn").Array("d", [self.most, time.monotonic()])

    def seconds_to_wait(self) -> float:
        """Seconds until a request may pass; 0 lets it pass and counts it."""
        lock = self._state.get_lock()
        if not lock.acquire(timeout=_LOCK_SECONDS):  # a worker was killed while counting
            return 0.0
        try:
            left, before = self._state[:]
            now = time.monotonic()
            left = min(self.most, left + (now - before) * self.per_second)
            passes = left >= 1
            self._state[:] = [left - passes, now]
        finally:
            lock.release()
        return 0.0 if passes else (1 - left) / self.per_second


class Guards:
    """An ASGI application around another.

    token: required in requests; None allows all. hosts: names by which the service may be addressed, so that no other
    site's page can reach it through its own name (DNS rebinding); None allows all.
    """

    def __init__(self, app: Application, token: str | None, hosts: tuple[str, ...] | None, rate: RateLimit) -> None:
        self.app, self.hosts, self.rate = app, hosts, rate
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refused = self._refusal(scope["path"], headers)
        if refused is None:
            refused, receive = await _whole_body(headers, receive)
        if refused is not None:
            await _refuse(send, *refused)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_PAGE_HEADERS]
            await send(message)

        await self.app(scope, receive, send_safely)

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> tuple[int, str, dict[str, str]] | None:
        """(status, reason, headers) if a request is refused."""
        if self.hosts is not None and _name(headers.get(b"host", b"")) not in self.hosts:
            return 421, "this service answers to localhost only", {}
        if path in OPEN:
            return None
        if self._token is not None and not hmac.compare_digest(_given(headers), self._token):
            asks = {"www-authenticate": 'Basic realm="llmseq, any user, the token as password", charset="UTF-8"'}
            return 401, f"the token is missing or wrong: send 'Authorization: Bearer ${TOKEN}'", asks
        seconds = self.rate.seconds_to_wait()
        if seconds:
            return 429, "too many requests", {"retry-after": str(math.ceil(seconds))}
        return None


def _name(host: bytes) -> str:
    """The host name: `localhost` of localhost:8000, `::1` of [::1]:8000."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _given(headers: dict[bytes, bytes]) -> bytes:
    """The token of a request: from `Bearer TOKEN` or, for browsers, the password of `Basic`."""
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


async def _whole_body(
    headers: dict[bytes, bytes], receive: Receive
) -> tuple[tuple[int, str, dict[str, str]] | None, Receive]:
    """(why the request is refused, a function that passes on the received body)."""
    too_large = 413, f"the body is larger than {MOST_BYTES:,} bytes", {"connection": "close"}
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > MOST_BYTES:
        return too_large, receive
    parts, more = [b""], True
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return (400, "the body ended early", {"connection": "close"}), receive
                parts.append(message.get("body", b""))
                more = message.get("more_body", False)
                if sum(map(len, parts)) > MOST_BYTES:
                    return too_large, receive
    except TimeoutError:
        return (408, "the body took too long", {"connection": "close"}), receive
    body: Message | None = {"type": "http.request", "body": b"".join(parts), "more_body": False}

    async def received() -> Message:
        nonlocal body
        if body is None:
            return await receive()
        message, body = body, None
        return message

    return None, received


async def _refuse(send: Send, status: int, error: str, headers: dict[str, str]) -> None:
    content = json.dumps({"error": error}).encode()
    about = {"content-type": "application/json", "content-length": str(len(content)), **headers}
    raw = [(name.encode(), value.encode()) for name, value in about.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
