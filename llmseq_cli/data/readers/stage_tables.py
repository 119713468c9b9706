"""Any table of interactions, with or without a table of items."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

import duckdb

from llmseq_cli.data.readers.columns import guess, named_column, required_column, unknown_column
from llmseq_cli.data.readers.files import unreadable
from llmseq_cli.data.readers.reading import Reading
from llmseq_cli.data.readers.rejections import Rejection, finish_file, set_aside, take_rejects
from llmseq_cli.data.readers.stage_items import Item, listed, stage_items
from llmseq_cli.data.readers.table_files import CsvTable, Row, Table, distinct_rows, open_table, table_rows
from llmseq_cli.data.readers.times import EARLIEST, LATEST, TimeForm, guess_time_form, rival, typed_form
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.store.queries import query

_SAMPLE_ROWS = 1000
_ASIN, _AMAZON_USER = r"B0[0-9A-Z]{8}|\d{9}[\dX]", r"A[0-9A-Z]{9,}"
_ROLES = ("user", "item", "time", "title", "category")


def read_tables(reading: Reading, files: list[str], item_files: list[str]) -> None:
    """Read tables of interactions; without a table of items their own title and category columns describe the items."""
    tables = [open_table(reading.con, file) for file in files]
    described = [open_table(reading.con, file) for file in item_files]
    _check_map(reading.source.columns, [*tables, *described])
    for table in tables:
        read_interactions(reading, table)
    for table in described or tables:
        read_items(reading, table, required=bool(described))


def _check_map(given: dict[str, str], tables: list[Table]) -> None:
    """Any name may be that of an attribute, but one that is nearly user, item, time, … is a slip."""
    for role, wanted in given.items():
        nearly = get_close_matches(role, _ROLES, n=1, cutoff=0.7)
        if nearly and role not in _ROLES:
            raise UsageError(f"--map knows no '{role}'", f"did you mean '{nearly[0]}'?")
        if not any(named_column(table, wanted) for table in tables):
            raise unknown_column(tables[0], wanted)


def read_interactions(reading: Reading, table: Table) -> None:
    """Stage the interactions of a table. Raises LlmseqError where a column is missing or no time can be told."""
    given = reading.source.columns
    if isinstance(table, CsvTable) and table.columns[0] == "1":
        given = _positions(reading, table) | given
    columns = {role: required_column(table, role, given) for role in ("user", "item", "time")}
    form = _time_form(reading, table, columns["time"])
    named = ", ".join(f"{role} = {column}" for role, column in columns.items())
    separated = f", separated by {_shown(table.delimiter)}" if isinstance(table, CsvTable) else ""
    reading.note(f"{table.file}: {named} ({form.name}){separated}")
    scan = table.scan({"user_id": columns["user"], "item_id": columns["item"], "time_value": columns["time"]})
    statement = query("ingest/read_table").format(scan=scan, time=form.expression("time_value"))
    try:
        with reading.progress.task(f"Reading {table.file}"):
            reading.con.execute(statement, {"earliest": EARLIEST, "latest": LATEST})
    except duckdb.Error as error:
        raise unreadable(table.file, error) from error
    finish_file(reading, table.file, take_rejects(reading.con), table.locate)
    reading.report.files.append(table.file)


def _shown(delimiter: str) -> str:
    return {"\t": "tab", ",": "comma"}.get(delimiter, delimiter)


def _sample(reading: Reading, table: Table, columns: dict[str, str]) -> list[tuple[str | None, ...]]:
    chosen = ", ".join(f'"{alias}"::varchar' for alias in columns)
    with reading.con.cursor() as cursor:
        try:
            return cursor.execute(f"select {chosen} from {table.scan(columns)} limit {_SAMPLE_ROWS}").fetchall()
        except duckdb.Error as error:
            raise unreadable(table.file, error) from error


def _time_form(reading: Reading, table: Table, column: str) -> TimeForm:
    typed = typed_form(table.type_of(column))
    if typed:
        return typed
    values = [text for (text,) in _sample(reading, table, {"time_value": column}) if text]
    form = guess_time_form(values)
    if form is None:
        shown = f" such as '{values[0]}'" if values else ""
        raise LlmseqError(
            f"the column {column} of {table.file} holds no times{shown}", "name another with --map time=COLUMN"
        )
    other = rival(form)
    return _better(reading, table, column, form, other) if other else form


def _better(reading: Reading, table: Table, column: str, form: TimeForm, other: TimeForm) -> TimeForm:
    """Of two forms that the first rows may both have, the one that more of all rows have."""
    counts = ", ".join(f"count({one.expression('time_value')})" for one in (form, other))
    with reading.con.cursor() as cursor:
        try:
            rows = cursor.execute(f"select {counts} from {table.scan({'time_value': column})}").fetchall()
        except duckdb.Error as error:
            raise unreadable(table.file, error) from error
    return form if rows[0][0] >= rows[0][1] else other


def _positions(reading: Reading, table: CsvTable) -> dict[str, str]:
    """Columns of a table without a header: user and item first, time where the values look like times."""
    rows = _sample(reading, table, {f"c{name}": name for name in table.columns})
    found = {"user": "1", "item": "2"}
    if all(_mostly(pattern, [row[at] for row in rows]) for at, pattern in enumerate((_ASIN, _AMAZON_USER))):
        found = {"user": "2", "item": "1"}  # so in the ratings of Amazon's 2018 release
    for place in range(2, len(table.columns)):
        values = [text for row in rows if (text := row[place])]
        large = [value for value in values if value.replace(".", "", 1).isdigit() and float(value) >= 1e8]
        dates = values and not any(value.replace(".", "", 1).isdigit() for value in values) and guess_time_form(values)
        if values and (len(large) * 2 > len(values) or dates):
            return found | {"time": table.columns[place]}
    return found


def _mostly(pattern: str, values: list[str | None]) -> bool:
    return 2 * sum(re.fullmatch(pattern, value or "") is not None for value in values) > len(values)


def read_items(reading: Reading, table: Table, *, required: bool, words: Callable[[Any], list[str]] = listed) -> None:
    """Stage the items that a table describes; `words` splits its category column into keywords."""
    given = reading.source.columns
    columns = _item_columns(table, given, required)
    if not required and not {"title", "category"} & set(columns):
        return
    if required:
        reading.report.item_files.append(table.file)
        reading.note(f"{table.file}: " + ", ".join(f"{alias} = {column}" for alias, column in columns.items()))
    rejected: list[Rejection] = []
    # Rows of interactions repeat their items, and bad ones were counted when they were read as interactions.
    rows = table_rows(table, columns, rejected) if required else distinct_rows(table, columns, "item")
    with reading.progress.task(f"Reading items of {table.file}"):
        described = stage_items(reading.con, _described(rows, words))
    set_aside(reading, table.file, rejected, described + len(rejected))


def _item_columns(table: Table, given: dict[str, str], required: bool) -> dict[str, str]:
    """{alias: column}: item, title and category by name; of a table of items every other column is an attribute."""
    columns = {}
    for role in ("item", "title", "category"):
        column = named_column(table, given[role]) if role in given else None
        column = column or guess(table.columns, role) or (role == "item" and guess_id(table)) or None
        if column:
            columns[role] = column
    if "item" not in columns:
        raise LlmseqError(f"no column of {table.file} looks like the item", "say which with --map item=COLUMN")
    for alias, wanted in given.items():
        column = named_column(table, wanted)
        if alias not in _ROLES and column:
            columns[alias] = column
    if required:
        columns |= {column: column for column in table.columns if column not in columns.values()}
    return columns


def guess_id(table: Table) -> str | None:
    """A table of items may call its key just id; one without names has it first."""
    if "1" in table.columns:
        return "1"
    return next((column for column in table.columns if column.lower() == "id"), None)


def _described(rows: Iterable[Row], words: Callable[[Any], list[str]]) -> Iterator[Item]:
    for row in rows:
        item = (row.pop("item") or "").strip()
        if item:
            yield item, row.pop("title", None), words(row.pop("category", None)), row
