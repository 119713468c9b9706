"""Tables in files: CSV and its kin, JSON lines, Parquet, opened so that rows can be selected by column."""

from __future__ import annotations

import csv
import gzip
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import duckdb
import numpy as np

from llmseq_cli.data.readers.files import LONGEST_LINE, address, damaged, identifier, is_remote, quoted, unreadable
from llmseq_cli.data.readers.lines import first_line, first_lines, is_json, lines_of, parse_record
from llmseq_cli.data.readers.rejections import Rejection, rows_are_lines, take_rejects, with_lines
from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.queries import query

_DELIMITERS = (",", "\t", ";", "|")
_SNIFFED_LINES = 200
_IDS = ("user_id", "item_id", "item", "session_id")


class Table(ABC):
    """A file with named columns."""

    con: duckdb.DuckDBPyConnection
    file: str
    columns: list[str]

    @abstractmethod
    def scan(self, columns: dict[str, str]) -> str:
        """SQL of a table with one row for each of the file, in its order: `problem` (why a row is none, '' for a blank
        line, else NULL) and one column for each {alias: column}. What DuckDB itself sets aside take_rejects has."""

    def type_of(self, column: str) -> str:
        """DuckDB type of a column; text unless the file itself has types."""
        return "VARCHAR"

    def locate(self, numbers: np.ndarray, rejects: list[Rejection], scanned: int) -> tuple[np.ndarray, list[Rejection]]:
        """The lines on which rows of the scan (counted from 1, of so many) and what DuckDB set aside stand.

        Each line is a row unless a subclass knows better.
        """
        return rows_are_lines(numbers, rejects, scanned)


@dataclass
class ParquetTable(Table):
    con: duckdb.DuckDBPyConnection
    file: str

    @cached_property
    def _types(self) -> dict[str, str]:
        try:
            rows = self.con.execute(f"describe select * from read_parquet({address(self.file)})").fetchall()
        except duckdb.Error as error:
            raise unreadable(self.file, error) from error
        return {row[0]: row[1] for row in rows}

    @cached_property
    def columns(self) -> list[str]:  # type: ignore[override]
        return list(self._types)

    def type_of(self, column: str) -> str:
        return self._types[column]

    def scan(self, columns: dict[str, str]) -> str:
        chosen = ", ".join(
            f"{self._expression(alias, column)} as {identifier(alias)}" for alias, column in columns.items()
        )
        return f"(select null::varchar as problem, {chosen} from read_parquet({address(self.file)}))"

    def _expression(self, alias: str, column: str) -> str:
        name, kind = identifier(column), self._types[column]
        if alias in _IDS and kind in ("DOUBLE", "FLOAT"):  # integers that were floats only to have gaps among them
            whole = f"{name} = trunc({name}) then coalesce(try_cast({name} as hugeint)::varchar, {name}::varchar)"
            return f"case when not isfinite({name}) then null when {whole} else {name}::varchar end"
        return f"to_json({name})::varchar" if kind.endswith("[]") else name


@dataclass
class JsonTable(Table):
    con: duckdb.DuckDBPyConnection
    file: str

    @cached_property
    def columns(self) -> list[str]:  # type: ignore[override]
        records = [parse_record(line) for line in first_lines(self.con, self.file, _SNIFFED_LINES)]
        return list(dict.fromkeys(key for record in records if isinstance(record, dict) for key in record))

    def scan(self, columns: dict[str, str]) -> str:
        chosen = ", ".join(
            f"case when json_valid(line) then json_extract_string(line, {quoted(_json_path(column))}) end"
            f" as {identifier(alias)}"
            for alias, column in columns.items()
        )
        problem = (
            "case when coalesce(trim(line), '') = '' then '' when not json_valid(line) then 'the line is no JSON' end"
        )
        return f"(select {problem} as problem, {chosen} from {lines_of(self.file)})"


def _json_path(key: str) -> str:
    return '$."' + key.replace('"', '\\"') + '"'


@dataclass
class CsvTable(Table):
    """CSV and its kin. Columns of a file without a header are named by their position, from 1."""

    con: duckdb.DuckDBPyConnection
    file: str
    delimiter: str
    header: bool
    columns: list[str]
    quote: str = '"'
    encoding: str = "utf-8"
    strict: bool = True
    """Off for files that mix line ends, which DuckDB refuses otherwise; then it overlooks surplus columns."""

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
            "strict_mode": str(self.strict).lower(),
            "store_rejects": "true",
            "rejects_limit": "0",
            "encoding": quoted(self.encoding),
            "max_line_size": str(LONGEST_LINE),
        }
        given = ", ".join(f"{option} = {value}" for option, value in options.items())
        return f"(select null::varchar as problem, {chosen} from read_csv({address(self.file)}, {given}))"

    def locate(self, numbers: np.ndarray, rejects: list[Rejection], scanned: int) -> tuple[np.ndarray, list[Rejection]]:
        """DuckDB tells the place of a record that it set aside, and nothing of the others."""
        if not len(numbers) and not rejects:
            return numbers, rejects
        cursor = self.con.cursor()
        total = cursor.execute(f"select count(*) from {lines_of(self.file, self.encoding)}").fetchall()[0][0]
        if total == self.header + scanned + len(rejects):  # each line is a record
            return rows_are_lines(numbers, rejects, scanned, int(self.header))
        return self._walk(numbers, rejects)

    def _walk(self, numbers: np.ndarray, rejects: list[Rejection]) -> tuple[np.ndarray, list[Rejection]]:
        """Blank lines and line ends in quotes: read the file again, as far as asked for."""
        reader = csv.reader(
            self._text_lines(),
            delimiter=self.delimiter[0],
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
        )
        wanted, set_aside = set(numbers.tolist()), {one.line for one in rejects}
        rows: dict[int, int] = {}
        records: dict[int, int] = {}
        number, end, header = 0, 0, self.header
        for place, record in enumerate(reader, 1):
            line, end = end + 1, reader.line_num
            if place in set_aside:
                records[place] = line
            elif record and header:
                header = False
            elif record:
                number += 1
                if number in wanted:
                    rows[number] = line
            if len(rows) == len(wanted) and len(records) == len(set_aside):
                break
        lines = np.array([rows.get(int(one), 0) for one in numbers], dtype=np.int64)
        return lines, [Rejection(records.get(one.line, one.line), one.reason) for one in rejects]

    def _text_lines(self) -> Iterator[str]:
        cursor = self.con.cursor()
        cursor.execute(f"select coalesce(line, '') from {lines_of(self.file, self.encoding)}")
        while rows := cursor.fetchmany(20_000):
            for (line,) in rows:
                yield line + "\n"


def open_table(con: duckdb.DuckDBPyConnection, file: str) -> Table:
    """The table in a file, told by its name and its first lines. Raises LlmseqError where there is none."""
    plain = file.removesuffix(".gz").removesuffix(".zst").lower()
    if plain.endswith(".parquet"):
        return ParquetTable(con, file)
    line = first_line(con, file)
    if not line or "\x00" in line:
        raise LlmseqError(f"{file} is not text", "give CSV, TSV, JSON lines or Parquet (named .parquet)")
    if is_json(line):
        return JsonTable(con, file)
    if line.lstrip().startswith(("{", "[")):
        raise LlmseqError(f"{file} is not one JSON object a line", "convert it: jq -c '.[]' FILE > NEW_FILE")
    return sniff_csv(con, file)


def sniff_csv(con: duckdb.DuckDBPyConnection, file: str) -> CsvTable:
    """Delimiter and header of a CSV file, from its first lines."""
    lines = first_lines(con, file, _SNIFFED_LINES)
    delimiter, records = max(
        ((one, list(csv.reader(lines, delimiter=one))) for one in _DELIMITERS), key=lambda pair: _regularity(pair[1])
    )
    width = _usual_width(records)
    if width < 2:
        raise LlmseqError(f"{file} is no table: its lines hold no columns", "separate columns by , ; | or tab")
    first = records[0]
    header = (
        len(first) == width
        and not any(_is_number(field) for field in first)
        and (
            len(records) == 1
            or any(_is_number(field) for record in records[1:] for field in record)
            or _is_named(first)
        )
    )
    names = _distinct(first) if header else [str(place + 1) for place in range(width)]
    return CsvTable(con, file, delimiter, header, names, strict=not mixes_line_ends(file))


def _regularity(records: list[list[str]]) -> tuple[float, int]:
    """How well lines split: the share of lines with the usual number of columns, none where that is one."""
    width = _usual_width(records)
    if width < 2:
        return 0.0, 0
    return sum(len(record) == width for record in records) / len(records), width


def _usual_width(records: list[list[str]]) -> int:
    widths = Counter(len(record) for record in records if record)
    return widths.most_common(1)[0][0] if widths else 0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_named(fields: list[str]) -> bool:
    from llmseq_cli.data.readers.columns import role_of

    return any(role_of(field) for field in fields)


def _distinct(names: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    result = []
    for place, name in enumerate(names):
        plain = name.strip() or str(place + 1)
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


Row = dict[str, str | None]
"""Texts by alias."""


def table_rows(table: Table, aliases: dict[str, str], rejected: list[Rejection]) -> Iterator[Row]:
    """All rows of a table that are not blank; for tables of items, which are small beside those of interactions.

    rejected: gets, after the last row, what is no row.
    """
    names = list(aliases)
    chosen = ", ".join(f"{identifier(name)}::varchar" for name in names)
    bad: list[Rejection] = []
    number = 0
    with table.con.cursor() as cursor:
        for problem, *values in _fetch(cursor, table, f"select problem, {chosen} from {{}}", aliases):
            number += 1
            row = dict(zip(names, values, strict=True))
            if problem is None and not (row["item"] or "").strip():
                problem = "no item"
            if problem is None:
                yield row
            elif problem:
                bad.append(Rejection(number, problem))
        rejected += with_lines(bad, take_rejects(cursor), number, table.locate)


def distinct_rows(table: Table, aliases: dict[str, str], key: str) -> Iterator[Row]:
    """The first row of each key, in the order of the file."""
    chosen = ", ".join(f"arg_min_null({identifier(name)}::varchar, number)" for name in aliases)
    select = query("ingest/read_first_rows").format(chosen=chosen, key=identifier(key), scan="{}")
    with table.con.cursor() as cursor:
        for _, *values in _fetch(cursor, table, select, aliases):
            yield dict(zip(aliases, values, strict=True))


def _fetch(cursor: duckdb.DuckDBPyConnection, table: Table, select: str, aliases: dict[str, str]) -> Iterator[tuple]:
    try:
        cursor.execute(select.format(table.scan(aliases)))
        while rows := cursor.fetchmany(20_000):
            yield from rows
    except duckdb.Error as error:
        raise unreadable(table.file, error) from error
