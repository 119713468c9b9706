"""Output: results to stdout, everything else to stderr; tables that fit, numbers that line up."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from llmseq_cli.printable import json_text, printable
from llmseq_cli.progress import SilentProgress, Task


class PlainConsole(Console):
    """A console that prints text literally: it interprets no markup and removes terminal control sequences."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """The reader of our output has gone; `app.run` handles that in one place."""
        raise BrokenPipeError

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


out = PlainConsole(soft_wrap=False)
err = PlainConsole(stderr=True)

_LEAST_WIDTH = 10
_LONGEST_ERROR = 1000
"""In characters. Longer messages repeat user input, and are shortened in the middle."""


def print_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    sys.stdout.write(json_text(document) + "\n")


def print_error(message: str, hint: str = "") -> None:
    """Print the two lines that every failure ends with."""
    if len(message) > _LONGEST_ERROR:
        message = f"{message[: _LONGEST_ERROR // 2]} … {message[-_LONGEST_ERROR // 2 :]}"
    err.print(Text(f"error: {message}", style="bold red"), soft_wrap=True)
    if hint:
        err.print(Text(f"hint: {hint}"), soft_wrap=True)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    title: str = "",
    marks: dict[tuple[int, int], str] | None = None,
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """Print a table to stdout; columns of numbers are right-aligned.

    marks: {(row, column): rich style} for single cells. right: other columns to right-align.
    whole: columns that are never wrapped. If columns would be narrower than a word, each row becomes a list of names
    and values.
    """
    if _too_narrow(columns, rows):
        for row in rows:
            print_facts([(name, value) for name, value in zip(columns, row, strict=True) if value != ""])
            out.print()
        return
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[place], (int, float, type(None))) for row in rows)
        numeric = numeric or name in right
        table.add_column(
            name, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric or name in whole
        )
    for number, row in enumerate(rows):
        cells = [Text(show(value), style=(marks or {}).get((number, place), "")) for place, value in enumerate(row)]
        table.add_row(*cells)
    out.print(table)


def _too_narrow(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bool:
    """Whether the terminal has no room for a word in every column."""
    widths = [
        max([cell_len(name), *(cell_len(show(row[place])) for row in rows)]) for place, name in enumerate(columns)
    ]
    return sum(min(width, _LEAST_WIDTH) + 2 for width in widths) - 2 > out.width


def print_facts(facts: Sequence[tuple[str, Any]], *, title: str = "") -> None:
    """Print one name and value per line."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(show(value)))
    out.print(table)


def show(value: Any) -> str:
    """A value formatted for people: 12,101, 0.0604, yes, –."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return printable(str(value))


class RichProgress:
    """Progress bars on stderr if it is a terminal, otherwise only permanent lines."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def message(self, text: str) -> None:
        if not self.quiet:
            err.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        err.print(Text(f"warning: {text}", style="yellow"), soft_wrap=True)

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        if self.quiet or not err.is_terminal:
            with SilentProgress().task(description) as silent:
                yield silent
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
        if total is None:
            columns += [TimeElapsedColumn()]
        elif unit == "B":
            columns += [BarColumn(bar_width=20), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
        else:
            columns += [
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn(unit),
                TextColumn("{task.fields[rate]}"),
            ]
            columns += [TimeRemainingColumn()]
        with Progress(*columns, console=err, transient=True) as bars:
            yield _Bar(bars, bars.add_task(description, total=total, rate=""))


class _Bar:
    def __init__(self, bars: Any, number: Any) -> None:
        self._bars = bars
        self._number = number

    def advance(self, amount: float = 1) -> None:
        self._bars.update(self._number, advance=amount)
        speed = self._bars.tasks[0].speed
        if speed:
            self._bars.update(self._number, rate=f"{speed:,.0f}/s" if speed >= 1 else f"{60 * speed:,.1f}/min")

    def describe(self, text: str) -> None:
        self._bars.update(self._number, description=text)
