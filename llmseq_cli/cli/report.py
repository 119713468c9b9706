"""`report`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseq_cli.cli.common import (
    Common,
    DatasetOption,
    JsonOption,
    OutOption,
    ReportFormatOption,
    SafeCellsOption,
    TestOption,
    command,
    listed,
    safe_cells_for,
)
from llmseq_cli.cli.console import PlainConsole, out, print_json
from llmseq_cli.cli.leaderboard import print_leaderboard
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.files import check_output

if TYPE_CHECKING:
    from llmseq_cli.reporting.report import Report
    from llmseq_cli.workspace import Workspace

_FILE_WIDTH = 160
_NO_LIMIT = 10_000
_CUTOFFS = "10,20"
_DATA_FORMATS = ("json", "csv")


def register(app: typer.Typer) -> None:
    command(app, "report")(report)


def report(
    common: Common,
    baseline: Annotated[
        str | None,
        typer.Argument(help="With --significance: the run to compare with (default: the best).", metavar="RUN"),
    ] = None,
    dataset: DatasetOption = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="Column to sort by, for example hr@10.  [default: ndcg@20]")
    ] = None,
    models: Annotated[
        str | None, typer.Option("--models", help="Only these models or runs.", metavar="NAME,NAME…")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", help="Only rows that match this SQL condition on the columns.", metavar="CONDITION"),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", help="Columns to show: keys of --json, settings.NAME, differs.", metavar="NAME,…"),
    ] = None,
    k: Annotated[
        str,
        typer.Option(
            "--k", help="Cut-offs, up to the length of the stored lists; in narrow terminals a table for each."
        ),
    ] = _CUTOFFS,
    group: Annotated[
        bool | None,
        typer.Option(
            "--group/--no-group",
            help="One row for runs that differ only in their seed: mean ± standard deviation. On by default, "
            "except for JSON and CSV.",
            show_default=False,
        ),
    ] = None,
    segments: Annotated[
        bool,
        typer.Option("--segments", help="Add NDCG and HR by ground truth: warm, tail or cold (unseen in training)."),
    ] = False,
    paper: Annotated[bool, typer.Option("--paper", help="Add published results and the difference from them.")] = False,
    significance: Annotated[
        bool,
        typer.Option("--significance", help="Add 95 % intervals; mark ▲ ▼ for significantly better or worse than RUN."),
    ] = False,
    test: TestOption = "t",
    prompting: Annotated[
        bool,
        typer.Option("--prompting", help="Runs of `llmseq prompt`, as in the paper's Table 7."),
    ] = False,
    tuning: Annotated[
        bool,
        typer.Option("--tuning", help="Studies of `llmseq tune`: best trials, settings that mattered."),
    ] = False,
    sql: Annotated[
        Path | None, typer.Option("--sql", help="Show the result of the query in this file.", metavar="FILE")
    ] = None,
    show_sql: Annotated[bool, typer.Option("--show-sql", help="Print a query to start from for --sql.")] = False,
    format: ReportFormatOption = "table",
    to: OutOption = None,
    safe_cells: SafeCellsOption = None,
    json: JsonOption = False,
) -> None:
    """Show the leaderboard: all runs with their metrics, best first.

    One table per dataset; the best value of a metric is bold, the second best underlined. A run that scored only some
    of the sessions is marked * and left out of comparisons. Significance tests compare NDCG, HR, MRR and serendipity
    session by session, with Holm's correction over all comparisons of a table.

    Examples:

        llmseq report --sort coverage@20 --models sknn,v-sknn --k 5,20

        llmseq report --significance sasrec-7 --paper

        llmseq report --where "ndcg@20 > 0.05 and settings.k < 200"

        llmseq report --segments --sort cold_ndcg@20

        llmseq report --format html --out report.html
    """
    from llmseq_cli.cli.output import write_output
    from llmseq_cli.reporting.formats import check_format, write_report
    from llmseq_cli.reporting.leaderboard import parse_columns, parse_cutoffs
    from llmseq_cli.reporting.options import ReportOptions
    from llmseq_cli.store.queries import query

    cutoffs = parse_cutoffs(k)
    check_format(format)
    check_output(to)
    if json and format not in ("table", "json"):
        raise UsageError(f"--json and --format {format} contradict each other", "leave one of them out")
    if baseline and not significance:
        raise UsageError(
            f"'{baseline}' is given without --significance", f"llmseq report --significance {baseline}, or --models"
        )
    format = "json" if json else format
    safe = safe_cells_for(format, safe_cells)
    shaping = {
        "--segments": segments,
        "--where": where,
        "--columns": columns,
        "--models": models,
        "--significance": significance,
    }
    _check_alone("--sql", sql, shaping | {"--prompting": prompting, "--paper": paper, "--dataset": dataset})
    _check_alone("--prompting", prompting, shaping)
    _check_alone("--tuning", tuning, shaping | {"--prompting": prompting, "--paper": paper, "--sql": sql, "--out": to})
    if show_sql:
        write_output(query("report/own_leaderboard"), to)
        return
    workspace = common.open()
    if tuning:
        _show_studies(workspace, dataset, format)
        return
    if sql is not None:
        made = workspace.own_leaderboard(_text_of(sql))
    elif prompting:
        made = workspace.prompting_report(dataset, paper=paper)
    else:
        options = ReportOptions(
            sort=f"ndcg@{cutoffs[-1]}" if sort is None and 20 not in cutoffs else sort,
            models=[*listed(models)] or None,
            cutoffs=cutoffs,
            where=where,
            columns=parse_columns(columns),
            group=format not in _DATA_FORMATS if group is None else group,
            paper=paper,
            significance=significance,
            baseline=baseline,
            test=test,
            segments=segments,
        )
        made = workspace.leaderboard(dataset, options)
    if format == "table":
        show(made, to, every_cutoff=k != _CUTOFFS)
    else:
        write_output(write_report(made, format, safe_cells=safe), to)


def _show_studies(workspace: Workspace, dataset: str | None, format: str) -> None:
    from llmseq_cli.cli.tune import print_study

    if format not in ("table", "json"):
        raise UsageError(
            f"studies are not written as {format}",
            "`llmseq sql --write \"copy (from trials) to 'trials.csv'\"` writes all trials",
        )
    studies = [one for one in workspace.studies() if dataset in (None, one["dataset"])]
    if format == "json":
        print_json(studies)
        return
    if not studies:
        raise LlmseqError("no model has been tuned yet", "run `llmseq tune MODEL` first")
    for one in studies:
        print_study(one)
        out.print()


def _check_alone(option: str, given: Any, others: dict[str, Any]) -> None:
    """Reject options that would have no effect."""
    for other, value in others.items():
        if given and value:
            raise UsageError(f"{option} and {other} do not go together", "leave one of them out")


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise LlmseqError(
            f"cannot read {file}: {said}", "`llmseq report --show-sql` prints a query to start from"
        ) from error


def show(made: Report, to: Path | None, *, every_cutoff: bool = False) -> None:
    """Print the leaderboard, or write it to a file as a wide terminal would show it; see `print_leaderboard`."""
    from llmseq_cli.cli.output import write_output

    if to is None:
        print_leaderboard(made, bare=False, every_cutoff=every_cutoff)
        return
    file = io.StringIO()
    # A file has all columns that the user chose on one line.
    width = _FILE_WIDTH if made.columns is None else _NO_LIMIT
    print_leaderboard(made, console=PlainConsole(file=file, width=width), bare=False, every_cutoff=every_cutoff)
    write_output(file.getvalue(), to)
