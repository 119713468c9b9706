"""Tables in JSON, Python-literal and Parquet files, read by column. CSV is in csv_files."""

from __future__ import annotations

import json
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import numpy as np

from llmseq_cli.data.readers.files import address, identifier, not_utf8, quoted, unreadable
from llmseq_cli.data.readers.lines import batches_of_lines, first_lines, lines_of, parse_record, storable
from llmseq_cli.data.readers.missing import is_missing
from llmseq_cli.data.readers.rejections import NOT_UTF8, Rejection, rows_are_lines, take_rejects, with_lines
from llmseq_cli.store.queries import query

SNIFFED_LINES = 200
_SCAN = "$scan"
_IDS = ("user_id", "item_id", "item", "session_id", "session_part")


class TableFile(ABC):
    """A file with named columns."""

    con: duckdb.DuckDBPyConnection
    file: str
    columns: list[str]

    @abstractmethod
    def scan(self, columns: dict[str, str]) -> str:
        """SQL of a table with one row per row of the file, in order: `problem` (why a row is invalid, '' for a blank
        line, otherwise NULL) and one column per {alias: column}. Rows that DuckDB rejects are in take_rejects."""

    def type_of(self, column: str) -> str:
        """DuckDB type of a column; text unless the file has types."""
        return "VARCHAR"

    def locate(self, numbers: np.ndarray, rejects: list[Rejection], scanned: int) -> tuple[np.ndarray, list[Rejection]]:
        """Line numbers of scanned rows (from 1) and of DuckDB's rejects. scanned: number of rows.

        Each line is a row, unless a subclass overrides this.
        """
        return rows_are_lines(numbers, rejects, scanned)

    @property
    def torn(self) -> list[Rejection]:
        """Lines set aside before the scan, which does not see them."""
        return []

    def needs_mending(self, scanned: int, set_aside: int) -> bool:
        """Whether the file must be repaired and scanned again, given the number of rows found."""
        return False

    def mend(self) -> None:  # noqa: B027 - only CSV has something to mend
        """Repair the input of `scan`, so that no row swallows others."""


@dataclass
class ParquetTable(TableFile):
    con: duckdb.DuckDBPyConnection
    file: str

    @cached_property
    def _types(self) -> dict[str, str]:
        try:
            rows = self.con.execute(f"describe select * from read_parquet({address(self.file)})").fetchall()
        except (duckdb.Error, UnicodeDecodeError) as error:
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
        if alias in _IDS and kind in ("DOUBLE", "FLOAT"):  # integers stored as floats because of missing values
            whole = f"{name} = trunc({name}) then coalesce(try_cast({name} as hugeint)::varchar, {name}::varchar)"
            return f"case when not isfinite({name}) then null when {whole} else {name}::varchar end"
        return f"to_json({name})::varchar" if kind.endswith("[]") else name


@dataclass
class JsonTable(TableFile):
    con: duckdb.DuckDBPyConnection
    file: str

    @cached_property
    def columns(self) -> list[str]:  # type: ignore[override]
        records = [parse_record(line) for line in first_lines(self.con, self.file, SNIFFED_LINES)]
        return list(dict.fromkeys(key for record in records if isinstance(record, dict) for key in record))

    def scan(self, columns: dict[str, str]) -> str:
        chosen = ", ".join(
            f"case when json_valid(line) then json_extract_string(line, {quoted(_json_path(column))}) end"
            f" as {identifier(alias)}"
            for alias, column in columns.items()
        )
        problem = (
            "case when coalesce(trim(line), '') = '' then '' when not json_valid(line) then 'the line is not JSON'"
            " when json_type(line) <> 'OBJECT' then 'the line is not an object' end"
        )
        return f"(select {problem} as problem, {chosen} from {self._lines})"

    @property
    def _lines(self) -> str:
        return lines_of(self.file)


def _json_path(key: str) -> str:
    return '$."' + key.replace('"', '\\"') + '"'


class LiteralTable(JsonTable):
    """One Python literal per line, converted to JSON in a temporary file by `ast.literal_eval`, never by eval."""

    def __init__(self, con: duckdb.DuckDBPyConnection, file: str) -> None:
        super().__init__(con, file)
        self._folder = tempfile.TemporaryDirectory(prefix="llmseq-")
        self._json = os.path.join(self._folder.name, "records.jsonl")
        self._torn: list[Rejection] = []
        with open(self._json, "w", encoding="utf-8") as written:
            for batch in batches_of_lines(con, file, self._torn):
                written.writelines(_as_json(line) + "\n" for line in batch)

    @property
    def torn(self) -> list[Rejection]:
        return self._torn

    @property
    def _lines(self) -> str:
        return lines_of(self._json)

    def scan(self, columns: dict[str, str]) -> str:
        scanned = super().scan(columns)
        return scanned.replace("then 'the line is not JSON'", "then substr(line, 2)")

    def locate(self, numbers: np.ndarray, rejects: list[Rejection], scanned: int) -> tuple[np.ndarray, list[Rejection]]:
        return rows_are_lines(numbers, [*rejects, *self._torn], scanned)[0], rejects


def _as_json(line: str) -> str:
    """A line as JSON; if it is not an object, "!" and the reason."""
    if not line.strip():
        return ""
    record = parse_record(line)
    try:
        text = f"!{record}" if isinstance(record, str) else json.dumps(record, default=_listed, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return "!the line has values that JSON cannot represent"
    return storable(text)


def _listed(value: object) -> object:
    return list(value) if isinstance(value, (set, tuple)) else str(value)


Row = dict[str, str | None]
"""Values by alias."""


WHOLE_FLOAT = re.compile(r"\s*-?\d+\.0+\s*")
_SAMPLE_ROWS = 1000


def first_rows(table: TableFile, aliases: dict[str, str]) -> list[Row]:
    """The first rows of a table, for inspection."""
    chosen = ", ".join(f"{identifier(alias)}::varchar" for alias in aliases)
    with table.con.cursor() as cursor:
        rows = list(_fetch(cursor, table, f"select {chosen} from {_SCAN} limit {_SAMPLE_ROWS}", aliases))
        foreign = any(one.reason == NOT_UTF8 for one in take_rejects(cursor))
    if foreign and not rows:
        raise not_utf8(table.file)
    return [dict(zip(aliases, row, strict=True)) for row in rows]


def table_rows(table: TableFile, aliases: dict[str, str], rejected: list[Rejection]) -> Iterator[Row]:
    """All non-blank rows of a table; for tables of items, which are small compared with interactions.

    rejected: receives invalid rows after the last row.
    """
    if table.needs_mending(*_counts(table, aliases)):
        table.mend()
    # Two columns may differ only in case, which SQL ignores.
    safe = {"item" if alias == "item" else f"column_{at}": column for at, (alias, column) in enumerate(aliases.items())}
    chosen = ", ".join(f"{identifier(name)}::varchar" for name in safe)
    bad: list[Rejection] = []
    number = 0
    with table.con.cursor() as cursor:
        for problem, *values in _fetch(cursor, table, f"select problem, {chosen} from {_SCAN}", safe):
            number += 1
            row = dict(zip(aliases, values, strict=True))
            if problem is None and is_missing(row["item"]):
                problem = f"no item: '{row['item']}'" if (row["item"] or "").strip() else "no item"
            if problem is None:
                yield row
            elif problem:
                bad.append(Rejection(number, problem))
        rejected += [*with_lines(bad, take_rejects(cursor), number, table.locate), *table.torn]


def _counts(table: TableFile, aliases: dict[str, str]) -> tuple[int, int]:
    """The numbers of rows that a scan returns and rejects."""
    with table.con.cursor() as cursor:
        [(rows,)] = _fetch(cursor, table, f"select count(*) from {_SCAN}", {"item": aliases["item"]})
        return rows, len(take_rejects(cursor))


def distinct_rows(table: TableFile, aliases: dict[str, str]) -> Iterator[Row]:
    """For each item the first row, in file order; attributes missing there come from the first row that has them."""
    chosen = ", ".join(f"arg_min({identifier(name)}::varchar, number)" for name in aliases)
    select = query("ingest/read_first_rows").format(chosen=chosen, scan=_SCAN)
    with table.con.cursor() as cursor:
        for _, *values in _fetch(cursor, table, select, aliases):
            yield dict(zip(aliases, values, strict=True))
        take_rejects(cursor)


def _fetch(
    cursor: duckdb.DuckDBPyConnection, table: TableFile, select: str, aliases: dict[str, str]
) -> Iterator[tuple[Any, ...]]:
    try:
        cursor.execute(select.replace(_SCAN, table.scan(aliases)))
        while rows := cursor.fetchmany(20_000):
            yield from rows
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise unreadable(table.file, error) from error
