"""Output formats of a report. A new format is one function and one line in WRITERS."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.printable import json_text, safe_cell
from llmseq_cli.reporting.html import write_html
from llmseq_cli.reporting.names import PAPER_NAMES
from llmseq_cli.reporting.report import Report
from llmseq_cli.reporting.table import Cell, Line, Table, digits


def write_json(report: Report) -> str:
    """A list, one object per run or group of seeds."""
    return json_text(report.rows) + "\n"


def write_csv(report: Report, *, safe_cells: bool = True) -> str:
    """One row per run or group of seeds, with all columns; nested values (settings, spread) are JSON in a cell.

    safe_cells: put a ' before text that a spreadsheet would run as a formula. With several datasets, every row names
    its dataset, even if not requested, because results on different datasets are not comparable.
    """
    keys = list(report.columns or dict.fromkeys(key for row in report.rows for key in row))
    if not keys:
        return ""
    if "dataset" not in keys and len({row["dataset"] for row in report.rows}) > 1:
        keys.insert(0, "dataset")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for cells in (keys, *([_plain(row.get(key)) for key in keys] for row in report.rows)):
        writer.writerow([safe_cell(cell) for cell in cells] if safe_cells else cells)
    return file.getvalue()


def write_markdown(report: Report) -> str:
    """One GitHub table per dataset; best bold, second underlined."""
    return "\n".join(_markdown(table) for table in report.tables())


def write_latex(report: Report) -> str:
    """One booktabs table per dataset with three digits, like the paper's Tables 4 to 6: models, not runs."""
    tables = report.tables()
    if report.columns is None and report.layouts is None:
        tables = [report.table(one.dataset, [c.key for c in one.columns if c.key != "run"]) for one in tables]
    return "\n".join(_latex(table) for table in tables)


WRITERS: dict[str, Callable[[Report], str]] = {
    "json": write_json,
    "csv": write_csv,
    "markdown": write_markdown,
    "latex": write_latex,
    "html": write_html,
}
"""Functions from a report to the text of the file, by value of --format."""

FORMATS = ("table", *WRITERS)
""""table" is the terminal's output, which the command itself writes."""


def write_report(report: Report, name: str, *, safe_cells: bool = True) -> str:
    """Write the report in a format of WRITERS; safe_cells as in `write_csv`. Raises UsageError for an unknown
    format."""
    check_format(name)
    if name == "csv":
        return write_csv(report, safe_cells=safe_cells)
    return WRITERS[name](report)


def check_format(name: str) -> None:
    """Raises UsageError for an unknown format."""
    if name not in FORMATS:
        raise UsageError(f"there is no format '{name}'", did_you_mean(name, list(FORMATS)))


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (dict, list)) else value


def _markdown(table: Table) -> str:
    def cell(one: Cell) -> str:
        text = one.text.replace("|", "\\|") + {"+": " ▲", "-": " ▼"}.get(one.sign, "")
        return {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(one.mark, text)

    def row(texts: list[str]) -> str:
        return f"| {' | '.join(texts)} |"

    lines = [f"**{table.title}**", "", row([column.heading for column in table.columns])]
    lines.append(row([":---" if column.kind == "text" else "---:" for column in table.columns]))
    for line in table.lines:
        lines.append(row([cell(one) for one in line.cells]))
        for beneath in line.beneath:
            texts = [beneath.texts.get(column.key, "") for column in table.columns]
            lines.append(row([f"*{beneath.name}*", *texts[1:]]))
    lines += ["", *[f"{note}  " for note in table.notes]]
    return "\n".join(lines) + "\n"


_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "·": r"$\cdot$", "–": "--", "…": r"\ldots{}",
    "▲": "$^{+}$", "▼": "$^{-}$",
}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def _latex(table: Table) -> str:
    r"""Columns are grouped by cut-off under Top@k, as in the paper; needs \usepackage{booktabs}."""
    kinds = "".join(
        "p{4cm}" if column.key == "differs" else "l" if column.kind == "text" else "r" for column in table.columns
    )
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{_escaped(table.title)}}}",
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        *_cutoff_head(table),
        " & ".join(_escaped(_paper_heading(column.key, column.heading)) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for line in table.lines:
        lines.append(" & ".join(_latex_cells(table, line)) + r" \\")
        for beneath in line.beneath:
            texts = [_escaped(beneath.texts.get(column.key, "")) for column in table.columns]
            texts[0] = rf"\quad {_escaped(beneath.name)}"
            lines.append(r"\footnotesize " + r" & \footnotesize ".join(texts) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\small {_escaped(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_cells(table: Table, line: Line) -> list[str]:
    texts = []
    for column, cell in zip(table.columns, line.cells, strict=True):
        text = digits(column.key, cell.value, 3) if column.kind == "metric" else cell.text
        if column.key == "label" and line.published:
            text += " (paper)"
        text = _escaped(text) + {"+": r"$^{+}$", "-": r"$^{-}$"}.get(cell.sign, "")
        texts.append({"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(cell.mark, text))
    return texts


def _paper_heading(key: str, otherwise: str) -> str:
    return PAPER_NAMES.get(key.partition("@")[0], otherwise) if "@" in key else otherwise


def _cutoff_head(table: Table) -> list[str]:
    """The header line with Top@k above the metrics, with a rule below each."""
    spans: list[tuple[str, int, int]] = []
    for place, column in enumerate(table.columns, 1):
        k = column.key.partition("@")[2] if column.kind == "metric" else ""
        if spans and spans[-1][0] == k:
            spans[-1] = (k, spans[-1][1], place)
        else:
            spans.append((k, place, place))
    cells = [rf"\multicolumn{{{last - first + 1}}}{{c}}{{{f'Top@{k}' if k else ''}}}" for k, first, last in spans]
    rules = [rf"\cmidrule(lr){{{first}-{last}}}" for k, first, last in spans if k]
    return [" & ".join(cells) + r" \\", "".join(rules)] if rules else []
