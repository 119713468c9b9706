"""Load tables of items into staged_item."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from llmseq_cli.data.readers.columns import ROLES, guess, named_column
from llmseq_cli.data.readers.reading import Reading
from llmseq_cli.data.readers.rejections import Rejection, set_aside
from llmseq_cli.data.readers.stage_items import Item, listed, stage_items
from llmseq_cli.data.readers.table_files import WHOLE_FLOAT, Row, TableFile, distinct_rows, first_rows, table_rows
from llmseq_cli.errors import LlmseqError


def read_items(
    reading: Reading, table: TableFile, *, required: bool, words: Callable[[Any], list[str]] = listed
) -> None:
    """Stage the items that a table describes; `words` splits its category column into keywords."""
    given = dict(reading.source.columns)
    columns = _item_columns(table, given, required)
    if not required and not {"title", "category"} & set(columns):
        return
    if required:
        reading.report.item_files.append(table.file)
        reading.note(f"{table.file}: " + ", ".join(f"{alias} = {column}" for alias, column in columns.items()))
    rejected: list[Rejection] = []
    whole = _holds_whole_floats(table, columns["item"])
    # Tables of interactions repeat their items; their bad rows were counted when they were read as interactions.
    rows = table_rows(table, columns, rejected) if required else distinct_rows(table, columns)
    with reading.progress.task(f"Reading items of {table.file}"):
        described = stage_items(reading.con, _described(rows, words, whole))
    set_aside(reading, table.file, rejected, described + len(rejected))


def _item_columns(table: TableFile, given: dict[str, str], required: bool) -> dict[str, str]:
    """{alias: column}: item, title and category by name; in a table of items, every other column is an attribute."""
    columns = {}
    for role in ("item", "title", "category"):
        column = named_column(table, given[role]) if role in given else None
        column = column or guess(table.columns, role) or (role == "item" and guess_id(table)) or None
        if column:
            columns[role] = column
    if "item" not in columns and not required:
        return {}
    if "item" not in columns:
        hint = "name it with --map item=COLUMN"
        if "item" in given:
            hint = f"it has no column '{given['item']}'; name one with --map item=COLUMN"
        raise LlmseqError(f"no column of {table.file} looks like the item: {', '.join(table.columns[:12])}", hint)
    for alias, wanted in given.items():
        column = named_column(table, wanted)
        if alias not in ROLES and column:
            columns[alias] = column
    if required:
        others = [column for column in table.columns if column not in columns.values()]
        columns |= {f"own_{column}" if column in columns else column: column for column in others}
    return columns


def guess_id(table: TableFile) -> str | None:
    """The id column of a table of items: a plain "id", or the first column if there are no names."""
    if "1" in table.columns:
        return "1"
    return next((column for column in table.columns if column.lower() == "id"), None)


def _described(rows: Iterable[Row], words: Callable[[Any], list[str]], whole: bool) -> Iterator[Item]:
    for row in rows:
        item = (row.pop("item") or "").strip()
        if whole:
            item = re.sub(r"^(-?\d+)\.0+$", r"\1", item)
        if item:
            yield item, row.pop("title", None), words(row.pop("category", None)), row


def _holds_whole_floats(table: TableFile, column: str) -> bool:
    """Whether the first ids all look like 7.0: floats without a fraction."""
    values = [row["item"] for row in first_rows(table, {"item": column})]
    texts = [text for text in values if text and text.strip()]
    return bool(texts) and all(WHOLE_FLOAT.fullmatch(text) for text in texts)
