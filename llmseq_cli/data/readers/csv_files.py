"""CSV and similar files: detect delimiter, quotes and header, and repair unclosed quotes."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np

from llmseq_cli.data.readers.columns import role_of
from llmseq_cli.data.readers.csv_records import is_number, split_records
from llmseq_cli.data.readers.files import LONGEST_LINE, address, damaged, identifier, is_remote, quoted, unreadable
from llmseq_cli.data.readers.lines import first_lines, lines_of
from llmseq_cli.data.readers.rejections import NOT_UTF8, Rejection, rows_are_lines, take_rejects
from llmseq_cli.data.readers.table_files import SNIFFED_LINES, TableFile
from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.queries import query

_DELIMITERS = (",", "\t", ";", "|")
_CHUNK = 1 << 20


@dataclass
class CsvTable(TableFile):
    """A CSV or similar file. Without a header, columns are named by their position, from 1."""

    con: duckdb.DuckDBPyConnection
    file: str
    delimiter: str
    header: bool
    columns: list[str]
    quote: str = '"'
    encoding: str = "utf-8"
    strict: bool = True
    """Off for files that mix line ends, which DuckDB refuses in strict mode; it then ignores surplus columns."""
    _mended: Mended | None = None

    def scan(self, columns: dict[str, str]) -> str:
        names = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in self.columns)
        chosen = ", ".join(f"{identifier(column)} as {identifier(alias)}" for alias, column in columns.items())
        options = {
            "auto_detect": "false",
            "header": str(self.header).lower(),
            "delim": quoted(self.delimiter),
            "quote": quoted(self.quote),
            "escape": quoted(self.quote),
            "columns": f"{{{names}}}",
            "strict_mode": str(self.strict or bool(self._mended)).lower(),
            "store_rejects": "true",
            "rejects_limit": "0",
            "encoding": quoted("utf-8" if self._mended else self.encoding),
            "max_line_size": str(LONGEST_LINE),
        }
        given = ", ".join(f"{option} = {value}" for option, value in options.items())
        return f"(select null::varchar as problem, {chosen} from read_csv({address(self._path)}, {given}))"

    @property
    def _path(self) -> str:
        return self._mended.path if self._mended else self.file

    @property
    def torn(self) -> list[Rejection]:
        """Lines that are missing in the repaired copy."""
        return self._mended.torn if self._mended else []

    def needs_mending(self, scanned: int, set_aside: int) -> bool:
        """Whether the file has more lines than its header and this many rows: blank lines, or lines joined by
        quotes."""
        if self._mended is not None or not self.quote or not self._has_quotes():
            return False
        return self._count_lines() != self.header + scanned + set_aside

    def _has_quotes(self) -> bool:
        if is_remote(self.file) or self.file.lower().endswith(".zst"):
            return True
        sign = self.quote.encode()
        try:
            with gzip.open(self.file) if self.file.lower().endswith(".gz") else open(self.file, "rb") as opened:
                return any(sign in chunk for chunk in iter(lambda: opened.read(_CHUNK), b""))
        except (OSError, EOFError, zlib.error) as error:
            raise damaged(self.file) from error

    def mend(self) -> None:
        """Write a copy without lines that contain an unclosed quote; later scans read the copy."""
        folder = tempfile.TemporaryDirectory(prefix="llmseq-")
        path = os.path.join(folder.name, "mended.csv")
        first_lines: list[int] = []
        torn: list[Rejection] = []
        # Newlines stay unchanged: a record may contain some.
        with open(path, "w", encoding="utf-8", newline="") as written:
            for record in split_records(self._text_lines(torn), self.delimiter, self.quote, len(self.columns)):
                if record.torn:
                    torn.append(Rejection(record.first, record.torn))
                else:
                    first_lines.append(record.first)
                    written.write(record.text + "\n")
        self._mended = Mended(folder, path, np.array(first_lines, dtype=np.int64), torn)

    def locate(self, numbers: np.ndarray, rejects: list[Rejection], scanned: int) -> tuple[np.ndarray, list[Rejection]]:
        """DuckDB gives the position of rejected records only, so the lines of others are counted here."""
        if not len(numbers) and not rejects:
            return numbers, rejects
        lines, rejects = rows_are_lines(numbers, rejects, scanned, int(self.header))
        firsts = self._mended.first_lines if self._mended else None
        if firsts is None and self._count_lines() != self.header + scanned + len(rejects):  # there are blank lines
            firsts = np.array([n for n, line in enumerate(self._text_lines([]), 1) if line], dtype=np.int64)
        if firsts is None or not len(firsts):
            return lines, rejects
        last = len(firsts) - 1
        places = [Rejection(int(firsts[min(one.line - 1, last)]), one.reason) for one in rejects]
        return firsts[np.minimum(lines - 1, last)], places

    def _count_lines(self) -> int:
        with self.con.cursor() as cursor:
            total = cursor.execute(f"select count(*) from {lines_of(self.file, self.encoding)}").fetchall()[0][0]
            return int(total) + len(take_rejects(cursor))

    def _text_lines(self, torn: list[Rejection]) -> Iterator[str]:
        """The lines, '' for one that is not in the encoding; that one is added to `torn`."""
        if self.encoding == "utf-8" and not is_remote(self.file) and not self.file.lower().endswith(".zst"):
            yield from _local_lines(self.file, torn)
            return
        with self.con.cursor() as cursor:
            cursor.execute(f"select coalesce(line, '') from {lines_of(self.file, self.encoding)}")
            while rows := cursor.fetchmany(20_000):
                for (line,) in rows:
                    yield line
            take_rejects(cursor)


@dataclass
class Mended:
    """A copy of a CSV file with complete records only. first_lines: the line of each in the original."""

    folder: tempfile.TemporaryDirectory[str]
    path: str
    first_lines: np.ndarray
    torn: list[Rejection]


def _local_lines(file: str, torn: list[Rejection]) -> Iterator[str]:
    try:
        with (
            gzip.open(file, "rb") if file.lower().endswith(".gz") else open(file, "rb") as opened,
            io.TextIOWrapper(opened, encoding="utf-8", errors="surrogateescape") as text,
        ):
            for number, line in enumerate(text, 1):
                line = line.removesuffix("\n").removeprefix("\ufeff" if number == 1 else "\n")
                if not line.isascii() and any("\udc80" <= sign <= "\udcff" for sign in line):
                    torn.append(Rejection(number, NOT_UTF8))
                    line = ""
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(file) from error


def sniff_csv(con: duckdb.DuckDBPyConnection, file: str, quote: str | None = None) -> CsvTable:
    """Detect delimiter, quotes and header of a CSV file. quote: from the user, '' for none."""
    lines = first_lines(con, file, SNIFFED_LINES)
    delimiter, records = max(
        ((one, _records(lines, one, quote)) for one in _DELIMITERS), key=lambda pair: _regularity(pair[1])
    )
    if _usual_width(records) < 2:
        delimiter, records = " ", [line.split(" ") for line in lines]
        quote = ""
    if quote is None:
        quote = "" if delimiter == "\t" and _quotes_are_text(con, file) else '"'
        records = _records(lines, delimiter, quote)
    width = _usual_width(records)
    if width < 2 or (delimiter == " " and _regularity(records)[0] < 0.9):
        raise LlmseqError(
            f"{file} is not a table: its lines have no columns", "separate columns by comma, tab, semicolon, | or space"
        )
    first = records[0]
    for number, record in enumerate(records[1:10], 2):
        if len(first) != width and len(record) == width and sum(role_of(field) is not None for field in record) > 1:
            raise LlmseqError(
                f"{file}: there are other lines before the column names", f"remove them: tail -n +{number} FILE"
            )
    if len(first) == width - 1 and sum(role_of(field) is not None for field in untyped(first)) > 1:
        raise LlmseqError(
            f"{file}: its header names {width - 1} columns, its rows have {width}",
            "name every column in the first line",
        )
    header = (
        len(first) == width
        and not any(is_number(field) for field in first)
        and (
            len(records) == 1 or any(is_number(field) for record in records[1:] for field in record) or _is_named(first)
        )
    )
    names = distinct_names(untyped(first)) if header else [str(place + 1) for place in range(width)]
    return CsvTable(con, file, delimiter, header, names, quote, strict=not mixes_line_ends(file))


def untyped(names: list[str]) -> list[str]:
    """Names without RecBole's types, if all have one: user_id:token → user_id."""
    plain = [re.sub(r":(token|float|token_seq|float_seq)$", "", name.strip()) for name in names]
    return plain if all(name != short for name, short in zip(names, plain, strict=True)) else names


def _records(lines: list[str], delimiter: str, quote: str | None) -> list[list[str]]:
    if quote == "":
        return [line.split(delimiter) for line in lines]
    return [
        record
        for line in lines
        for record in csv.reader([" ".join(line.splitlines())], delimiter=delimiter, quotechar=quote or '"')
    ]


def _quotes_are_text(con: duckdb.DuckDBPyConnection, file: str) -> bool:
    """Whether more fields of a TSV file contain quotes as text, such as 5" x 7", than are fully quoted."""
    with con.cursor() as cursor:
        try:
            text, whole = cursor.execute(query("ingest/read_quotes").format(lines=lines_of(file))).fetchall()[0]
            take_rejects(cursor)
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise unreadable(file, error) from error
    return bool(text > whole)


def _regularity(records: list[list[str]]) -> tuple[float, int]:
    """How well lines split: the share of lines with the most common number of columns, 0 if that is one column."""
    width = _usual_width(records)
    if width < 2:
        return 0.0, 0
    return sum(len(record) == width for record in records) / len(records), width


def _usual_width(records: list[list[str]]) -> int:
    widths = Counter(len(record) for record in records if record)
    return widths.most_common(1)[0][0] if widths else 0


def _is_named(fields: list[str]) -> bool:
    return any(role_of(field) for field in fields)


def distinct_names(names: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    result = []
    for place, name in enumerate(names):
        plain = name.strip() or f"unnamed_{place + 1}"  # not "1", the name used without a header
        seen[plain.lower()] += 1
        result.append(plain if seen[plain.lower()] == 1 else f"{plain}_{seen[plain.lower()]}")
    return result


def mixes_line_ends(file: str) -> bool:
    """Whether the first megabyte has lines that end in CRLF and others that end in LF."""
    if is_remote(file) or file.lower().endswith(".zst"):
        return False
    try:
        with gzip.open(file) if file.lower().endswith(".gz") else open(file, "rb") as opened:
            start = opened.read(1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(file) from error
    windows = start.count(b"\r\n")
    return 0 < windows < start.count(b"\n")
