"""Make text from a server safe to show: one line, no control characters, not too long."""

from __future__ import annotations

import re

LONGEST = 300
"""Characters of a server's message that an error shows."""

_ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]")
_READ = 10_000  # characters to look at: servers may send megabytes


def readable(text: str, longest: int = LONGEST) -> str:
    """The text on one line, without escape sequences and control characters, cut to `longest` characters."""
    plain = _ESCAPES.sub("", text[:_READ])
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in plain).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
