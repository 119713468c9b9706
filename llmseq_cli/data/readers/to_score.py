"""Read sessions to score: a table with session and item columns, and a time if rows are not in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmseq_cli.data.readers.columns import guess, required_column
from llmseq_cli.data.readers.files import count, find_files, unreadable
from llmseq_cli.data.readers.open_table import open_table
from llmseq_cli.data.readers.rejections import take_rejects
from llmseq_cli.data.readers.times import guess_time_form, typed_form
from llmseq_cli.progress import Progress
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb


def read_sessions(con: duckdb.DuckDBPyConnection, path: str, progress: Progress) -> None:
    """Load a file's rows into the table staged_session_item(session_id, item_id, time, input_order).

    Raises LlmseqError if the file is not a table, or has no column for session or item.
    """
    import duckdb

    table = open_table(con, find_files([path])[0])
    hint = "name its columns session and item (and time)"
    columns = {
        "session_id": required_column(table, "user", {}, hint),
        "item_id": required_column(table, "item", {}, hint),
    }
    time = guess(table.columns, "time")
    if time:
        columns["time_value"] = time
    expression = "null::timestamp"
    try:
        typed = typed_form(table.type_of(time)) if time else None
        if typed:
            expression = typed.expression("time_value")
        elif time:
            with con.cursor() as cursor:
                sample = cursor.execute(f"select time_value::varchar from {table.scan(columns)} limit 1000").fetchall()
            form = guess_time_form([row[0] for row in sample if row[0]])
            expression = form.expression("time_value") if form else expression
        with progress.task(f"Reading {path}"):
            con.execute(query("ingest/read_sessions").format(time=expression, scan=table.scan(columns)))
            rejects = [*take_rejects(con), *table.torn]
            if table.needs_mending(_rows(con, table.scan(columns)), len(rejects)):
                table.mend()
                con.execute(query("ingest/read_sessions").format(time=expression, scan=table.scan(columns)))
                rejects = [*take_rejects(con), *table.torn]
        if rejects:
            shown = count(len(rejects), "row is", "rows are")
            progress.warn(f"{path}: {shown} left out, the first: {rejects[0].reason}")
    except duckdb.Error as error:
        raise unreadable(path, error) from error


def _rows(con: duckdb.DuckDBPyConnection, scan: str) -> int:
    with con.cursor() as cursor:
        return int(cursor.execute(f"select count(*) from {scan}").fetchall()[0][0])
