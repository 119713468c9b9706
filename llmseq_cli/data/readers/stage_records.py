"""Files of one object a line (JSON or Python literal): the Amazon and Steam dumps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.data.readers.files import quoted, unreadable
from llmseq_cli.data.readers.lines import batches_of_lines, first_line, is_json, lines_of, parse_record, storable
from llmseq_cli.data.readers.reading import Reading
from llmseq_cli.data.readers.rejections import Rejection, finish_file, set_aside, take_rejects, with_lines
from llmseq_cli.data.readers.stage_items import Item, stage_items
from llmseq_cli.data.readers.times import EARLIEST, LATEST, guess_time_form
from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.queries import query


@dataclass(frozen=True)
class InteractionLayout:
    """Which keys of an object hold user, item and time; a file has this layout where it has all of them."""

    name: str
    user: str
    item: str
    time: str


@dataclass(frozen=True)
class ItemLayout:
    """How an object describes an item: which keys it must and must not have, and what becomes of it."""

    name: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    convert: Callable[[dict[str, Any]], Item]


def classify(
    reading: Reading, file: str, interactions: tuple[InteractionLayout, ...], items: tuple[ItemLayout, ...]
) -> InteractionLayout | ItemLayout | None:
    """The layout of a file by its first object."""
    record = parse_record(first_line(reading.con, file))
    if isinstance(record, str):
        return None
    for layout in interactions:
        if {layout.user, layout.item, layout.time} <= set(record):
            return layout
    for described in items:
        if set(described.has) <= set(record) and not set(described.lacks) & set(record):
            return described
    return None


def read_records(
    reading: Reading,
    files: list[str],
    item_files: list[str],
    interactions: tuple[InteractionLayout, ...],
    items: tuple[ItemLayout, ...],
) -> None:
    """Read all files by their layouts. Raises LlmseqError for a file that has none, or none of interactions."""
    found = [(file, classify(reading, file, interactions, items)) for file in [*files, *item_files]]
    for file, layout in found:
        if layout is None:
            kinds = ", ".join([*(one.name for one in interactions), *(one.name for one in items)])
            raise LlmseqError(f"{file} holds none of: {kinds}", "check --format; any table reads with --format table")
    if not any(isinstance(layout, InteractionLayout) for _, layout in found):
        raise LlmseqError("no file holds interactions", "name the file of reviews besides the one of items")
    _check_folders(reading, [file for file, layout in found if isinstance(layout, InteractionLayout)])
    for file, layout in found:
        if isinstance(layout, InteractionLayout):
            reading.note(f"{file}: {layout.name}")
            _read_interactions(reading, file, layout)
            reading.report.files.append(file)
        elif isinstance(layout, ItemLayout):
            reading.note(f"{file}: {layout.name}")
            _read_items(reading, file, layout)
            reading.report.item_files.append(file)


def read_literal_items(reading: Reading, files: list[str], items: tuple[ItemLayout, ...]) -> list[str]:
    """Read the files of items that are Python literals, as Amazon's of 2014 are; returns the others.

    So a table of interactions can have them beside it.
    """
    others = []
    for file in files:
        is_table = ".parquet" in file or is_json(first_line(reading.con, file))
        layout = None if is_table else classify(reading, file, (), items)
        if isinstance(layout, ItemLayout):
            reading.note(f"{file}: {layout.name}")
            _read_items(reading, file, layout)
            reading.report.item_files.append(file)
        else:
            others.append(file)
    return others


def _check_folders(reading: Reading, files: list[str]) -> None:
    """Several files of one folder may hold the same reviews (all of them, and their 5-core): the user is to choose."""
    for folder in filter(os.path.isdir, reading.source.paths):
        within = [file for file in files if os.path.realpath(os.path.dirname(file)) == os.path.realpath(folder)]
        if len(within) > 1:
            names = ", ".join(os.path.basename(file) for file in within)
            raise LlmseqError(f"{folder} holds several files of interactions: {names}", "name the one to read, or all")


def _read_interactions(reading: Reading, file: str, layout: InteractionLayout) -> None:
    if is_json(first_line(reading.con, file)):
        rejects = _read_json(reading, file, layout)
    else:
        rejects = _read_literals(reading, file, layout)
    finish_file(reading, file, rejects)


def _read_json(reading: Reading, file: str, layout: InteractionLayout) -> list[Rejection]:
    """JSON lines never leave DuckDB."""
    import duckdb

    con = reading.con
    path = {key: quoted(f'$."{name}"') for key, name in vars(layout).items() if key != "name"}
    try:
        sample = con.execute(
            f"select json_extract_string(line, {path['time']}) from {lines_of(file)} where json_valid(line) limit 1000"
        ).fetchall()
        take_rejects(con)  # of the sample; the whole file is still to be read
        form = guess_time_form([row[0] for row in sample if row[0]])
        time = form.expression("time_text") if form else "null::timestamp"
        statement = query("ingest/read_json_lines").format(
            lines=lines_of(file), user=path["user"], item=path["item"], time_text=path["time"], time=time
        )
        with reading.progress.task(f"Reading {file}"):
            con.execute(statement, {"earliest": EARLIEST, "latest": LATEST})
    except duckdb.Error as error:
        raise unreadable(file, error) from error
    return take_rejects(con)


def _read_literals(reading: Reading, file: str, layout: InteractionLayout) -> list[Rejection]:
    form = None
    rejects: list[Rejection] = []
    with reading.progress.task(f"Reading {file}", None) as task:
        for batch in batches_of_lines(reading.con, file, rejects):
            rows = [parse_record(line) if line.strip() else "" for line in batch]
            times = [str(record.get(layout.time, "")) for record in rows if isinstance(record, dict)]
            form = form or guess_time_form(times[:1000])
            columns = {
                "user_id": _texts(rows, layout.user),
                "item_id": _texts(rows, layout.item),
                "time_text": _texts(rows, layout.time),
                "reason": np.array([r if isinstance(r, str) else None for r in rows], dtype=object),
            }
            time = form.expression("time_text") if form else "null::timestamp"
            reading.con.register("literal_rows", columns)
            reading.con.execute(
                query("ingest/read_literals").format(time=time),
                {"earliest": EARLIEST, "latest": LATEST},
            )
            reading.con.unregister("literal_rows")
            task.advance(len(batch))
    return rejects


def _texts(rows: list[dict[str, Any] | str], key: str) -> np.ndarray:
    values = [record.get(key) if isinstance(record, dict) else None for record in rows]
    return np.array([None if value is None else storable(str(value)) for value in values], dtype=object)


def _read_items(reading: Reading, file: str, layout: ItemLayout) -> None:
    rejected: list[Rejection] = []
    with reading.progress.task(f"Reading {file}"):
        described = stage_items(reading.con, _items(reading, file, layout, rejected))
    set_aside(reading, file, rejected, described + len(rejected))


def _items(reading: Reading, file: str, layout: ItemLayout, rejected: list[Rejection]) -> Iterator[Item]:
    """The items of a file; `rejected` gets, after the last one, what is none."""
    bad: list[Rejection] = []
    rejects: list[Rejection] = []
    number = 0
    for batch in batches_of_lines(reading.con, file, rejects):
        for line in batch:
            number += 1
            if not line.strip():
                continue
            record = parse_record(line)
            reason = record if isinstance(record, str) else _lacks_id(record, layout)
            if reason:
                bad.append(Rejection(number, reason))
            elif isinstance(record, dict):
                yield layout.convert(record)
    rejected += with_lines(bad, rejects, number)


def _lacks_id(record: dict[str, Any], layout: ItemLayout) -> str:
    missing = [key for key in layout.has if record.get(key) in (None, "")]
    return f"the item has no {missing[0]}" if missing else ""
