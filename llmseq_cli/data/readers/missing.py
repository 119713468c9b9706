"""Words that programs write where a value is missing: no user, no item and no title is called so."""

from __future__ import annotations

_WORDS = ("na", "n/a", "<na>", "nan", "null", "none", "undefined", "\\n")


def is_missing(text: str | None) -> bool:
    """Whether a text says that there is none."""
    plain = (text or "").strip()
    return not plain or (len(plain) <= 9 and plain.lower() in _WORDS)


def is_missing_sql(column: str) -> str:
    """The same as SQL, false for an empty text."""
    words = ", ".join(f"'{word}'" for word in _WORDS)
    return f"(length({column}) <= 9 and lower({column}) in ({words}))"
