"""The leaderboard: one row a run, metrics as columns."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.evaluation.evaluate import CUTOFFS
from llmseq_cli.evaluation.metrics import metrics_at
from llmseq_cli.reporting.report import Report
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store

METRICS = ("ndcg", "hr", "mrr", "coverage", "serendipity", "novelty")


@dataclass(frozen=True)
class ReportWishes:
    """What a report is to show.

    sort: the column that orders the rows. models: only these models or runs. cutoffs: of the metrics.
    """

    sort: str = "ndcg@20"
    models: list[str] | None = None
    cutoffs: tuple[int, ...] = CUTOFFS


def make_report(con: duckdb.DuckDBPyConnection, dataset: str | None, wishes: ReportWishes, store: Store) -> Report:
    """The leaderboard of one dataset or all. Raises UsageError for wishes that name what is not there."""
    rows = leaderboard(con, dataset, sort=wishes.sort, models=wishes.models, cutoffs=wishes.cutoffs)
    return Report(rows, datasets=_datasets(con, dataset), sort=wishes.sort, store=store)


def _datasets(con: duckdb.DuckDBPyConnection, dataset: str | None) -> dict[str, dict[str, Any]]:
    """By name how each dataset was split and what it holds."""
    return {
        row["dataset"]: {"protocol": json.loads(row["protocol"]), "statistics": json.loads(row["statistics"])}
        for row in _rows(con, "report/datasets", {"dataset": dataset})
    }


def leaderboard(
    con: duckdb.DuckDBPyConnection,
    dataset: str | None = None,
    *,
    sort: str = "ndcg@20",
    models: list[str] | None = None,
    cutoffs: tuple[int, ...] = CUTOFFS,
) -> list[dict[str, Any]]:
    """One dict a run, the best by `sort` first; keys as the command line's contract names them.

    Cut-offs that are not stored with the runs are computed from the stored lists, without scoring again.
    Raises UsageError for an unknown `sort` or a model that no run has, LlmseqError for a cut-off deeper than the lists.
    """
    runs = _rows(con, "report/leaderboard", {"dataset": dataset})
    if models:
        known = sorted({run["model"] for run in runs} | {run["run"] for run in runs})
        for model in models:
            if model not in known:
                raise UsageError(f"no run is of the model '{model}'", did_you_mean(model, known) if known else "")
        runs = [run for run in runs if run["model"] in models or run["run"] in models]
    stored: dict[int, dict[str, float]] = {}
    for row in _rows(con, "report/metrics", {"dataset": dataset}):
        stored.setdefault(row["run_id"], {})[row["name"]] = row["value"]
    table = []
    for run in runs:
        metrics = stored.get(run["run_id"], {})
        for k in cutoffs:
            names = [f"{metric}@{k}" for metric in METRICS]
            if names[0] not in metrics:
                metrics = metrics | computed_metrics(con, run, k)
            run |= {name: metrics[name] for name in names}
        run["settings"] = json.loads(run["settings"])
        run["started_at"] = run["started_at"].isoformat()
        del run["run_id"]
        table.append(run)
    return _sorted(table, sort)


def computed_metrics(con: duckdb.DuckDBPyConnection, run: dict[str, Any], k: int) -> dict[str, float]:
    """{"ndcg@k": …} of a run from its stored ranks and lists."""
    if k > run["depth"]:
        raise LlmseqError(
            f"the lists of {run['run']} hold {run['depth']} items, too few for @{k}",
            f"train it with --depth {k}, or leave it out with --models",
        )
    truths = con.execute(query("report/stored_ranks"), {"run_id": run["run_id"]}).fetchnumpy()
    lists = con.execute(query("report/stored_lists"), {"run_id": run["run_id"], "k": k}).fetchnumpy()
    popularity = con.execute(
        "select popularity from items where dataset = ? order by item", [run["dataset"]]
    ).fetchnumpy()["popularity"]
    items = np.full((run["sessions"], k), -1, dtype=np.int32)
    items[_plain(lists["session_number"]), _plain(lists["rank"]) - 1] = _plain(lists["item_id"])
    values = metrics_at(items, _plain(truths["rank"]), _plain(truths["ground_truth"]), _plain(popularity), k)
    return {f"{name}@{k}": value for name, value in values.items()}


def parse_cutoffs(text: str) -> tuple[int, ...]:
    """(10, 20) from "10,20"."""
    if not re.fullmatch(r"\d+(,\d+)*", text) or any(int(k) == 0 for k in text.split(",")):
        raise UsageError(f"'{text}' is no list of cut-offs", "for example --k 5,10,20")
    return tuple(sorted({int(k) for k in text.split(",")}))


def _plain(column: np.ndarray) -> np.ndarray:
    return np.ma.getdata(column)


def _rows(con: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    cursor = con.execute(query(name), parameters)
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _sorted(table: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    if not table:
        return table
    if sort not in table[0]:
        sortable = [key for key, value in table[0].items() if isinstance(value, (int, float, str))]
        raise UsageError(f"the leaderboard has no column '{sort}'", did_you_mean(sort, sortable))
    # Metrics count from the top, everything else (seconds, names) from the bottom.
    descending = "@" in sort or sort == "positions_per_second"

    def key(row: dict[str, Any]) -> Any:
        value = row[sort]
        missing = value is None
        return (missing, (-value if descending and not missing else value) if not missing else 0)

    return sorted(table, key=key)
