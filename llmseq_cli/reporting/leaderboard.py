"""The leaderboard: one row per run or group of seeds, metrics as columns."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.dataset import find_dataset
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.evaluation.metrics import metrics_at
from llmseq_cli.reporting.filters import rows_where
from llmseq_cli.reporting.groups import group_seeds, tell_apart
from llmseq_cli.reporting.memory_marks import add_marks
from llmseq_cli.reporting.names import is_metric
from llmseq_cli.reporting.options import ReportOptions
from llmseq_cli.reporting.paper import add_paper
from llmseq_cli.reporting.report import Report
from llmseq_cli.reporting.segments import add_segments, segment_layouts, segment_notes
from llmseq_cli.reporting.table import is_partial, value_of
from llmseq_cli.settings import RENAMED
from llmseq_cli.store.queries import query, rows_of

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store

METRICS = ("ndcg", "hr", "mrr", "coverage", "serendipity", "novelty")

_SORTED_DOWN = ("positions_per_second", "started_at")


def make_report(con: duckdb.DuckDBPyConnection, dataset: str | None, options: ReportOptions, store: Store) -> Report:
    """The leaderboard of one dataset or all. Raises LlmseqError for an unknown dataset, UsageError for options that
    name something unknown.
    """
    if dataset is not None:
        find_dataset(con, dataset)
    rows = marked_rows(con, dataset)
    for row in rows:
        row["started_at"] = row["started_at"].isoformat()
    rows = _of_models(rows, options.models)
    facts = dataset_facts(con, dataset)
    sort = options.sort or _usual_sort(rows, facts, options.paper)
    options = replace(options, sort=sort)
    early = options.where is not None and "@" not in options.where
    if options.where and early:
        rows = rows_where(rows, options.where)
    _add_metrics(con, dataset, rows, _cutoffs(options))
    if options.segments:
        add_segments(con, dataset, rows, _cutoffs(options))
    if options.where and not early:
        rows = rows_where(rows, options.where)
    tell_apart(rows)
    if options.group:
        rows = group_seeds(rows)
    rows = _sorted(rows, sort)
    _check_columns(rows, options.columns)
    report = Report(rows, options.columns, facts, sort, _notes(rows, sort), store)
    if options.segments:
        report = replace(report, layouts=segment_layouts(rows, options.cutoffs[-1]))
        for name, notes in segment_notes(rows, options.cutoffs[-1]).items():
            report.notes[name] = notes + report.notes.get(name, [])
    if options.where:
        report = replace(report, nothing="No run matches --where.")
    if options.significance:
        from llmseq_cli.reporting.significance import add_significance

        add_significance(con, report, options.baseline, options.test)
    if options.paper:
        add_paper(report, with_others=not options.models and not options.where)
    for row in rows:
        for name in ("run_id", "run_ids"):
            row.pop(name, None)
    return report


def own_report(con: duckdb.DuckDBPyConnection, names: list[str], values: list[tuple[Any, ...]], store: Store) -> Report:
    """The leaderboard of a user's query: its columns, its rows in their order; one table per dataset.

    Marks runs (in a column `run`) that scored only some of the sessions.
    """
    rows = [dict(zip(names, row, strict=True)) for row in values]
    about = _what_tables_say(con) if "run" in names else {}
    for row in rows:
        row |= about.get(row.get("run"), {}) | row
    for row in rows:
        row.setdefault("dataset", "")
    columns = tuple(name for name in names if name != "dataset")
    facts = dataset_facts(con, None)
    notes = {}
    if "dataset" not in names and len(facts) > 1:
        notes[""] = ["the query has no column dataset: do not compare rows of different datasets"]
    return Report(rows, columns, facts, "", notes, store)


def marked_rows(con: duckdb.DuckDBPyConnection, dataset: str | None) -> list[dict[str, Any]]:
    """One row per run, with its settings, and "recites" if its model has memorised the dataset."""
    rows = rows_of(con, "report/leaderboard", {"dataset": dataset})
    for row in rows:
        row["settings"] = json.loads(row["settings"])
    add_marks(con, rows)
    return rows


def _what_tables_say(con: duckdb.DuckDBPyConnection) -> dict[Any, dict[str, Any]]:
    """Facts for the marks of each run: the number of scored sessions if it is partial, and what its model recites."""
    said = {}
    for row in marked_rows(con, None):
        counts = {name: row[name] for name in ("sessions", "dataset_sessions")} if is_partial(row) else {}
        said[row["run"]] = counts | ({"recites": row["recites"]} if "recites" in row else {})
    return said


def computed_metrics(con: duckdb.DuckDBPyConnection, run: dict[str, Any], k: int) -> dict[str, float]:
    """{"ndcg@k": …} of a run from its stored ranks and lists."""
    if k > run["list_length"]:
        raise LlmseqError(
            f"the lists of {run['run']} have {run['list_length']} items, too few for @{k}",
            f"train it with --list-length {k}, or exclude it with --models",
        )
    truths = con.execute(query("report/stored_ranks"), {"run_id": run["run_id"]}).fetchnumpy()
    lists = con.execute(query("report/stored_lists"), {"run_id": run["run_id"], "k": k}).fetchnumpy()
    popularity = con.execute(query("report/popularity"), {"dataset": run["dataset"]}).fetchnumpy()["popularity"]
    items = np.full((run["sessions"], k), -1, dtype=np.int32)
    items[_plain(lists["case_number"]), _plain(lists["rank"]) - 1] = _plain(lists["item_id"])
    values = metrics_at(items, _plain(truths["rank"]), _plain(truths["ground_truth"]), _plain(popularity), k)
    return {f"{name}@{k}": value for name, value in values.items()}


def parse_cutoffs(text: str) -> tuple[int, ...]:
    """Parse "10,20" as (10, 20)."""
    if not re.fullmatch(r"\d+(,\d+)*", text) or any(int(k) == 0 for k in text.split(",")):
        raise UsageError(f"'{text}' is not a list of cut-offs", "for example --k 5,10,20")
    return tuple(sorted({int(k) for k in text.split(",")}))


def parse_columns(text: str | None) -> tuple[str, ...] | None:
    """Parse "run, ndcg@20" as ("run", "ndcg@20"); None if there is no text."""
    if text is None:
        return None
    columns = tuple(name.strip() for name in text.split(",") if name.strip())
    if not columns:
        raise UsageError(f"'{text}' names no column", "for example --columns run,label,ndcg@20,settings.k")
    return columns


def _of_models(runs: list[dict[str, Any]], models: list[str] | None) -> list[dict[str, Any]]:
    """Only runs of these models, or with these names or numbers."""
    if not models:
        return runs
    known = sorted({run["model"] for run in runs} | {run["run"] for run in runs})
    for model in models:
        if model not in known and not any(str(run["run_id"]) == model for run in runs):
            raise UsageError(f"there is no run or model '{model}'", did_you_mean(model, known) if known else "")
    return [run for run in runs if {run["model"], run["run"], str(run["run_id"])} & set(models)]


def _usual_sort(rows: list[dict[str, Any]], facts: dict[str, dict[str, Any]], paper: bool) -> str:
    kinds = {facts[row["dataset"]]["protocol"]["kind"] for row in rows if row["dataset"] in facts}
    return "ndcg@10" if paper and kinds == {"leave-one-out"} else "ndcg@20"


def _cutoffs(options: ReportOptions) -> tuple[int, ...]:
    """The cut-offs of the options, and those named in columns, sort and where."""
    named = [*(options.columns or ()), options.sort or "", *re.findall(r"\w+@\d+", options.where or "")]
    return tuple(sorted({*options.cutoffs, *(int(key.partition("@")[2]) for key in named if is_metric(key))}))


def _add_metrics(
    con: duckdb.DuckDBPyConnection, dataset: str | None, rows: list[dict[str, Any]], cutoffs: tuple[int, ...]
) -> None:
    """Compute metrics that are not stored with the runs from the stored lists, without scoring again.

    Raises LlmseqError for a cut-off beyond the length of the lists.
    """
    stored: dict[int, dict[str, float]] = {}
    for run_id, name, value in con.execute(query("report/metrics"), {"dataset": dataset}).fetchall():
        stored.setdefault(run_id, {})[name] = value
    for row in rows:
        metrics = stored.get(row["run_id"], {})
        for k in cutoffs:
            names = [f"{metric}@{k}" for metric in METRICS]
            if names[0] not in metrics:
                metrics = metrics | computed_metrics(con, row, k)
            row |= {name: metrics[name] for name in names} | {f"recall@{k}": metrics[f"hr@{k}"]}


def dataset_facts(con: duckdb.DuckDBPyConnection, dataset: str | None) -> dict[str, dict[str, Any]]:
    """How each dataset was split and its statistics, by name."""
    return {
        row["dataset"]: {"protocol": json.loads(row["protocol"]), "statistics": json.loads(row["statistics"])}
        for row in rows_of(con, "report/datasets", {"dataset": dataset})
    }


def _notes(rows: list[dict[str, Any]], sort: str) -> dict[str, list[str]]:
    """Notes by dataset: what groups leave out, and where picking the best row means choosing by test."""
    notes: dict[str, list[str]] = {}
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == dataset]
        repeats = [name for row in own for name in row.get("repeats", [])]
        if repeats:
            notes.setdefault(dataset, []).append(
                f"left out: {_some(repeats)}, older runs of the same model, settings and seed; --no-group shows all"
            )
        counts = Counter(row["label"] for row in own if not is_partial(row))
        several = [label for label, count in counts.items() if count > 1]
        if several and is_metric(sort):
            notes.setdefault(dataset, []).append(
                f"several runs of {_some(several)}: picking the best of them here means choosing by test; "
                "a model's name means its best run by validation"
            )
        knowing = [row["run"] for row in own if not is_partial(row) and row["settings"].get("refit_validation")]
        if knowing:
            notes.setdefault(dataset, []).append(f"trained on validation items, too: {_some(knowing)}")
    return notes


def _some(names: list[str]) -> str:
    most = 5
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _plain(column: np.ndarray) -> np.ndarray:
    return np.ma.getdata(column)


def _no_column(name: str, names: list[str]) -> UsageError:
    """The error for a name that is not a column of the leaderboard; for an old name, it gives the new one."""
    if RENAMED.get(name) in names:
        return UsageError(f"the column '{name}' is now called '{RENAMED[name]}'", f"use {RENAMED[name]}")
    return UsageError(f"the leaderboard has no column '{name}'", did_you_mean(name, names))


def _check_columns(rows: list[dict[str, Any]], columns: tuple[str, ...] | None) -> None:
    if not rows or columns is None:
        return
    known = dict.fromkeys(key for row in rows for key in row if key not in ("run_id", "run_ids", "settings"))
    settings = dict.fromkeys(f"settings.{name}" for row in rows for name in row["settings"])
    for column in columns:
        if column not in known and column not in settings:
            raise _no_column(column, [*known, *settings])


def _sorted(table: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    if not table:
        return table
    if all(sort not in row and value_of(row, sort) is None for row in table):
        sortable = [key for key, value in table[0].items() if isinstance(value, (int, float, str)) and key != "run_id"]
        raise _no_column(sort, sortable)
    # Sort metrics in descending order, everything else (seconds, names) in ascending order.
    descending = is_metric(sort) or sort in _SORTED_DOWN

    def key(row: dict[str, Any]) -> Any:
        value = value_of(row, sort)
        if value is None:
            return (2, 0)
        if isinstance(value, (int, float)):
            return (0, -value if descending else value)
        return (1, str(value))

    ordered = sorted(table, key=key)
    return ordered[::-1] if sort == "started_at" else ordered
