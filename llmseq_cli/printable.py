"""Make foreign text safe for output: terminals interpret control characters, spreadsheets run formulas."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, characters that change the writing direction, and lone surrogates."""

_FORMULA = tuple("=+-@\t\r")
_NUMBER = re.compile(r"[-+]?[0-9]+([.,][0-9]+)*")


def printable(text: str) -> str:
    """The text with � for every character that a terminal would interpret instead of showing."""
    return _CONTROL.sub("�", text)


def json_text(document: Any) -> str:
    """A document as JSON that is safe to print; NaN becomes null, since JSON has no NaN."""
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, default=_plain)
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def safe_cell(value: Any) -> Any:
    """A CSV cell that no spreadsheet runs as a formula: text that begins like one gets a leading '."""
    dangerous = isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value)
    return f"'{value}" if dangerous else value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    return str(value)
