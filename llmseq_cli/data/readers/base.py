"""What readers share: what is asked for, what is reported, how files are found and rows set aside."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.errors import LlmseqError
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
    rows_before: int = 0
    """Rows of earlier files; added to a row's place in its file it gives input_order."""

    def note(self, text: str) -> None:
        if text not in self.report.notes:
            self.report.notes.append(text)
            self.progress.message(text)


def is_remote(path: str) -> bool:
    return "://" in path


def find_files(paths: list[str]) -> list[str]:
    """All files meant by the paths, in order. Raises LlmseqError where one means none or cannot be read."""
    files: list[str] = []
    for path in paths:
        if is_remote(path):
            files.append(path)
        elif os.path.isdir(path):
            files += _in_folder(Path(path))
        elif os.path.exists(path):
            files.append(path)
        elif glob.has_magic(path):
            matching = sorted(p for p in glob.glob(path, recursive=True) if os.path.isfile(p))
            if not matching:
                raise LlmseqError(f"no file matches {path}", "quote the pattern, or check the folder")
            files += matching
        else:
            raise LlmseqError(f"{path} does not exist", "check the path, or `llmseq download` a public dataset")
    for file in files:
        if not is_remote(file):
            _check_readable(file)
    return list(dict.fromkeys(files))


def _in_folder(folder: Path) -> list[str]:
    try:
        names = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith((".", "README")))
    except OSError as error:
        raise LlmseqError(f"cannot read the folder {folder}: {error.strerror}", "check its permissions") from error
    known = [str(p) for p in names if _looks_like_data(p.name)]
    if not known:
        raise LlmseqError(f"the folder {folder} holds no file that llmseq can read", "name the files themselves")
    return known


def _looks_like_data(name: str) -> bool:
    plain = name.removesuffix(".gz").removesuffix(".zst")
    endings = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".dat", ".inter", ".item")
    return plain.endswith(endings) or plain in ("u.data", "u.item")


def _check_readable(file: str) -> None:
    try:
        with open(file, "rb") as opened:
            first = opened.read(4)
    except OSError as error:
        raise LlmseqError(f"cannot read {file}: {error.strerror}", "check the path and its permissions") from error
    if not first:
        raise LlmseqError(f"{file} is empty", "check how it was made")
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise LlmseqError(f"{file} is encoded in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE")
    if first == b"PK\x03\x04":
        raise LlmseqError(f"{file} is a zip archive", "unpack it first")


def first_line(con: duckdb.DuckDBPyConnection, file: str) -> str:
    """The first line that is not blank; '' for binary files and files without one."""
    from llmseq_cli.data.readers.lines import lines_of

    try:
        rows = con.execute(f"select line from {lines_of(file)} where trim(line) <> '' limit 1").fetchall()
    except Exception as error:  # whatever DuckDB says of it, this file has no lines
        if "unicode" in str(error).lower() or "utf" in str(error).lower():
            return ""
        raise unreadable(file, error) from error
    return rows[0][0] if rows else ""


def unreadable(file: str, error: Exception) -> LlmseqError:
    """One clear line for what DuckDB says of a file it cannot read."""
    text = " ".join(str(error).split())
    if any(
        word in text.lower() for word in ("gzip", "inflate", "miniz", "unexpected end of file", "decompress", "zstd")
    ):
        return LlmseqError(f"{file} is damaged: its compressed data ends early or is broken", "fetch the file again")
    if "unicode" in text.lower() or "utf-8" in text.lower() or "byte sequence" in text.lower():
        return LlmseqError(f"{file} is not UTF-8 text", "convert it: iconv -f LATIN1 -t UTF-8 FILE > NEW_FILE")
    return LlmseqError(f"cannot read {file}: {text[:160]}", "check the file and --format")


def finish_file(reading: Reading, file: str, locate: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
    """Count the rows that a reader just staged of a file, and move those that cannot be used to staged_rejection.

    locate: int64[n] rows of the file, counted from 1, → int64[n] their lines; the same numbers without it.
    Raises LlmseqError at the first bad row where the user wants none.
    """
    con, before = reading.con, {"before": reading.rows_before}
    rows, last = con.execute(
        "select count(*), coalesce(max(input_order), $before) from staged_interaction where input_order > $before",
        before,
    ).fetchall()[0]
    bad = con.execute(
        "select input_order - $before as number, rejected_because as reason from staged_interaction"
        " where rejected_because is not null and input_order > $before order by input_order",
        before,
    ).fetchnumpy()
    if len(bad["number"]):
        numbers, reasons = np.ma.getdata(bad["number"]), np.ma.getdata(bad["reason"])
        lines = locate(numbers) if locate else numbers
        if reading.source.strict:
            raise strict_failure(file, int(lines[0]), reasons[0])
        con.register("bad_rows", {"line": lines, "reason": reasons})
        con.execute("insert into staged_rejection select $file, line, reason from bad_rows", {"file": file})
        con.unregister("bad_rows")
        con.execute("delete from staged_interaction where rejected_because is not null")
    reading.report.rows_read += rows
    reading.rows_before = last


def strict_failure(file: str, line: int | None, reason: str) -> LlmseqError:
    return LlmseqError(f"{file}:{line}: {reason}", "mend the row, or leave out --strict to set bad rows aside")


def quoted(text: str) -> str:
    """A text as an SQL literal, for places that take no parameters (file names in table functions)."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A column name as SQL."""
    return '"' + name.replace('"', '""') + '"'
