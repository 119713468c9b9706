"""Options for reading files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmseq_cli.errors import UsageError, did_you_mean

FORMATS = ("auto", "amazon", "steam", "movielens", "recbole", "table")
_GAPS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How files are read.

    format, items_format: of interactions and items: auto, amazon, steam, movielens, recbole or table; auto detects the
    format of each file. columns: user, session, item, time, order, rating, title, category or an attribute → a column's
    name or position. strict: fail on the first bad row instead of setting it aside. quote: the quote character of CSV
    files, "none" if quotes are text. time_format: a strptime pattern, or s, ms, us, ns, iso. where: an SQL condition on
    the columns of the interactions; other rows are left out. min_rating, max_rating: leave out rows with a rating
    outside. session_gap: cut users into sessions after a pause of this length: 30m, 2h, 1d.
    drop_duplicates: keep one of several rows with the same user, item and time.
    """

    format: str = "auto"
    items_format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    quote: str | None = None
    time_format: str | None = None
    where: str | None = None
    min_rating: float | None = None
    max_rating: float | None = None
    session_gap: str | None = None
    drop_duplicates: bool = False

    def __post_init__(self) -> None:
        for value in (self.format, self.items_format):
            if value not in FORMATS:
                raise UsageError(f"there is no format '{value}'", did_you_mean(value, [*FORMATS]))
        for role, column in self.columns.items():
            if not column:
                raise UsageError(f"--map {role}= names no column", f"for example --map {role}=COLUMN")
        if self.quote not in (None, "none") and len(self.quote or "") != 1:
            raise UsageError(f"--quote is '{self.quote}'", "give one character, or none")
        if self.min_rating is not None and self.max_rating is not None and self.min_rating > self.max_rating:
            raise UsageError(
                f"--min-rating {self.min_rating:g} is above --max-rating {self.max_rating:g}", "no rating fits both"
            )
        if self.session_gap is not None:
            gap_seconds(self.session_gap)

    @property
    def quote_character(self) -> str | None:
        """The quote character of CSV files, '' for none; None to guess it."""
        return "" if self.quote == "none" else self.quote


def gap_seconds(text: str) -> float:
    """'30m' → 1800. Raises UsageError if it is not a duration."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(number) :].strip()
    try:
        seconds = float(number) * _GAPS[unit or "s"]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < 1e11:
        raise UsageError(f"--session-gap is '{text}'", "give a time such as 30m, 2h or 1d")
    return seconds
