"""Words that programs write where a value is missing: no user, no item and no title is called so."""

from __future__ import annotations

MISSING_WORDS = frozenset(
    spelt
    for word in ("na", "n/a", "<na>", "nan", "null", "none", "undefined", "\\n")
    for spelt in (word, word.upper(), word.capitalize(), "NaN")
)


def is_missing(text: str | None) -> bool:
    """Whether a text says that there is none."""
    plain = (text or "").strip()
    return not plain or plain in MISSING_WORDS


def is_missing_sql(column: str) -> str:
    """The same as SQL, false for an empty text."""
    words = ", ".join(f"'{word}'" for word in sorted(MISSING_WORDS))
    return f"{column} in ({words})"
