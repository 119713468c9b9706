"""The input of readers, their report, and a reading in progress."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from llmseq_cli.data.read_options import ReadOptions
from llmseq_cli.progress import Progress

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, kw_only=True)
class Source(ReadOptions):
    """What to read.

    paths: files, globs or folders, or s3:// URLs that DuckDB reads itself.
    items: files of item metadata; without them, formats with a naming convention look for them among the paths.
    """

    paths: list[str]
    items: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, options: ReadOptions, paths: list[str], items: list[str]) -> Source:
        """These files, read with these options."""
        return cls(paths=paths, items=items, **{one.name: getattr(options, one.name) for one in fields(ReadOptions)})


@dataclass
class ReadReport:
    """What was read and how; stored with the dataset.

    rejected: rows set aside. left_out: rows excluded by --where or rating limits. duplicates: dropped repetitions of
    rows. described_items: items with interactions that the metadata describes, if there is metadata.
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
    """A reading in progress: the connection with the staging tables, and the report."""

    con: duckdb.DuckDBPyConnection
    source: Source
    report: ReadReport
    progress: Progress
    rows_staged: int = 0
    """Rows of earlier files in staged_interaction, including bad ones until all files are read."""
    staged_files: list[tuple[str, int, int]] = field(default_factory=list)
    """For each file, its first row in staged_interaction and the row after its last, from 0."""

    def first_row(self) -> int:
        """The rowid of the first row staged since the last file was finished."""
        first = self.con.execute("select rowid from staged_interaction limit 1").fetchall()
        return (int(first[0][0]) if first else 0) + self.rows_staged

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
