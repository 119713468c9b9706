"""Tables in files: CSV and its kin, JSON lines, Parquet, opened so that rows can be selected by column."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.data.readers.base import first_line, identifier, quoted, strict_failure, unreadable
from llmseq_cli.data.readers.lines import is_json, lines_of, parse_record
from llmseq_cli.errors import LlmseqError

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.data.readers.base import Reading

_DELIMITERS = (",", "\t", ";", "|")
_SNIFFED_LINES = 200


class Table(ABC):
    """A file with named columns."""

    file: str
    columns: list[str]

    @abstractmethod
    def scan(self, columns: dict[str, str]) -> str:
        """SQL of a table with `number` (the row's place in the file, from 1), `problem` (why a row is none, or NULL)
        and one column for each {alias: column}."""

    def type_of(self, column: str) -> str:
        """DuckDB type of a column; text unless the file itself has types."""
        return "VARCHAR"

    def lines(self, numbers: np.ndarray) -> np.ndarray:
        """The lines on which rows stand; rows are lines unless a subclass knows better."""
        return numbers

    def collect_rejected(self, reading: Reading) -> None:
        """Move what DuckDB itself set aside while it scanned to staged_rejection."""


@dataclass
class ParquetTable(Table):
    con: duckdb.DuckDBPyConnection
    file: str

    @cached_property
    def _types(self) -> dict[str, str]:
        try:
            rows = self.con.execute(f"describe select * from read_parquet({quoted(self.file)})").fetchall()
        except Exception as error:
            raise unreadable(self.file, error) from error
        return {row[0]: row[1] for row in rows}

    @cached_property
    def columns(self) -> list[str]:  # type: ignore[override]
        return list(self._types)

    def type_of(self, column: str) -> str:
        return self._types[column]

    def scan(self, columns: dict[str, str]) -> str:
        chosen = ", ".join(f"{identifier(column)} as {identifier(alias)}" for alias, column in columns.items())
        return (
            f"(select row_number() over () as number, null::varchar as problem, {chosen}"
            f" from read_parquet({quoted(self.file)}))"
        )


@dataclass
class JsonTable(Table):
    con: duckdb.DuckDBPyConnection
    file: str

    @cached_property
    def columns(self) -> list[str]:  # type: ignore[override]
        rows = self.con.execute(f"select line from {lines_of(self.file)} where line is not null limit {_SNIFFED_LINES}")
        records = [parse_record(line) for (line,) in rows.fetchall()]
        return list(dict.fromkeys(key for record in records if isinstance(record, dict) for key in record))

    def scan(self, columns: dict[str, str]) -> str:
        chosen = ", ".join(
            f"case when json_valid(line) then json_extract_string(line, {quoted(_json_path(column))}) end"
            f" as {identifier(alias)}"
            for alias, column in columns.items()
        )
        numbered = f"(select row_number() over () as number, line from {lines_of(self.file)})"
        return (
            f"(select number, case when not json_valid(line) then 'the line is no JSON' end as problem, {chosen}"
            f" from {numbered} where trim(line) <> '')"
        )


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

    def scan(self, columns: dict[str, str]) -> str:
        names = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in self.columns)
        chosen = ", ".join(f"{identifier(column)} as {identifier(alias)}" for alias, column in columns.items())
        return (
            f"(select row_number() over () as number, null::varchar as problem, {chosen} from read_csv({quoted(self.file)},"
            f" auto_detect = false, header = {str(self.header).lower()}, delim = {quoted(self.delimiter)},"
            f" quote = {quoted(self.quote)}, escape = {quoted(self.quote)}, columns = {{{names}}}, store_rejects = true,"
            f" rejects_limit = 0, encoding = {quoted(self.encoding)}, max_line_size = 20000000))"
        )

    def collect_rejected(self, reading: Reading) -> None:
        con = self.con
        if not con.execute("select 1 from duckdb_tables() where table_name = 'reject_errors'").fetchall():
            return
        kind = "lower(error_type::varchar) || ': ' || error_message"
        rows = con.execute(f"select line, min({kind}) from reject_errors group by line order by line").fetchall()
        con.execute("drop table reject_errors")
        con.execute("drop table reject_scans")
        if rows and reading.source.strict:
            raise strict_failure(self.file, *rows[0])
        if rows:
            con.executemany("insert into staged_rejection values (?, ?, ?)", [[self.file, *row] for row in rows])
            reading.report.rows_read += len(rows)

    def lines(self, numbers: np.ndarray) -> np.ndarray:
        """DuckDB does not tell on which line a row stood: walk the file, but only as far as asked for."""
        wanted, found = set(numbers.tolist()), {}
        number = 0
        reader = csv.reader(
            self._text_lines(),
            delimiter=self.delimiter[0],
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
        )
        width = len(self.columns) if len(self.delimiter) == 1 else 2 * len(self.columns) - 1
        skip = self.header
        for record in reader:
            if not record:
                continue
            if skip:
                skip = False
                continue
            if len(record) == width:
                number += 1
                if number in wanted:
                    found[number] = reader.line_num
                    if len(found) == len(wanted):
                        break
        return np.array([found.get(int(one), 0) for one in numbers], dtype=np.int64)

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
    return sniff_csv(con, file)


def sniff_csv(con: duckdb.DuckDBPyConnection, file: str) -> CsvTable:
    """Delimiter and header of a CSV file, from its first lines."""
    rows = con.execute(f"select line from {lines_of(file)} where line is not null limit {_SNIFFED_LINES}").fetchall()
    lines = [row[0] for row in rows]
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
    return CsvTable(con, file, delimiter, header, names)


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


def item_rows(table: Table, aliases: dict[str, str]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """(row number, {alias: text}) of all rows; for tables of items, which are small beside those of interactions."""
    con = table.con.cursor()  # type: ignore[attr-defined]
    names = list(aliases)
    chosen = ", ".join(f"{identifier(name)}::varchar" for name in names)
    try:
        con.execute(f"select number, {chosen} from {table.scan(aliases)} where problem is null")
        while rows := con.fetchmany(20_000):
            for row in rows:
                yield row[0], dict(zip(names, row[1:], strict=True))
    except LlmseqError:
        raise
    except Exception as error:
        raise unreadable(table.file, error) from error
