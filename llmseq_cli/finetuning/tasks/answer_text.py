"""Parse answers of language models: extract titles from text in any common format."""

from __future__ import annotations

import json
import re

_MARK = re.compile(r"^\s*(?:\*\*)?(?:\(?\d{1,3}[.):]\)?(?:\s+|(?=[^\W\d]))|[-*•–]\s+)")
_BOLD = re.compile(r"^\*\*(.+?)\*\*\s*(?:[:–—-].*)?$")
_QUOTES = "\"'“”‘’`"


def clean(line: str) -> str:
    """A title without bold marks, explanations after them, and surrounding quotes."""
    line = line.strip()
    bold = _BOLD.match(line)
    if bold:
        line = bold.group(1).strip()
    elif line.endswith("**") and line.count("**") == 1:  # a bold line whose number was removed
        line = line[:-2].strip()
    if len(line) > 1 and line[0] in _QUOTES and line[-1] in _QUOTES:
        line = line[1:-1].strip()
    return line


def read_one(text: str) -> list[str]:
    """[title] from an answer that names one item, [] if it names none."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].rstrip().endswith(":"):  # an introduction
        lines = lines[1:]
    titles = [title for title in (clean(_MARK.sub("", line)) for line in lines) if title]
    return titles[:1]


def read_list(text: str, *, cut_off: bool = False) -> list[str]:
    """The titles in a list answer: one per line, numbered or not, or a JSON array.

    If lines are numbered, lines without a number are ignored. cut_off: the answer reached the token limit, so its last
    line is incomplete.
    """
    text = re.sub(r"^```\w*\s*|\s*```\s*$", "", text.strip())
    if text.startswith("["):
        try:
            entries = json.loads(text)
        except ValueError:
            entries = None
        if isinstance(entries, list):
            return [title for title in (clean(entry) for entry in entries if isinstance(entry, str)) if title]
    lines = [line for line in text.splitlines() if line.strip()]
    if cut_off and len(lines) > 1:
        lines = lines[:-1]
    marked = [line for line in lines if _MARK.match(line)]
    if len(marked) > 1 or (marked and len(marked) == len(lines) - 1):
        lines = marked
    elif lines and lines[0].rstrip().endswith(":"):
        lines = lines[1:]
    return [title for title in (clean(_MARK.sub("", line)) for line in lines) if title]
