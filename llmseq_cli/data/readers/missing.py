"""Words that programs write for missing values; they are never the name of a user, item or title."""

from __future__ import annotations

MISSING_WORDS = frozenset(
    spelt
    for word in ("na", "n/a", "<na>", "nan", "null", "none", "undefined", "\\n")
    for spelt in (word, word.upper(), word.capitalize(), "NaN")
)


def is_missing(text: str | None) -> bool:
    """Whether the text stands for a missing value."""
    plain = (text or "").strip()
    return not plain or plain in MISSING_WORDS


def is_missing_sql(column: str) -> str:
    """The same as SQL, false for an empty text."""
    words = ", ".join(f"'{word}'" for word in sorted(MISSING_WORDS))
    return f"{column} in ({words})"
