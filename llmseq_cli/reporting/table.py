"""The leaderboard as text tables: one per dataset, with the best and second best of every metric marked.

All outputs except JSON and CSV are made from these; `formats` and the command line decide how they look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmseq_cli.reporting.memory_marks import MARK
from llmseq_cli.reporting.names import heading, is_metric

_STARRED = ("label", "task", "run", "number", "model")
"""The column with the marks * (the run scored only some sessions) and † (its model recites the dataset): the first of
these that a table has."""

NOTHING = "–"
"""Shown if a run has no value."""


@dataclass(frozen=True)
class Column:
    """key: as in the rows of the leaderboard, for example "ndcg@20". kind: text, metric or number."""

    key: str
    heading: str
    kind: str


@dataclass(frozen=True)
class Cell:
    """text: as printed. value: the number itself, None for text. mark: best, second or empty.

    sign: "+" for significantly better than the baseline, "-" for worse, otherwise empty.
    """

    text: str
    value: float | None = None
    mark: str = ""
    sign: str = ""


@dataclass(frozen=True)
class Beneath:
    """Values that belong to the line above: a spread, an interval, published results.

    texts: by column key.
    """

    name: str
    texts: dict[str, str]


@dataclass(frozen=True)
class Line:
    """cells: one per column. beneath: further results. run: its name, for a group of seeds the first one's; "" for
    none.

    published: the paper's, not a run's. partial: the run was scored on fewer sessions than the dataset has, so it is
    left out of comparisons.
    """

    cells: tuple[Cell, ...]
    beneath: tuple[Beneath, ...] = ()
    run: str = ""
    published: bool = False
    partial: bool = False


@dataclass(frozen=True)
class Table:
    """protocol: how the dataset's sessions were split and ordered. notes: what readers must know."""

    dataset: str
    protocol: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        return f"{self.dataset} · {self.protocol}" if self.protocol else self.dataset


def printed_places(value: float | None) -> int:
    """Decimals of a published figure: three in the paper's tables, four in leave-one-out tables."""
    return 3 if value is None or round(value, 3) == value else 4


def digits(key: str, value: float | None, places: int = 4) -> str:
    """A metric as printed; novelty, which is above 1, gets one digit less."""
    if value is None:
        return NOTHING
    return f"{value:.{places - 1 if key.startswith('novelty') and places > 3 else places}f}"


def make_columns(keys: Sequence[str], rows: Sequence[dict[str, Any]]) -> tuple[Column, ...]:
    """Columns with these keys; their kind follows from the rows' values."""

    def kind(key: str) -> str:
        if is_metric(key):
            return "metric"
        values = [value_of(row, key) for row in rows]
        numeric = all(
            isinstance(value, (int, float)) and not isinstance(value, bool) for value in values if value is not None
        )
        return "number" if numeric and any(value is not None for value in values) else "text"

    return tuple(Column(key, heading(key), kind(key)) for key in keys)


def value_of(row: dict[str, Any], key: str) -> Any:
    """The value of a column; settings.k means the run's setting k."""
    group, dot, name = key.partition(".")
    if dot and key not in row:
        inner = row.get(group)
        return inner.get(name) if isinstance(inner, dict) else None
    return row.get(key)


def make_lines(
    rows: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    beneath: Callable[[dict[str, Any]], tuple[Beneath, ...]] | None = None,
) -> tuple[Line, ...]:
    """One line per row; marks compare runs that scored all sessions of the dataset."""
    marks = _marks(rows, [column.key for column in columns if column.kind == "metric"])
    keys = [column.key for column in columns]
    starred = next((key for key in _STARRED if key in keys), keys[0])
    return tuple(
        Line(
            cells=tuple(_cell(row, column, marks, starred) for column in columns),
            beneath=beneath(row) if beneath else (),
            run=_run_of(row),
            published=is_published(row),
            partial=is_partial(row),
        )
        for row in rows
    )


def _run_of(row: dict[str, Any]) -> str:
    if is_published(row):
        return ""
    return str((row.get("runs") or [row.get("run") or ""])[0])


def is_published(row: dict[str, Any]) -> bool:
    """Whether a row has only published results, without a run."""
    return bool(row.get("is_published"))


def is_partial(row: dict[str, Any]) -> bool:
    """Whether a run scored fewer sessions than its dataset has."""
    whole = row.get("dataset_sessions")
    return whole is not None and row.get("sessions") is not None and row["sessions"] < whole


def show_value(value: Any) -> str:
    """A value other than a metric, as text."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"
    return str(value)


def _cell(row: dict[str, Any], column: Column, marks: dict[str, list[float]], starred: str) -> Cell:
    value = value_of(row, column.key)
    if column.kind != "metric":
        star = _stars(row) if column.key == starred else ""
        return Cell(_shown(column.key, value) + star, value if column.kind == "number" else None)
    best = marks[column.key]
    mark = ""
    if value is not None and not is_partial(row) and not is_published(row):
        mark = dict(zip(best, ("best", "second"), strict=False)).get(round(value, 12), "")
    places = printed_places(value) if is_published(row) else 4
    star = _stars(row) if column.key == starred else ""
    return Cell(digits(column.key, value, places) + star, value, mark, _sign(row, column.key))


def _stars(row: dict[str, Any]) -> str:
    """The marks of a run that scored only some of the sessions, or whose model recites the dataset."""
    marks = ("*" if is_partial(row) else "") + (MARK if row.get("recites") else "")
    return f" {marks}" if marks else ""


def _shown(key: str, value: Any) -> str:
    """A value other than a metric, with the digits that its column needs."""
    if key == "differs":
        return value or ""
    if isinstance(value, float):
        if key.endswith("_seconds"):
            return f"{value:,.1f}"
        if key.endswith("_rate"):
            return f"{value:.2%}"
        if key.endswith("_similarity"):
            return f"{value:.3f}"
        if key.endswith("_usd"):
            return f"{value:,.2f}"
        if value.is_integer():
            return f"{value:,.0f}"
    return show_value(value)


def _sign(row: dict[str, Any], key: str) -> str:
    found = row.get("significance", {}).get(key)
    if not found or not found["significant"]:
        return ""
    return "+" if found["difference"] > 0 else "-"


def _marks(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, list[float]]:
    """The best and second best value by metric, if there are enough lines to compare."""
    compared = [row for row in rows if not is_partial(row) and not is_published(row)]
    marks = {}
    for key in keys:
        values = [round(row[key], 12) for row in compared if row.get(key) is not None]
        marks[key] = sorted(set(values), reverse=True)[: 0 if len(values) < 2 else 1 if len(values) < 3 else 2]
    return marks
