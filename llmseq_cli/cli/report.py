"""`report`."""

from __future__ import annotations

from typing import Annotated

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, command
from llmseq_cli.cli.console import print_json
from llmseq_cli.cli.leaderboard import print_leaderboard


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
    json: JsonOption = False,
) -> None:
    """The leaderboard: all runs with their metrics, the best first.

    Examples:

        llmseq report

        llmseq report --sort coverage@20 --models sknn,v-sknn --k 5,20 --json
    """
    from llmseq_cli.reporting.leaderboard import parse_cutoffs

    cutoffs = parse_cutoffs(k)
    if sort == "ndcg@20" and 20 not in cutoffs:
        sort = f"ndcg@{cutoffs[-1]}"
    rows = common.open().report(dataset, sort=sort, models=models.split(",") if models else None, cutoffs=cutoffs)
    if json:
        print_json(rows)
    else:
        print_leaderboard(rows, sort=sort)
