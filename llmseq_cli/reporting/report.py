"""A report: the rows of the leaderboard, and their conversion to tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.splits import in_words
from llmseq_cli.reporting.memory_marks import MARK
from llmseq_cli.reporting.names import is_metric
from llmseq_cli.reporting.table import Beneath, Table, digits, is_partial, make_columns, make_lines, printed_places

if TYPE_CHECKING:
    from llmseq_cli.store.connection import Store


@dataclass(frozen=True)
class Report:
    """rows: one dict per run or group of seeds, best first, as `llmseq report --json` prints them.

    columns: the user's choice, in order; None for the default. datasets: protocol and statistics by name. sort: the
    column to sort by; empty for rows that are already in order. notes: by dataset, what readers of its table must know.
    store: for formats that read more than the leaderboard.
    published: by dataset, models that only the paper has. layouts: columns of the table, from wide to narrow terminals;
    None for those of the leaderboard. nothing: shown if there are no rows.
    """

    rows: list[dict[str, Any]]
    columns: tuple[str, ...] | None = None
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    sort: str = "ndcg@20"
    notes: dict[str, list[str]] = field(default_factory=dict)
    store: Store | None = None
    published: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    layouts: list[list[str]] | None = None
    nothing: str = "There are no runs yet: run `llmseq train MODEL`."

    def metrics(self) -> list[str]:
        """The metrics of the rows, in order; recall, which equals HR, only if the user asks for it."""
        columns = self.rows[0] if self.rows else {}
        return [key for key in columns if is_metric(key) and not key.startswith("recall@")]

    def tables(self) -> list[Table]:
        """One table per dataset: results on different datasets or splits cannot be compared."""
        return [self.table(name, self.columns) for name in dict.fromkeys(row["dataset"] for row in self.rows)]

    def differences(self, dataset: str) -> list[str]:
        """For every line of a dataset's table, how its run differs from other runs of the same model."""
        return [row.get("differs") or "" for row in self._rows(dataset)]

    def _rows(self, dataset: str) -> list[dict[str, Any]]:
        """A dataset's rows, merged in sort order with models that only the paper has."""
        rows = [row for row in self.rows if row["dataset"] == dataset]
        published = self.published.get(dataset, [])
        if published and not self.sort:
            return sorted([*published, *rows], key=lambda row: row["task"])
        if not is_metric(self.sort):
            return rows + published
        for one in published:
            value = one.get(self.sort)
            better = [row for row in rows if value is None or (row.get(self.sort) or 0) >= value]
            rows.insert(len(better), one)
        return rows

    def table(self, dataset: str, columns: Sequence[str] | None = None) -> Table:
        """The table of one dataset; "number" is a run without its model's name."""
        rows = [row | _run_cells(row) for row in self._rows(dataset)]
        if columns is None and self.layouts is not None:
            columns = self.layouts[0]
        elif columns is None:
            words = ["label", "run"] + (["differs"] if any(row.get("differs") for row in rows) else [])
            columns = [*words, *self.metrics()]
        made = make_columns(columns, rows)
        notes = list(self.notes.get(dataset, []))
        partial = [row for row in rows if is_partial(row)]
        if partial:
            counts, wholes = (_numbers(row[name] for row in partial) for name in ("sessions", "dataset_sessions"))
            notes.insert(0, f"* scored on {counts} of {wholes} sessions: left out of comparisons")
        notes += [f"{MARK} {said}" for said in dict.fromkeys(row["recites"] for row in rows if row.get("recites"))]
        lines = make_lines(rows, made, lambda row: _shown_beneath(row, columns))
        return Table(dataset, self._protocol(dataset), made, lines, tuple(notes))

    def _sessions(self, dataset: str) -> int:
        return int(self.datasets[dataset]["statistics"]["evaluated_sessions"])

    def _protocol(self, dataset: str) -> str:
        about = self.datasets.get(dataset)
        if about is None:
            return ""
        return in_words(about["protocol"], self._sessions(dataset))


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(f"{value:,}" for value in sorted(set(values)))


def _run_cells(row: dict[str, Any]) -> dict[str, str]:
    """The name of a row's run or runs, in full and as a number."""
    if "run" not in row:
        return {}
    names = row.get("runs") or [row["run"]]
    numbers = [name.rpartition("-")[2] for name in names]
    if len(names) == 1:
        return {"run": names[0], "number": numbers[0]}
    plain = [int(number) for number in numbers]
    in_a_row = plain == list(range(plain[0], plain[0] + len(plain)))
    more = f"…{numbers[-1]}" if in_a_row else f"+{len(names) - 1}"
    return {"run": names[0] + more, "number": numbers[0] + more}


def _shown_beneath(row: dict[str, Any], columns: Sequence[str]) -> tuple[Beneath, ...]:
    """The lines below a row that have a value in these columns."""
    return tuple(one for one in beneath_of(row) if set(one.texts) & set(columns))


def beneath_of(row: dict[str, Any]) -> tuple[Beneath, ...]:
    """The lines below a row: the spread over its seeds, its interval, published results and the difference."""
    made = []
    if row.get("spread"):
        made.append(
            Beneath(
                f"{len(row['seeds'])} seeds",
                {key: f"±{digits(key, value)}" for key, value in row["spread"].items()},
            )
        )
    if row.get("intervals"):
        halves = {key: (high - low) / 2 for key, (low, high) in row["intervals"].items()}
        made.append(Beneath("95 % CI", {key: f"±{digits(key, half)}" for key, half in halves.items()}))
    if row.get("published") and not row.get("is_published"):
        if row.get("best"):
            best = {key: digits(key, row["best"][key]) for key in row["published"] if row["best"].get(key) is not None}
            made.append(Beneath(f"best of {len(row['seeds'])}", best))
        paper = {
            key: digits(key, value, printed_places(value))
            for key, value in row["published"].items()
            if value is not None
        }
        made.append(Beneath("paper", paper))
        away = {key: f"{value:+.{3 if key.startswith('novelty') else 4}f}" for key, value in row["difference"].items()}
        made.append(Beneath("difference", away))
    return tuple(made)
