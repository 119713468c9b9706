"""Read any format: find the files, detect the format of each, call its reader, check the result."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmseq_cli.data.readers.after_reading import (
    cut_sessions,
    drop_duplicates,
    forget_rows,
    mark_parts,
    put_in_order,
    put_parts_aside,
    tell_described,
    tell_overlaps,
    tell_times,
)
from llmseq_cli.data.readers.amazon import AMAZON
from llmseq_cli.data.readers.columns import guess
from llmseq_cli.data.readers.dataset_parts import DatasetParts, find_parts
from llmseq_cli.data.readers.files import count, find_files
from llmseq_cli.data.readers.item_tables import guess_id, read_items
from llmseq_cli.data.readers.lines import first_line, parse_record
from llmseq_cli.data.readers.movielens import (
    is_movielens,
    is_movies,
    is_ratings,
    movies_beside,
    open_ratings,
    read_movies,
)
from llmseq_cli.data.readers.open_table import open_table
from llmseq_cli.data.readers.reading import Reading, ReadReport, Source
from llmseq_cli.data.readers.recbole import (
    is_recbole,
    is_recbole_items,
    open_recbole,
    read_recbole_items,
    recbole_items_beside,
)
from llmseq_cli.data.readers.stage_items import merge_repeated
from llmseq_cli.data.readers.stage_records import (
    InteractionLayout,
    ItemLayout,
    check_folders,
    classify,
    read_described,
    read_reviews,
)
from llmseq_cli.data.readers.stage_tables import check_map, read_interactions
from llmseq_cli.data.readers.steam import STEAM
from llmseq_cli.data.readers.table_files import TableFile
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import Progress

if TYPE_CHECKING:
    import duckdb

_RECORDS = {"amazon": AMAZON, "steam": STEAM}


def read(con: duckdb.DuckDBPyConnection, source: Source, progress: Progress) -> ReadReport:
    """Fill the staging tables (which must exist) from the source; return a report of what was read and how.

    Rows that cannot be used are set aside in staged_rejection with file, line and reason. Raises LlmseqError for
    unreadable files, unknown columns, no usable row at all and, with `source.strict`, for the first bad row.
    """
    item_files = find_files(source.items)
    described = {os.path.realpath(file) for file in item_files}  # they may be in a folder that is read as a whole
    files = [file for file in find_files(source.paths) if os.path.realpath(file) not in described]
    chosen = _format_of(con, files, source) if source.format == "auto" else source.format
    reading = Reading(con, source, ReadReport(chosen), progress)
    if source.format == "auto":
        reading.note(f"format: {chosen}")
    interactions, more_items, tables = _sort_files(reading, chosen, files, item_files)
    item_files += more_items
    _read_all_interactions(reading, chosen, interactions, tables)
    for file in item_files:
        _read_items(reading, file)
    if not item_files:
        for table in tables.values():
            read_items(reading, table, required=False)
    repeated = merge_repeated(con)
    if repeated and item_files:
        reading.note(f"{count(repeated, 'description repeats', 'descriptions repeat')} an item: they were merged")
    _check_result(reading)
    return reading.report


def _format_of(con: duckdb.DuckDBPyConnection, files: list[str], source: Source) -> str:
    if any(is_recbole(file) for file in files):
        return "recbole"
    if source.columns:
        return "table"
    if any(is_movielens(file) for file in files):
        return "movielens"
    for file in files:
        if ".parquet" in file:
            return "table"
        record = parse_record(first_line(con, file))
        if isinstance(record, dict):
            for name, (interactions, _) in _RECORDS.items():
                if any({one.user, one.item, one.time} <= set(record) for one in interactions):
                    return name
    return "table"


def _sort_files(
    reading: Reading, chosen: str, files: list[str], item_files: list[str]
) -> tuple[list[str], list[str], dict[str, TableFile]]:
    """Files of interactions, more files of items, and tables of interactions that are already open."""
    if chosen in _RECORDS:
        interactions, items = _sort_records(reading, chosen, files)
        return interactions, items, {}
    if chosen == "recbole":
        interactions = [file for file in files if is_recbole(file)]
        if not interactions:
            raise LlmseqError("no file is a RecBole .inter file", "name it, for example ml-100k/ml-100k.inter")
        items = [file for file in files if is_recbole_items(file)]
        beside = [one for file in interactions for one in recbole_items_beside(file)]
    elif chosen == "movielens":
        interactions = [file for file in files if is_ratings(file)]
        if not interactions:
            raise LlmseqError(
                "no file is one of MovieLens' u.data, ratings.dat and ratings.csv", "name MovieLens' own files"
            )
        items = [file for file in files if is_movies(file)]
        beside = [one for file in interactions for one in movies_beside(file)]
    else:
        return _sort_tables(reading, files, item_files)
    others = [os.path.basename(file) for file in files if file not in (*interactions, *items)]
    if others:
        reading.note(f"not read: {', '.join(others)}")
    if not items and not item_files:
        items = list(dict.fromkeys(beside))
    return interactions, items, {}


def _sort_records(reading: Reading, chosen: str, files: list[str]) -> tuple[list[str], list[str]]:
    layouts = _RECORDS[chosen]
    found = [(file, classify(reading, file, layouts)) for file in files]
    for file, layout in found:
        if layout is None:
            kinds = ", ".join([*(one.name for one in layouts[0]), *(one.name for one in layouts[1])])
            raise LlmseqError(
                f"{file} contains none of: {kinds}", "check --format; any table reads with --format table"
            )
    interactions = [file for file, layout in found if isinstance(layout, InteractionLayout)]
    if not interactions:
        raise LlmseqError("no file has interactions", "also name the file of reviews, not only the one of items")
    check_folders(reading, interactions)
    return interactions, [file for file, layout in found if isinstance(layout, ItemLayout)]


def _sort_tables(
    reading: Reading, files: list[str], item_files: list[str]
) -> tuple[list[str], list[str], dict[str, TableFile]]:
    """Sort several tables: one with items but no users describes items."""
    quote, given = reading.source.quote_character, dict(reading.source.columns)
    tables: dict[str, TableFile] = {}
    items = []
    for file in files:
        if len(files) > 1 and not item_files and _items_format(reading, file) != "table":
            items.append(file)
        else:
            tables[file] = open_table(reading.con, file, quote)
    if len(tables) > 1 and not item_files and "user" not in given and "session" not in given:
        for file, table in list(tables.items()):
            if guess(table.columns, "user") or not (guess(table.columns, "item") or guess_id(table)):
                continue
            if "1" not in table.columns and len(tables) > 1:
                items.append(file)
                del tables[file]
                reading.note(f"{file}: no column of users, so it describes items")
    described = [file for file in [*item_files, *items] if _items_format(reading, file) == "table"]
    check_map(given, [*tables.values(), *(open_table(reading.con, file, quote) for file in described)])
    return list(tables), items, tables


def _read_all_interactions(reading: Reading, chosen: str, files: list[str], tables: dict[str, TableFile]) -> None:
    parts = find_parts(files) or DatasetParts()
    if parts.whole:
        try:
            for file, part in parts.files.items():
                _read_interactions(reading, chosen, file, tables, part)
            put_parts_aside(reading)
        except LlmseqError as error:
            reading.warn(f"{', '.join(parts.files)}: not read as parts of {parts.whole}: {error.message}")
            forget_rows(reading)
            reading.report.files.clear()
            files = [file for file in files if file not in parts.files]
            parts = DatasetParts()
    alone = [file for file in files if file not in parts.files]
    if not parts.whole:
        alone = [*alone, *parts.files]
    for file in alone:
        _read_interactions(reading, chosen, file, tables, parts.files.get(file))
    if parts.whole:
        mark_parts(reading, parts)
        reading.report.files += parts.files
    elif parts.files:
        named = ", ".join(f"{os.path.basename(file)} = {part}" for file, part in parts.files.items())
        reading.note(f"parts, from the names of the files: {named}")


def _read_interactions(
    reading: Reading, chosen: str, file: str, tables: dict[str, TableFile], part: str | None = None
) -> None:
    if chosen in _RECORDS:
        layout = classify(reading, file, _RECORDS[chosen])
        if isinstance(layout, InteractionLayout):
            read_reviews(reading, file, layout, part)
    elif chosen == "recbole":
        read_interactions(reading, open_recbole(reading, file), part=part)
    elif chosen == "movielens":
        read_interactions(reading, open_ratings(reading, file), part=part)
    else:
        read_interactions(reading, tables[file], part=part)


def _items_format(reading: Reading, file: str) -> str:
    """The format of a file of items: from --items-format, or from its name and first object."""
    if reading.source.items_format != "auto":
        return reading.source.items_format
    if is_movies(file):
        return "movielens"
    if is_recbole_items(file) and ":" in first_line(reading.con, file):
        return "recbole"
    record = "" if ".parquet" in file else parse_record(first_line(reading.con, file))
    if isinstance(record, dict):
        for name, (_, layouts) in _RECORDS.items():
            expected = name == reading.report.format
            if any(one.fits(record) if expected else one.is_told_by(record) for one in layouts):
                return name
    return "table"


def _read_items(reading: Reading, file: str) -> None:
    form = _items_format(reading, file)
    if form in _RECORDS:
        layout = classify(reading, file, _RECORDS[form])
        if not isinstance(layout, ItemLayout):
            raise LlmseqError(f"{file} describes no items as {form} does", "check --items-format, or leave it out")
        read_described(reading, file, layout)
    elif form == "movielens":
        read_movies(reading, file)
    elif form == "recbole":
        read_recbole_items(reading, file)
    else:
        read_items(reading, open_table(reading.con, file, reading.source.quote_character), required=True)


def _hint_for(reason: str) -> str:
    """A hint if every row was set aside for this reason."""
    if "time" in reason.partition(":")[0]:
        return "check how times are written (--time-format), and which column has them (--map time=COLUMN)"
    if reason.startswith(("no user", "no item")):
        return "check which columns are meant: --map user=COLUMN,item=COLUMN"
    return "check --format, --quote and --map"


def _check_result(reading: Reading) -> None:
    con, report = reading.con, reading.report
    first = con.execute("select file, line, reason from staged_rejection limit 1").fetchall()
    [(report.rejected,)] = con.execute("select count(*) from staged_rejection").fetchall()
    tell_overlaps(reading)
    con.execute("delete from staged_interaction where rejected_because is not null")
    [(usable,)] = con.execute("select count(*) from staged_interaction").fetchall()
    if not usable:
        if first:
            file, line, reason = first[0]
            raise LlmseqError(f"no row can be used, the first: {file}:{line}: {reason}", _hint_for(reason))
        if report.left_out:
            raise LlmseqError(
                f"all {count(report.left_out, 'row is', 'rows are')} left out by --where, --min-rating or --max-rating",
                "make them less strict",
            )
        raise LlmseqError(f"{', '.join(report.files)}: no rows", "check how it was made")
    drop_duplicates(reading)
    cut_sessions(reading)
    put_in_order(reading)
    tell_times(reading)
    tell_described(reading)
    if report.left_out:
        reading.note(f"{count(report.left_out, 'row was', 'rows were')} left out by these options")
    if report.rejected:
        file, line, reason = first[0]
        shown = count(report.rejected, "bad row was", "bad rows were")
        reading.progress.warn(f"{shown} set aside, the first: {file}:{line}: {reason}")
