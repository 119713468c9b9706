"""Rows that cannot be used: those that DuckDB rejects in a scan, those that a reader's SQL marks, and their lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.data.readers.files import check_archive, count, not_utf8
from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.data.readers.reading import Reading

NOT_UTF8 = "the line is not UTF-8"
LEFT_OUT = "left out"  # instead of a reason: the row is good but excluded by an option
_REASONS = {
    "INVALID ENCODING": NOT_UTF8,
    "UNQUOTED VALUE": "a quote is never closed, or text follows it",
    "LINE SIZE OVER MAXIMUM": "the line is too long",
}


@dataclass(frozen=True)
class Rejection:
    """A row that cannot be used: where it is (a line, or the position of a record) and why."""

    line: int
    reason: str


Locate = Callable[[np.ndarray, list[Rejection], int], tuple[np.ndarray, list[Rejection]]]
"""Maps int64[n] rows of a scan (from 1), DuckDB's rejects by record, and the number of scanned rows to line numbers."""


def rows_are_lines(
    numbers: np.ndarray, rejects: list[Rejection], scanned: int, header: int = 0
) -> tuple[np.ndarray, list[Rejection]]:
    """Line numbers if each line is a row, except the header and lines that DuckDB rejected."""
    if not rejects and not header:
        return numbers, rejects
    others = np.ones(max(header + scanned + len(rejects), *(one.line for one in rejects), 0), dtype=bool)
    others[:header] = False
    others[[one.line - 1 for one in rejects]] = False
    return np.flatnonzero(others)[numbers - 1] + 1, rejects


def with_lines(
    bad: list[Rejection], rejects: list[Rejection], scanned: int, locate: Locate = rows_are_lines
) -> list[Rejection]:
    """All rejections of a file by line. bad: by row of the scan. rejects: those of DuckDB."""
    lines, rejects = locate(np.array([one.line for one in bad], dtype=np.int64), rejects, scanned)
    return rejects + [Rejection(int(line), one.reason) for line, one in zip(lines, bad, strict=True)]


def take_rejects(con: duckdb.DuckDBPyConnection) -> list[Rejection]:
    """What DuckDB rejected in the last scan with store_rejects, by record; drops DuckDB's tables."""
    if not con.execute("select 1 from duckdb_tables() where table_name = 'reject_errors'").fetchall():
        return []
    rows = con.execute(query("ingest/read_rejects")).fetchall()
    con.execute("drop table reject_errors")
    con.execute("drop table reject_scans")
    return [Rejection(line, _reason(*why)) for line, *why in rows]


def _reason(kind: str, expected: int | None, found: int | None, message: str) -> str:
    if expected is not None:
        return f"{count(expected, 'column', 'columns')} expected, {found} found"
    return _REASONS.get(kind, " ".join(message.split())[:200])


def finish_file(
    reading: Reading,
    file: str,
    rejects: list[Rejection],
    locate: Locate = rows_are_lines,
    torn: Sequence[Rejection] = (),
) -> None:
    """Count the rows just staged from a file, and write unusable ones to staged_rejection.

    rejects: what DuckDB rejected and so never staged. torn: lines, by number, that it never saw. Raises LlmseqError for
    the first bad row if the user wants that, and for files that are damaged or mostly not UTF-8.
    """
    first, scanned = reading.first_row(), reading.rows_since_last_file()
    bad = reading.con.execute(query("ingest/rejected_rows"), {"first": first, "left_out": LEFT_OUT}).fetchall()
    [(left_out,)] = reading.con.execute(
        "select count(*) from staged_interaction where rejected_because = $left_out and rowid >= $first",
        {"first": first, "left_out": LEFT_OUT},
    ).fetchall()
    reading.staged_files.append((file, reading.rows_staged, reading.rows_staged + scanned))
    reading.rows_staged += scanned
    named = [Rejection(number, reason) for number, reason in bad if reason]
    rows = scanned - (len(bad) - len(named)) + len(rejects) + len(torn)
    reading.report.rows_read += rows
    reading.report.left_out += left_out
    set_aside(reading, file, [*with_lines(named, rejects, scanned, locate), *torn], rows)


def unstage_file(reading: Reading) -> None:
    """Remove the rows staged since the last file was finished."""
    reading.con.execute(query("ingest/keep_rows_before"), {"first": reading.first_row()})


def set_aside(reading: Reading, file: str, rejected: list[Rejection], rows: int) -> None:
    """Write rejections of a file with this many rows to staged_rejection. Raises the same errors as finish_file."""
    if not rejected:
        return
    check_archive(file)
    foreign = sum(one.reason == NOT_UTF8 for one in rejected)
    if foreign * 2 > rows:
        raise not_utf8(file)
    rejected = sorted(rejected, key=lambda one: one.line)
    if reading.source.strict:
        raise LlmseqError(
            f"{file}:{rejected[0].line}: {rejected[0].reason}",
            "correct the row, or leave out --strict to set bad rows aside",
        )
    if foreign:
        reading.note(
            f"{file}: {count(foreign, 'row is', 'rows are')} not UTF-8; if it is Latin-1:"
            " iconv -f LATIN1 -t UTF-8 FILE > NEW_FILE"
        )
    columns = {
        "line": np.array([one.line for one in rejected], dtype=np.int64),
        "reason": np.array([one.reason for one in rejected], dtype=object),
    }
    reading.con.register("bad_rows", columns)
    reading.con.execute("insert into staged_rejection select $file, line, reason from bad_rows", {"file": file})
    reading.con.unregister("bad_rows")
