"""How a leaderboard looks in a terminal."""

from __future__ import annotations

from typing import Any

from llmseq_cli.cli.console import out, print_table
from llmseq_cli.reporting.names import METRIC_NAMES

_WIDE = 120  # columns of the terminal from which on all metrics are shown


def print_leaderboard(rows: list[dict[str, Any]], *, title: str = "") -> None:
    """One line a run: best of a metric bold, second underlined. Narrow terminals get the metrics of the last cut-off."""
    if not rows:
        out.print("There are no runs yet: `llmseq train MODEL` makes one.")
        return
    metrics = [key for key in rows[0] if "@" in key]
    if out.width < _WIDE:
        last = metrics[-1].partition("@")[2]
        metrics = [key for key in metrics if key.endswith(f"@{last}")]
    several = len({row["dataset"] for row in rows}) > 1
    columns = ["run", "model", *(["dataset"] if several else []), *(_heading(key) for key in metrics), "train s"]
    cells = [
        [row["run"], row["label"], *([row["dataset"]] if several else []), *(_digits(key, row[key]) for key in metrics)]
        + [f"{row['train_seconds']:.1f}"]
        for row in rows
    ]
    first = 3 if several else 2
    print_table(columns, cells, title=title, marks=_marks(rows, metrics, first))


def _heading(key: str) -> str:
    metric, _, k = key.partition("@")
    return f"{METRIC_NAMES[metric]}@{k}"


def _digits(key: str, value: float) -> str:
    return f"{value:.3f}" if key.startswith("novelty") else f"{value:.4f}"


def _marks(rows: list[dict[str, Any]], metrics: list[str], first: int) -> dict[tuple[int, int], str]:
    marks = {}
    for place, key in enumerate(metrics):
        values = sorted({row[key] for row in rows}, reverse=True)
        for number, row in enumerate(rows):
            if len(rows) > 1 and row[key] == values[0]:
                marks[number, first + place] = "bold"
            elif len(values) > 1 and len(rows) > 2 and row[key] == values[1]:
                marks[number, first + place] = "underline"
    return marks
