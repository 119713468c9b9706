"""How long a server asks to wait: the one place that parses it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{0,15})?")
_RETRY_INFO = "google.rpc.RetryInfo"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after`, a number of seconds or a date (RFC 9110, 10.2.3).

    0 means that the next request may come at once; None means no valid time. headers: lower-case names, or a
    case-insensitive mapping.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after")
    seconds = _number(asked)
    return _until(asked) if seconds is None and asked else seconds


def retry_info(details: Any) -> float | None:
    """Seconds to wait, from the google.rpc.RetryInfo in an error's body, such as `"retryDelay": "30s"`."""
    for detail in _details(details):
        if isinstance(detail, Mapping) and str(detail.get("@type", "")).endswith(_RETRY_INFO):
            return _number(str(detail.get("retryDelay", "")).removesuffix("s"))
    return None


def _details(document: Any) -> Iterable[Any]:
    """The details of a Google error, given the whole document or its `error`."""
    inner = document.get("error", document) if isinstance(document, Mapping) else None
    found = inner.get("details") if isinstance(inner, Mapping) else None
    return found if isinstance(found, (list, tuple)) else ()


def _number(text: str | None) -> float | None:
    stripped = (text or "").strip()
    return float(stripped) if _NUMBER.fullmatch(stripped) else None


def _until(date: str) -> float | None:
    """Seconds until an HTTP date, 0 if it has passed."""
    try:
        when = parsedate_to_datetime(date)
        return max(0.0, when.replace(tzinfo=when.tzinfo or UTC).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
