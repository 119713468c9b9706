"""Reads whatever format it is: finds the files, tells the format, calls its reader, checks that something came."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmseq_cli.data.readers.amazon import AMAZON
from llmseq_cli.data.readers.files import find_files
from llmseq_cli.data.readers.lines import first_line, parse_record
from llmseq_cli.data.readers.movielens import is_movielens, read_movielens
from llmseq_cli.data.readers.reading import FORMATS, Reading, ReadReport, Source
from llmseq_cli.data.readers.recbole import is_recbole, read_recbole
from llmseq_cli.data.readers.stage_records import read_literal_items, read_records
from llmseq_cli.data.readers.stage_tables import read_tables
from llmseq_cli.data.readers.steam import STEAM
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.progress import Progress

if TYPE_CHECKING:
    import duckdb

_RECORDS = {"amazon": AMAZON, "steam": STEAM}


def read(con: duckdb.DuckDBPyConnection, source: Source, progress: Progress) -> ReadReport:
    """Fill the staging tables (which must exist) from what the source names; returns what was read and understood.

    Rows that cannot be used are set aside in staged_rejection with file, line and reason.
    Raises LlmseqError for files that cannot be read, columns that cannot be told, no usable row at all, and with
    `source.strict` for the first bad row; UsageError for an unknown format.
    """
    if source.format not in FORMATS:
        raise UsageError(f"there is no format '{source.format}'", did_you_mean(source.format, [*FORMATS]))
    item_files = find_files(source.items)
    described = {os.path.realpath(file) for file in item_files}  # they may lie in a folder that is read as a whole
    files = [file for file in find_files(source.paths) if os.path.realpath(file) not in described]
    chosen = _format_of(con, files, source) if source.format == "auto" else source.format
    reading = Reading(con, source, ReadReport(chosen), progress)
    if source.format == "auto":
        reading.note(f"format: {chosen}")
    if chosen in _RECORDS:
        read_records(reading, files, item_files, *_RECORDS[chosen])
    elif chosen == "movielens":
        read_movielens(reading, files, item_files)
    elif chosen == "recbole":
        read_recbole(reading, files, item_files)
    else:
        described_by = tuple(layout for _, layouts in _RECORDS.values() for layout in layouts)
        read_tables(reading, files, read_literal_items(reading, item_files, described_by))
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


def _check_result(reading: Reading) -> None:
    con, report = reading.con, reading.report
    first = con.execute("select file, line, reason from staged_rejection limit 1").fetchall()
    report.rejected = con.execute("select count(*) from staged_rejection").fetchall()[0][0]
    con.execute("delete from staged_interaction where rejected_because is not null")
    usable = con.execute("select count(*) from staged_interaction").fetchall()[0][0]
    if usable:
        if report.rejected:
            file, line, reason = first[0]
            reading.progress.warn(f"{report.rejected:,} bad rows were set aside, the first: {file}:{line}: {reason}")
        return
    if first:
        file, line, reason = first[0]
        raise LlmseqError(f"no row can be used, the first: {file}:{line}: {reason}", "check --format and --map")
    raise LlmseqError(f"{', '.join(report.files)} holds no rows", "check how it was made")
