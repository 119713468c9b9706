"""Idempotency keys: a server that knows them charges a request once, however often it is sent.

The header is that of draft-ietf-httpapi-idempotency-key-header; servers that do not know it ignore it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from typing import Any

HEADER = "Idempotency-Key"


class IdempotencyKeys:
    """Keys made of what is asked, so that a later run of the program sends the same. May be used from threads."""

    def __init__(self) -> None:
        self._useless: Counter[str] = Counter()
        self._lock = threading.Lock()

    def header(self, asked: Any) -> dict[str, str]:
        """The header for a request (JSON)."""
        digest = self._digest(asked)
        with self._lock:
            times = self._useless[digest]
        return {HEADER: f"llmseq-{digest}" + (f"-{times}" if times else "")}

    def discard(self, asked: Any) -> None:
        """The answer was of no use: the next request is to be answered anew."""
        with self._lock:
            self._useless[self._digest(asked)] += 1

    @staticmethod
    def _digest(asked: Any) -> str:
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:40]
