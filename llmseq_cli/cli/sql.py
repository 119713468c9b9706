"""`sql`."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from llmseq_cli.cli.common import Common, JsonOption, command
from llmseq_cli.cli.console import err, out, print_json, print_table

_ON_SCREEN = 1000
"""Rows to show in a terminal; for more, write a file."""


def register(app: typer.Typer) -> None:
    command(app, "sql")(sql)


def sql(
    common: Common,
    statement: Annotated[str | None, typer.Argument(help="The query.", metavar="SELECT…")] = None,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="Read the query from a file.", metavar="FILE")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Allow changes to tables, and files that the query names.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Query the workspace with SQL.

    A query can read the tables and views of this workspace and nothing else: no files, no network, no settings. With
    --write it can also change tables, and read and write CSV, JSON, Parquet and DuckDB files on this machine whose
    names it contains as plain text, except the workspace's own files.

    You can rely on the views datasets, items, interactions, splits, runs, metrics, recommendations, ranks,
    item_embeddings and rejected. `llmseq sql "show tables"` lists all.

    Examples:

        llmseq sql "select run, value from metrics where metric = 'ndcg' and k = 20 order by value desc"

        llmseq sql -f my_leaderboard.sql --json

        llmseq sql --write "copy (select * from runs) to 'runs.csv'"
    """
    from llmseq_cli.errors import LlmseqError, UsageError

    if (statement is None) == (file is None):
        raise UsageError("give either a query or a file with one", 'for example llmseq sql "show tables"')
    if file is not None:
        try:
            statement = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LlmseqError(f"cannot read {file}: {error}", "give a text file with SQL") from error
    most = _ON_SCREEN if out.is_terminal and not json else None
    columns, rows = common.open().sql(statement or "", write=write, most=None if most is None else most + 1)
    if json:
        names = _one_of_each(columns)
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif columns:
        print_table(columns, [[_exact(value) for value in row] for row in rows[:most]])
        if most is not None and len(rows) > most:
            err.print(f"the first {most:,} rows; pipes, files and --json get all")
        else:
            out.print(f"{len(rows):,} rows" if len(rows) != 1 else "1 row")


def _one_of_each(columns: list[str]) -> list[str]:
    """Unique names for columns: the second column called x becomes x_1."""
    names: list[str] = []
    for column in columns:
        later = (f"{column}_{number}" for number in count(1))
        names.append(column if column not in names else next(name for name in later if name not in {*names, *columns}))
    return names


def _exact(value: object) -> object:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else value
