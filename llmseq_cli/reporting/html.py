"""The report as one HTML file that needs no network: tables to sort and filter, every run in full, plots."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from llmseq_cli.errors import LlmseqError
from llmseq_cli.reporting.inspection import RunDetails, read_details
from llmseq_cli.reporting.names import is_metric
from llmseq_cli.reporting.report import Report
from llmseq_cli.reporting.table import Beneath, Cell, Column, Line, Table

if TYPE_CHECKING:
    from llmseq_cli.store.connection import Store

_PLOTS = ("hits-by-popularity", "hits-by-length", "coverage", "time", "popularity", "lengths", "training")
_MOST_DETAILS = 2000
_SIGNS = {"+": " ▲", "-": " ▼"}
_INKS = {"stroke: #ffffff": "stroke: var(--back)", "fill: #ffffff": "fill: none", "#000000": "currentColor"}
_INKS["#dddddd"] = "var(--line)"
"""The colours of a drawing that go with those of the page, light or dark."""


def write_html(report: Report) -> str:
    """One self-contained page; everything that comes from the workspace is escaped."""
    tables = _tables(report)
    runs = sorted({run for table in tables for line in table.lines if (run := _run_of(table, line))})
    details = _details(report.store, runs[:_MOST_DETAILS])
    known = {one.run for one in details}
    return _template().substitute(
        tables="\n".join(_table(table, known, report.sort) for table in tables) or f"<p>{_text(report.nothing)}</p>",
        plots="\n".join(_plots(report.store, [table.dataset for table in tables])),
        runs="\n".join(_dialog(one) for one in details),
    )


def _tables(report: Report) -> list[Table]:
    """The report's tables, in front the metrics at the cut-off that sorts them: wide tables are seen from the left."""
    tables = report.tables()
    if report.columns is not None or not is_metric(report.sort):
        return tables
    k = report.sort.partition("@")[2]

    def is_later(key: str) -> bool:
        return is_metric(key) and not key.endswith(f"@{k}")

    return [report.table(one.dataset, sorted((c.key for c in one.columns), key=is_later)) for one in tables]


@cache
def _template() -> Template:
    return Template((resources.files(__package__) / "report.html").read_text(encoding="utf-8"))


def _text(value: Any) -> str:
    return html.escape(str(value))


def _run_of(table: Table, line: Line) -> str | None:
    """The run (of several seeds the first) that a line tells of."""
    if line.published:
        return None
    for column, cell in zip(table.columns, line.cells, strict=True):
        if column.key == "run":
            return re.split("[…+]", cell.text)[0]
    return None


def _table(table: Table, known: set[str], sort: str) -> str:
    heads = "".join(_head(column, sort) for column in table.columns)
    lines = "".join(_line(table, line, known) for line in table.lines)
    notes = "".join(f"<p>{_text(note)}</p>" for note in (table.protocol, *table.notes) if note)
    return (
        f'<section><h2>{_text(table.dataset)}</h2><div class="scroll"><table class="board"><thead><tr>{heads}</tr>'
        f'</thead>{lines}</table></div><div class="notes">{notes}</div></section>'
    )


def _head(column: Column, sort: str) -> str:
    order = ' aria-sort="descending"' if column.key == sort and is_metric(sort) else ""
    return f'<th scope="col" class="{column.kind}"{order}><button type="button">{_text(column.heading)}</button></th>'


def _line(table: Table, line: Line, known: set[str]) -> str:
    """A line and what stands beneath it are one tbody: sorted and filtered together."""
    run = _run_of(table, line)
    cells = "".join(
        _cell(column, cell, run if run in known else None)
        for column, cell in zip(table.columns, line.cells, strict=True)
    )
    beneath = "".join(_beneath(table.columns, one) for one in line.beneath)
    kind = "published" if line.published else "partial" if line.partial else "own"
    return f'<tbody class="{kind}"><tr>{cells}</tr>{beneath}</tbody>'


def _cell(column: Column, cell: Cell, run: str | None) -> str:
    text = _text(cell.text + _SIGNS.get(cell.sign, ""))
    if column.key == "run" and run:
        text = f'<button type="button" class="open" data-run="{_text(run)}">{text}</button>'
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    if column.key == "differs":
        text = f'<span class="wide">{text}</span>'
    return f'<td class="{column.kind} {cell.mark}"{value}>{text}</td>'


def _beneath(columns: Iterable[Column], one: Beneath) -> str:
    first, *others = columns
    cells = "".join(f'<td class="{column.kind}">{_text(one.texts.get(column.key, ""))}</td>' for column in others)
    return f'<tr class="beneath"><td class="{first.kind}">{_text(one.name)}</td>{cells}</tr>'


def _details(store: Store | None, runs: list[str]) -> list[RunDetails]:
    if store is None or not runs:
        return []
    found = []
    with store.read("reading runs") as con:
        for run in runs:
            try:
                found.append(read_details(con, store, run))
            except LlmseqError:  # a table of the user's own may call anything a run
                continue
    return found


def _dialog(one: RunDetails) -> str:
    facts = {
        "dataset": f"{one.dataset}, {one.sessions:,} sessions scored, lists of {one.depth}",
        "made": f"{one.started_at:%Y-%m-%d %H:%M} UTC",
        "seed": one.seed,
    }
    parts = [("run", facts), ("settings", one.settings), ("embeddings", one.embeddings or {}), ("figures", one.figures)]
    parts += [
        ("metrics", {name: f"{value:.4f}" for name, value in one.metrics.items()}),
        ("environment", one.environment),
    ]
    body = "".join(f"<h3>{_text(name)}</h3>{_facts(values)}" for name, values in parts if values)
    history = _history(one.history)
    return (
        f'<dialog id="run-{_text(one.run)}" aria-label="{_text(one.run)}">'
        '<form method="dialog"><button>Close</button></form>'
        f"<h2>{_text(one.run)} <small>{_text(one.label)}</small></h2>{body}{history}</dialog>"
    )


def _facts(values: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{_text(name)}</th><td>{_value(value)}</td></tr>" for name, value in values.items()
    )
    return f"<table class='facts'>{rows}</table>"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return _text(", ".join(f"{name} {inner}" for name, inner in value.items()))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _text(f"{value:,.6g}" if isinstance(value, float) else value)


def _history(history: list[dict[str, Any]]) -> str:
    if not history:
        return ""
    names = list(history[0])
    heads = "".join(f"<th scope='col'>{_text(name)}</th>" for name in names)
    rows = "".join(
        "<tr>" + "".join(f"<td class='number'>{_value(one.get(name))}</td>" for name in names) + "</tr>"
        for one in history
    )
    return f"<h3>training</h3><table class='facts'><thead><tr>{heads}</tr></thead>{rows}</table>"


def _plots(store: Store | None, datasets: list[str]) -> list[str]:
    """What can be drawn of every dataset; a line that says why where nothing can."""
    if store is None or not datasets:
        return []
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return ["<p>Plots are left out: they need <code>pip install 'llmseq[plots]'</code>.</p>"]
    made = []
    for dataset in dict.fromkeys(datasets):
        drawn = [svg for kind in _PLOTS if (svg := _plot(store, dataset, kind))]
        made += [f"<h2>{_text(dataset)} in plots</h2>", *drawn] if drawn else []
    return made


def _plot(store: Store, dataset: str, kind: str) -> str:
    from llmseq_cli.progress import SilentProgress
    from llmseq_cli.reporting.make_figure import FigureWishes, make_figure
    from llmseq_cli.reporting.plots import draw

    def load(run: Any) -> Any:
        raise LlmseqError("nothing is scored for a report")

    try:
        figure = make_figure(store, kind, FigureWishes(dataset=dataset), load, SilentProgress())
    except LlmseqError:
        return ""  # no run has a curve, or lists are too short: a report without this plot
    svg = draw([figure], ".svg", words=False).decode("utf-8")
    # Names of parts are those of one file: several drawings in one page must not share them.
    own = re.sub(r"[^a-z0-9]+", "-", f"{dataset}-{kind}".lower())
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", svg[svg.index("<svg") :])
    for ink, of_page in _INKS.items():
        svg = svg.replace(ink, of_page)
    return f"<figure>{svg}<figcaption><b>{_text(figure.title)}.</b> {_text(figure.caption)}</figcaption></figure>"
