"""Idempotency keys: a server that supports them charges a request once, however often it is sent.

The header follows draft-ietf-httpapi-idempotency-key-header; other servers ignore it.
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
    """The header for a request, derived from its content (JSON), so that a later run of the program sends the same one.

    After a bad answer, a request gets a new key, so that the server computes a new answer.
    """
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:40]
    times = _bad_answers.get()
    return {HEADER: f"llmseq-{digest}" + (f"-{times}" if times else "")}


@contextmanager
def bad_answers_before(count: int) -> Iterator[None]:
    """Inside this context, the request that this thread sends counts as having had `count` bad answers."""
    token = _bad_answers.set(count)
    try:
        yield
    finally:
        _bad_answers.reset(token)
