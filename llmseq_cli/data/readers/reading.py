"""What is asked of the readers, what they report, and a reading in progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmseq_cli.progress import Progress

if TYPE_CHECKING:
    import duckdb

FORMATS = ("auto", "amazon", "steam", "movielens", "recbole", "table")


@dataclass(frozen=True)
class Source:
    """What the user asked for.

    paths: files, globs or folders, or s3:// addresses that DuckDB reads itself.
    items: files of item metadata; without them they are looked for among the paths where a format has a convention.
    columns: user, item, time, title, category or any other attribute → column name, or its 1-based position.
    strict: fail on the first bad row instead of setting it aside.
    """

    paths: list[str]
    items: list[str] = field(default_factory=list)
    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    strict: bool = False


@dataclass
class ReadReport:
    """What was read and how it was understood; kept with the dataset."""

    format: str
    files: list[str] = field(default_factory=list)
    item_files: list[str] = field(default_factory=list)
    rows_read: int = 0
    rejected: int = 0
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

    def note(self, text: str) -> None:
        if text not in self.report.notes:
            self.report.notes.append(text)
            self.progress.message(text)
