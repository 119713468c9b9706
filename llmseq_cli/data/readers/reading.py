"""What is asked of the readers, what they report, and a reading in progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.progress import Progress

if TYPE_CHECKING:
    import duckdb

FORMATS = ("auto", "amazon", "steam", "movielens", "recbole", "table")
_GAPS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Source:
    """What the user asked for.

    paths: files, globs or folders, or s3:// addresses that DuckDB reads itself.
    items: files of item metadata; without them they are looked for among the paths where a format has a convention.
    format, items_format: of the interactions and of the items; "auto" tells each file's by itself.
    columns: user, session, item, time, order, rating, title, category or an attribute → a column's name or position.
    strict: fail on the first bad row instead of setting it aside.
    quote: the quote of CSV files, "none" where quotes are text.
    time_format: a pattern as strptime has it, or s, ms, us, ns, iso.
    where: an SQL condition on the columns of the interactions; other rows are left out.
    min_rating, max_rating: rows with a rating outside are left out.
    session_gap: cuts users into sessions where so long nothing happens: 30m, 2h, 1d.
    drop_duplicates: keep one of rows with the same user, item and time.
    """

    paths: list[str]
    items: list[str] = field(default_factory=list)
    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    strict: bool = False
    items_format: str = "auto"
    quote: str | None = None
    time_format: str | None = None
    where: str | None = None
    min_rating: float | None = None
    max_rating: float | None = None
    session_gap: str | None = None
    drop_duplicates: bool = False

    def __post_init__(self) -> None:
        for option, value in (("format", self.format), ("items format", self.items_format)):
            if value not in FORMATS:
                raise UsageError(f"there is no {option} '{value}'", did_you_mean(value, [*FORMATS]))
        for role, column in self.columns.items():
            if not column:
                raise UsageError(f"--map {role}= names no column", f"for example --map {role}=COLUMN")
        if self.quote not in (None, "none") and len(self.quote or "") != 1:
            raise UsageError(f"--quote is '{self.quote}'", "give one character, or none")
        if self.session_gap is not None:
            gap_seconds(self.session_gap)

    @property
    def quote_character(self) -> str | None:
        return "" if self.quote == "none" else self.quote


def gap_seconds(text: str) -> float:
    """'30m' → 1800. Raises UsageError for what is no duration."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(number) :].strip()
    try:
        seconds = float(number) * _GAPS[unit or "s"]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < 1e11:
        raise UsageError(f"--session-gap is '{text}'", "give a time such as 30m, 2h or 1d")
    return seconds


@dataclass
class ReadReport:
    """What was read and how it was understood; kept with the dataset.

    rejected: rows set aside. left_out: rows that do not meet --where or the ratings asked for. duplicates: equal rows
    of which one was kept. described_items: items with interactions that the metadata describes, where there is any.
    """

    format: str
    files: list[str] = field(default_factory=list)
    item_files: list[str] = field(default_factory=list)
    rows_read: int = 0
    rejected: int = 0
    left_out: int = 0
    duplicates: int = 0
    described_items: int | None = None
    first_time: str | None = None
    last_time: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Reading:
    """One reading in progress: the connection with the staging tables, and what is reported of it."""

    con: duckdb.DuckDBPyConnection
    source: Source
    report: ReadReport
    progress: Progress
    rows_staged: int = 0
    """Rows of earlier files in staged_interaction; bad ones stay among them until all files are read."""
    staged_files: list[tuple[str, int, int]] = field(default_factory=list)
    """Files with their first row in staged_interaction and the one after their last, counted from 0."""

    def first_row(self) -> int:
        """The rowid of the first row staged since the last file was finished."""
        [(base,)] = self.con.execute("select coalesce(min(rowid), 0) from staged_interaction").fetchall()
        return int(base) + self.rows_staged

    def rows_since_last_file(self) -> int:
        [(rows,)] = self.con.execute("select count(*) from staged_interaction").fetchall()
        return int(rows) - self.rows_staged

    def note(self, text: str) -> None:
        if text not in self.report.notes:
            self.report.notes.append(text)
            self.progress.message(text)

    def warn(self, text: str) -> None:
        if text not in self.report.notes:
            self.report.notes.append(text)
            self.progress.warn(text)
