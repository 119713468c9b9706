"""The report as one HTML file that needs no network: sortable tables, details of every run, plots."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from llmseq_cli.errors import LlmseqError
from llmseq_cli.reporting.html_plots import draw_plots
from llmseq_cli.reporting.inspection import RunDetails, read_details
from llmseq_cli.reporting.names import is_metric
from llmseq_cli.reporting.report import Report
from llmseq_cli.reporting.table import NOTHING, Table

if TYPE_CHECKING:
    from jinja2 import Environment

    from llmseq_cli.store.connection import Store

_MOST_DETAILS = 2000


def write_html(report: Report) -> str:
    """One self-contained page, made by the templates next to this file, which escape all values."""
    tables = _tables(report)
    page = _templates().get_template("report.html")
    return page.render(
        report=report,
        tables=tables,
        details=_details(report.store, _runs(tables)),
        plots=draw_plots(report.store, dict.fromkeys(table.dataset for table in tables)),
    )


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("llmseq_cli.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["in_words"] = _in_words
    return templates


def _tables(report: Report) -> list[Table]:
    """The report's tables; metrics at the sorting cut-off come first, since wide tables scroll sideways."""
    tables = report.tables()
    if report.columns is not None or not is_metric(report.sort):
        return tables
    k = report.sort.partition("@")[2]

    def is_later(key: str) -> bool:
        return is_metric(key) and not key.endswith(f"@{k}")

    return [report.table(one.dataset, sorted((c.key for c in one.columns), key=is_later)) for one in tables]


def _runs(tables: list[Table]) -> list[str]:
    """The runs that a table names, whose details can be opened."""
    shown = [table for table in tables if any(column.key == "run" for column in table.columns)]
    return sorted({line.run for table in shown for line in table.lines if line.run})[:_MOST_DETAILS]


def _details(store: Store | None, runs: list[str]) -> dict[str, RunDetails]:
    if store is None or not runs:
        return {}
    found = {}
    with store.read("reading runs") as con:
        for run in runs:
            try:
                found[run] = read_details(con, store, run)
            except LlmseqError:  # a user's query may return anything as a run
                continue
    return found


def _in_words(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
