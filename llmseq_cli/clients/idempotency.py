"""Idempotency keys: a server that knows them charges a request once, however often it is sent.

The header is that of draft-ietf-httpapi-idempotency-key-header; servers that do not know it ignore it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

HEADER = "Idempotency-Key"

_bad_answers: ContextVar[int] = ContextVar("bad_answers", default=0)


def idempotency_header(*asked: Any) -> dict[str, str]:
    """The header for a request, made of what is asked (JSON), so that a later run of the program sends the same.

    A request that got a bad answer has another key the next time, so that it is answered again.
    """
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:40]
    times = _bad_answers.get()
    return {HEADER: f"llmseq-{digest}" + (f"-{times}" if times else "")}


@contextmanager
def bad_answers_before(count: int) -> Iterator[None]:
    """While this is entered, the request that this thread sends has had so many bad answers before."""
    token = _bad_answers.set(count)
    try:
        yield
    finally:
        _bad_answers.reset(token)
