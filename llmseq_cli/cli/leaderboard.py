"""How a leaderboard looks in a terminal."""

from __future__ import annotations

from typing import Any

from llmseq_cli.cli.console import out, print_table
from llmseq_cli.reporting.names import METRIC_NAMES

_WIDE = 120  # columns of the terminal from which on all metrics are shown
_WIDEST = 150  # and from which on there is room for times


def print_leaderboard(rows: list[dict[str, Any]], *, title: str = "", sort: str = "") -> None:
    """One line a run, one table a dataset: best of a metric bold, second underlined.

    Narrow terminals get the metrics at one cut-off: that of the metric they are sorted by, else the last.
    """
    if not rows:
        out.print("There are no runs yet: `llmseq train MODEL` makes one.")
        return
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    if len(datasets) > 1:
        # Figures of different datasets cannot be compared: no order, no best among them.
        for number, dataset in enumerate(datasets):
            if number:
                out.print()
            print_leaderboard([row for row in rows if row["dataset"] == dataset], title=dataset, sort=sort)
        return
    metrics = [key for key in rows[0] if "@" in key]
    if out.width < _WIDE:
        k = (sort if sort in metrics else metrics[-1]).partition("@")[2]
        metrics = [key for key in metrics if key.endswith(f"@{k}")]
    columns: dict[str, list[str]] = {"run": [row["run"] for row in rows], "model": [row["label"] for row in rows]}
    first = len(columns)
    columns |= {_heading(key): [_digits(key, row[key]) for row in rows] for key in metrics}
    if out.width >= _WIDEST:
        columns["train s"] = [f"{row['train_seconds']:.1f}" for row in rows]
        columns["score s"] = [f"{row['score_seconds']:.1f}" for row in rows]
    names = list(columns)
    cells = list(zip(*columns.values(), strict=True))
    print_table(
        names, cells, title=title, marks=_marks(rows, metrics, first), right=names[first:], whole=["run", "model"]
    )


def print_spread(rows: list[dict[str, Any]]) -> None:
    """Mean and standard deviation over the seeds of one model; nothing for a single run."""
    from statistics import mean, stdev

    if len(rows) < 2:
        return
    last = [key for key in rows[0] if "@" in key][-1].partition("@")[2]
    figures = []
    for key in (f"ndcg@{last}", f"hr@{last}", f"mrr@{last}"):
        values = [row[key] for row in rows]
        figures.append(f"{_heading(key)} {mean(values):.4f} ± {stdev(values):.4f}")
    out.print(f"mean ± standard deviation over {len(rows)} seeds: {', '.join(figures)}", highlight=False)


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
