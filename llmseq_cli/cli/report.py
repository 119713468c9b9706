"""`report`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, command
from llmseq_cli.cli.leaderboard import print_leaderboard
from llmseq_cli.errors import UsageError

if TYPE_CHECKING:
    from llmseq_cli.reporting.report import Report

_FILE_WIDTH = 160


def register(app: typer.Typer) -> None:
    command(app, "report")(report)


def report(
    common: Common,
    dataset: DatasetOption = None,
    sort: Annotated[str, typer.Option("--sort", help="Column to sort by, for example hr@10.")] = "ndcg@20",
    models: Annotated[
        str | None, typer.Option("--models", help="Only these models or runs.", metavar="NAME,NAME…")
    ] = None,
    k: Annotated[str, typer.Option("--k", help="Cut-offs; any up to the depth that runs keep.")] = "10,20",
    format: Annotated[
        str, typer.Option("--format", help="table, json, csv, markdown or latex.", metavar="FORMAT")
    ] = "table",
    to: Annotated[Path | None, typer.Option("--out", help="Write to this file.", metavar="FILE")] = None,
    json: JsonOption = False,
) -> None:
    """The leaderboard: all runs with their metrics, the best first.

    Examples:

        llmseq report

        llmseq report --sort coverage@20 --models sknn,v-sknn --k 5,20 --json

        llmseq report --format latex --out table.tex
    """
    from llmseq_cli.cli.output import write_output
    from llmseq_cli.reporting.formats import check_format, write_report
    from llmseq_cli.reporting.leaderboard import parse_cutoffs

    cutoffs = parse_cutoffs(k)
    check_format(format)
    if json and format not in ("table", "json"):
        raise UsageError(f"--json and --format {format} contradict each other", "leave one of them out")
    if sort == "ndcg@20" and 20 not in cutoffs:
        sort = f"ndcg@{cutoffs[-1]}"
    made = common.open().leaderboard(dataset, sort=sort, models=models.split(",") if models else None, cutoffs=cutoffs)
    if json:
        format = "json"
    if format == "table":
        show(made, to)
    else:
        write_output(write_report(made, format), to)


def show(made: Report, to: Path | None) -> None:
    """The leaderboard in the terminal, or as it would look in a wide one in a file."""
    from llmseq_cli.cli.output import write_output

    if to is None:
        print_leaderboard(made, bare=False)
        return
    file = io.StringIO()
    print_leaderboard(made, console=Console(file=file, width=_FILE_WIDTH, highlight=False), bare=False)
    write_output(file.getvalue(), to)
