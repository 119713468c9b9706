"""`sql`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmseq_cli.cli.common import Common, JsonOption, command
from llmseq_cli.cli.console import out, print_json, print_table


def register(app: typer.Typer) -> None:
    command(app, "sql")(sql)


def sql(
    common: Common,
    statement: Annotated[str | None, typer.Argument(help="The query.", metavar="SELECT…")] = None,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="Read the query from a file.", metavar="FILE")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Allow statements that change the workspace.")] = False,
    json: JsonOption = False,
) -> None:
    """Query the workspace with SQL; only reading, unless --write is said.

    The views datasets, items, interactions, splits, runs, metrics, recommendations, ranks, item_embeddings and
    rejected are there to be relied on; `llmseq sql "show tables"` lists all.

    Examples:

        llmseq sql "select run, value from metrics where metric = 'ndcg' and k = 20 order by value desc"

        llmseq sql -f my_leaderboard.sql --json
    """
    from llmseq_cli.errors import LlmseqError, UsageError

    if (statement is None) == (file is None):
        raise UsageError("give either a query or a file with one", 'for example llmseq sql "show tables"')
    if file is not None:
        try:
            statement = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LlmseqError(f"cannot read {file}: {error}", "give a text file with SQL") from error
    columns, rows = common.open().sql(statement or "", write=write)
    if json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif columns:
        print_table(columns, rows)
        out.print(f"{len(rows):,} rows" if len(rows) != 1 else "1 row")
