"""Print a leaderboard in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from llmseq_cli.cli.console import out, print_table
from llmseq_cli.reporting.names import is_metric

if TYPE_CHECKING:
    from llmseq_cli.reporting.report import Report
    from llmseq_cli.reporting.table import Cell, Column, Line, Table

_GAP = 2
_TIMES = ("train_seconds", "score_seconds")
_STYLES = {"best": "bold", "second": "underline"}
_SIGNS = {"+": "▲", "-": "▼"}
_NARROW = "number"
"""First column of the layouts that wrap a long name rather than leave out a metric."""


def print_leaderboard(
    report: Report | list[dict[str, Any]],
    *,
    console: Console | None = None,
    bare: bool = True,
    every_cutoff: bool = False,
) -> None:
    """Print one line per run or group of seeds, one table per dataset; the best of a metric is bold, the second
    underlined.

    Narrow terminals get the metrics at one cut-off (that of the sorting metric, otherwise the last) and run numbers
    instead of names. bare: leave out the dataset's name and protocol if there is only one dataset. every_cutoff: print
    a table for each cut-off if one with all does not fit.
    """
    from llmseq_cli.reporting.report import Report

    console = console or out
    made = Report(report, sort="") if isinstance(report, list) else report
    if not made.rows:
        console.print(made.nothing)
        return
    datasets = list(dict.fromkeys(row["dataset"] for row in made.rows))
    for number, dataset in enumerate(datasets):
        if number:
            console.print()
        _print_one(made, dataset, console, bare and len(datasets) == 1, every_cutoff)


def print_spread(rows: list[dict[str, Any]]) -> None:
    """Print mean and standard deviation over the seeds of one model; nothing for a single run."""
    from statistics import mean, stdev

    from llmseq_cli.reporting.names import heading

    if len(rows) < 2:
        return
    last = [key for key in rows[0] if is_metric(key)][-1].partition("@")[2]
    averages = []
    for key in (f"ndcg@{last}", f"hr@{last}", f"mrr@{last}"):
        values = [row[key] for row in rows]
        averages.append(f"{heading(key)} {mean(values):.4f} ± {stdev(values):.4f}")
    out.print(f"mean ± standard deviation over {len(rows)} seeds: {', '.join(averages)}", highlight=False)


def _print_one(report: Report, dataset: str, console: Console, bare: bool, every_cutoff: bool) -> None:
    layouts, cutoffs = _layouts(report), _cutoffs(report)
    parts = [_fitting(report, dataset, console, layouts)]
    shown = {column.key for column in parts[0].table.columns}
    if every_cutoff and layouts is not report.layouts and report.columns is None and not shown >= {*report.metrics()}:
        parts = [_fitting(report, dataset, console, _layouts_at(report, k)[1:]) for k in cutoffs]
    table = parts[0].table
    if dataset and not bare:
        console.print(Text(dataset, style="bold"), overflow="fold")
    for number, lines in enumerate(parts):
        if number:
            console.print()
        if lines.width <= console.width:
            lines.print(console, report.differences(dataset))
        else:
            _print_folded(lines)
    for note in ([] if bare or not table.protocol else [table.protocol]) + list(table.notes):
        console.print(Text(note, style="dim"))


def _fitting(report: Report, dataset: str, console: Console, layouts: list[list[str]]) -> _Lines:
    """The table in the first layout that fits the terminal, else in the last."""
    for keys in layouts:
        lines = _Lines(
            report.table(dataset, keys), below=report.columns is None and not {"differs", "model"} & set(keys)
        )
        if lines.width <= console.width or (keys[0] == _NARROW and lines.fold_names(console.width)):
            break
    return lines


def _print_folded(lines: _Lines) -> None:
    """Print a table that is wider than the terminal: text is wrapped, numbers are not."""
    columns = lines.table.columns
    rows: list[list[str]] = []
    marks: dict[tuple[int, int], str] = {}
    for line in lines.table.lines:
        marks |= {(len(rows), place): _STYLES[cell.mark] for place, cell in enumerate(line.cells) if cell.mark}
        rows.append([" ".join(filter(None, (cell.text, _SIGNS.get(cell.sign)))) for cell in line.cells])
        for beneath in line.beneath:
            marks |= {(len(rows), place): "dim" for place in range(len(columns))}
            rows.append([beneath.texts.get(column.key, "") for column in columns])
            rows[-1][lines.named] = beneath.name
    headings = [column.heading for column in columns]
    print_table(headings, rows, marks=marks, right=[column.heading for column in columns if column.kind != "text"])


def _layouts(report: Report) -> list[list[str]]:
    """Column layouts, from wide to narrow terminals."""
    if report.columns is not None:
        return [list(report.columns), ["number" if key == "run" else key for key in report.columns]]
    if report.layouts is not None:
        return report.layouts
    metrics = report.metrics()
    k = (report.sort if report.sort in metrics else metrics[-1]).partition("@")[2]
    first = ["run", "label"]
    return [
        [*first, "differs", *metrics, *_TIMES],
        [*first, "differs", *metrics],
        [*first, *metrics],
        *_layouts_at(report, k),
    ]


def _layouts_at(report: Report, k: str) -> list[list[str]]:
    """Column layouts with the metrics at one cut-off, from wide to narrow terminals."""
    few = [key for key in report.metrics() if key.endswith(f"@{k}")]
    first = ["run", "label"]
    return [
        [*first, "differs", *few, *_TIMES],
        [*first, "differs", *few],
        [*first, *few],
        ["number", "label", *few],
        ["number", "label", *few[:3]],
    ]


def _cutoffs(report: Report) -> list[str]:
    return list(dict.fromkeys(key.partition("@")[2] for key in report.metrics()))


class _Lines:
    """A table as lines of text; columns that do not fit are printed below their run.

    below: print the settings that differ between runs of one model below the run, not in a column.
    """

    def __init__(self, table: Table, *, below: bool) -> None:
        self.table, self.below = table, below
        self.signed = [any(line.cells[place].sign for line in table.lines) for place in range(len(table.columns))]
        words = [place for place, column in enumerate(table.columns) if column.kind == "text"]
        self.named = words[1] if len(words) > 1 else 0
        self.widths = [self._width_of(place, column) for place, column in enumerate(table.columns)]
        self.keep = [
            place for place, column in enumerate(table.columns) if self.widths[place] or column.key != "differs"
        ]
        self.width = sum(self.widths[place] + _GAP for place in self.keep) - _GAP

    def print(self, console: Console, differences: Sequence[str]) -> None:
        heads = [column.heading for column in self.table.columns]
        console.print(
            self._line([self._head(place, head) for place, head in enumerate(heads)]), no_wrap=True, overflow="crop"
        )
        for line, differs in zip(self.table.lines, differences, strict=True):
            style = "dim" if line.published else ""
            cells = [self._text(place, cell, style) for place, cell in enumerate(line.cells)]
            for number, name in enumerate(self._folded(console, cells[self.named])):
                row = cells if not number else [Text()] * len(cells)
                row[self.named] = name
                console.print(self._line(row), no_wrap=True, overflow="crop")
            if self.below and differs:
                self._print_below(console, differs)
            self._print_beneath(console, line)

    def fold_names(self, room: int) -> bool:
        """Narrow the column of names, which then wrap, so that lines fit; False if a single word does not fit."""
        names = [line.cells[self.named].text.split() for line in self.table.lines]
        names += [[beneath.name] for line in self.table.lines for beneath in line.beneath]
        width = self.widths[self.named] - (self.width - room)
        if width < max(cell_len(word) for name in names for word in name):
            return False
        self.widths[self.named], self.width = width, room
        return True

    def _folded(self, console: Console, name: Text) -> list[Text]:
        """A name wrapped to its column; a star is never alone on a line."""
        width = self.widths[self.named]
        lines = list(name.wrap(console, width))
        if len(lines) > 1 and lines[-1].plain == "*" and max(map(cell_len, name.plain.split())) <= width - 2:
            lines = list(name.wrap(console, width - 2))
        for line in lines:
            line.rstrip()
        return lines

    def _width_of(self, place: int, column: Column) -> int:
        texts = [line.cells[place].text for line in self.table.lines]
        if column.key == "differs" and not any(texts):
            return 0
        texts += [beneath.texts.get(column.key, "") for line in self.table.lines for beneath in line.beneath]
        if place == self.named:
            texts += [beneath.name for line in self.table.lines for beneath in line.beneath]
        return max(cell_len(text) for text in [column.heading, *texts]) + (2 if self.signed[place] else 0)

    def _text(self, place: int, cell: Cell, style: str) -> Text:
        text = Text(cell.text, style=_STYLES.get(cell.mark, style))
        if self.signed[place]:
            text.append(f" {_SIGNS.get(cell.sign, ' ')}", style="not underline")
        return text

    def _head(self, place: int, name: str) -> Text:
        return Text.assemble((name, "bold"), "  " if self.signed[place] else "")

    def _line(self, cells: list[Text]) -> Text:
        parts = []
        for place in self.keep:
            room = self.widths[place] - cells[place].cell_len
            left = self.table.columns[place].kind == "text"
            spaces = Text(" " * room)
            parts.append(Text.assemble(cells[place], spaces) if left else Text.assemble(spaces, cells[place]))
        line = Text(" " * _GAP).join(parts)
        line.rstrip()
        return line

    def _indent(self) -> int:
        """The start of the second column, which is the indent of lines below a run."""
        return self.widths[self.keep[0]] + _GAP

    def _print_below(self, console: Console, text: str) -> None:
        room = max(20, console.width - self._indent())
        for part in Text(text, style="dim").wrap(console, room, overflow="fold"):
            part.rstrip()
            console.print(Text.assemble(" " * self._indent(), part), no_wrap=True, overflow="crop")

    def _print_beneath(self, console: Console, line: Line) -> None:
        for beneath in line.beneath:
            cells = [Text(beneath.texts.get(column.key, ""), style="dim") for column in self.table.columns]
            cells[self.named] = Text(beneath.name, style="dim")
            for place, signed in enumerate(self.signed):
                if signed and cells[place]:
                    cells[place].append("  ")
            console.print(self._line(cells), no_wrap=True, overflow="crop")
