"""Runs in the store: one trained and scored model with its settings, metrics, ranks and recommendations."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import LlmseqError, did_you_mean
from llmseq_cli.store.queries import query, rows_of

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.progress import Progress


@dataclass(frozen=True)
class RunRecord:
    """What is stored about a run except its lists.

    label: the name in reports, for example "LLM2SASRec".
    embeddings: source, model, text, reduction and dimensions, or None for models without embeddings.
    environment: versions, device, threads, processor.
    figures: train_seconds, score_seconds, peak_memory_mb, and the model's report on its training.
    """

    dataset_id: int
    split_id: int
    model: str
    label: str
    seed: int
    settings: dict[str, Any]
    embeddings: dict[str, Any] | None
    environment: dict[str, Any]
    figures: dict[str, Any]
    started_at: datetime


@dataclass(frozen=True)
class RunInfo:
    """A stored run, without its lists."""

    run_id: int
    run: str
    dataset: str
    model: str
    label: str
    seed: int
    settings: dict[str, Any]
    embeddings: dict[str, Any] | None
    list_length: int


def run_name(model: str, run_id: int) -> str:
    """The name of a run, as in the generated column core.run.name."""
    return f"{model}-{run_id}"


def next_run_id(con: duckdb.DuckDBPyConnection) -> int:
    """A number that no other run has or will get."""
    return int(con.execute("select nextval('core.run_number')").fetchall()[0][0])


def insert_run(
    con: duckdb.DuckDBPyConnection,
    run_id: int,
    record: RunRecord,
    *,
    case_ids: np.ndarray,
    ranks: np.ndarray,
    items: np.ndarray,
    scores: np.ndarray,
    metrics: dict[tuple[str, int], float],
) -> None:
    """Store a run. The connection must be in a transaction.

    case_ids: int64[n]; ranks: int32[n], 0 if the ground truth was not found; items: int32[n, list_length], −1 if a list
    is shorter; scores: float32[n, list_length]; metrics: {(name, k): value}. Raises LlmseqError if the dataset was
    removed or replaced in the meantime.
    """
    if not con.execute("select 1 from core.split where split_id = ?", [record.split_id]).fetchall():
        raise LlmseqError("the dataset was replaced while the model trained", "train again on the new one")
    con.execute(
        query("runs/insert_run"),
        {
            "run_id": run_id,
            "dataset_id": record.dataset_id,
            "split_id": record.split_id,
            "model": record.model,
            "label": record.label,
            "seed": record.seed,
            "settings": json.dumps(record.settings),
            "embeddings": json.dumps(record.embeddings) if record.embeddings else None,
            "environment": json.dumps(record.environment),
            "figures": json.dumps(record.figures),
            "sessions": len(case_ids),
            "list_length": items.shape[1],
            "started_at": record.started_at,
        },
    )
    con.executemany(
        "insert into core.metric values (?, ?, ?, ?)",
        [[run_id, name, k, value] for (name, k), value in metrics.items()],
    )
    rank_columns = {"case_id": case_ids.astype(np.int32), "rank": ranks.astype(np.int16)}
    con.register("rank_columns", rank_columns)
    con.execute("insert into core.case_rank select ?, case_id, nullif(rank, 0) from rank_columns", [run_id])
    con.unregister("rank_columns")
    listed = items >= 0
    list_columns = {
        "case_id": np.repeat(case_ids.astype(np.int32), listed.sum(axis=1)),
        "rank": np.broadcast_to(np.arange(1, items.shape[1] + 1, dtype=np.int16), items.shape)[listed],
        "item_id": items[listed],
        "score": scores[listed],
    }
    con.register("list_columns", list_columns)
    con.execute("insert into core.recommendation select ?, * from list_columns", [run_id])
    con.unregister("list_columns")


def find_run(
    con: duckdb.DuckDBPyConnection, name: str, dataset: str | None = None, progress: Progress | None = None
) -> RunInfo:
    """The run with this name or number; "latest" is the newest. A model's name means its run with the best NDCG@20 on
    validation sessions, among runs validated in the same way; if none was validated, the newest.

    progress: gets a message about which run a model's name means if it has several. Raises LlmseqError with the closest
    name if there is none.
    """
    match = re.fullmatch(r"(?:.*-)?(\d{1,9})", name)
    parameters = {
        "name": name,
        "run_id": int(match.group(1)) if match else None,
        "dataset": dataset,
    }
    rows = con.execute(query("runs/find_run"), parameters).fetchall()
    elsewhere = con.execute(query("runs/find_run"), parameters | {"dataset": None}).fetchall() if not rows else []
    if elsewhere and dataset is not None:
        run, on = elsewhere[0][1:3]
        raise LlmseqError(f"there is no run '{name}' on {dataset}", f"{run} is on {on}: use --dataset {on}")
    if not rows:
        runs = [row[0] for row in con.execute("select run from runs order by started_at desc limit 50").fetchall()]
        hint = did_you_mean(name, runs) if runs else "train one with `llmseq train MODEL`"
        raise LlmseqError(f"there is no run '{name}'", hint)
    run_id, run, dataset_name, model, label, seed, settings, embeddings, list_length, by_validation, others = rows[0]
    if progress is not None and name == model and others:
        why = "the best by validation" if by_validation else "the newest"
        progress.message(f"{name} means {run}, {why} of its {others + 1} runs")
    return RunInfo(
        run_id,
        run,
        dataset_name,
        model,
        label,
        seed,
        json.loads(settings),
        json.loads(embeddings) if embeddings else None,
        list_length,
    )


def check_within_lists(runs: Sequence[RunInfo], k: int) -> None:
    """Raises LlmseqError if the stored lists of a run are shorter than k."""
    for run in runs:
        if k > run.list_length:
            shortest = min(one.list_length for one in runs)
            raise LlmseqError(f"the lists of {run.run} hold {run.list_length} items", f"use -k {shortest} or less")


def case_ids(con: duckdb.DuckDBPyConnection, run_id: int) -> np.ndarray:
    """The cases that a run was scored on, ascending."""
    rows = con.execute("select case_id from core.case_rank where run_id = ? order by case_id", [run_id])
    return np.ma.getdata(rows.fetchnumpy()["case_id"])


def run_details(con: duckdb.DuckDBPyConnection, run_id: int) -> dict[str, Any]:
    """Everything stored about a run except its lists; metrics as {"ndcg@20": …}."""
    [row] = rows_of(con, "runs/details", {"run_id": run_id})
    for name in ("settings", "embeddings", "environment", "figures"):
        row[name] = json.loads(row[name]) if row[name] else None
    return row | {"metrics": dict(con.execute(query("runs/metrics"), {"run_id": run_id}).fetchall())}


def find_same_run(
    con: duckdb.DuckDBPyConnection,
    split_id: int,
    model: str,
    seed: int,
    list_length: int,
    settings: dict[str, Any],
    embeddings: dict[str, Any] | None,
) -> str | None:
    """The newest run that was made in exactly this way, or None."""
    parameters = {"split_id": split_id, "model": model, "seed": seed, "list_length": list_length}
    for name, its_settings, its_embeddings in con.execute(query("runs/same_runs"), parameters).fetchall():
        if json.loads(its_settings) == settings and (json.loads(its_embeddings or "null") == embeddings):
            return str(name)
    return None


def delete_runs(con: duckdb.DuckDBPyConnection, dataset_id: int) -> list[str]:
    """Remove all runs of a dataset; return their names, so that their files can be removed after the commit."""
    rows = con.execute("select run_id, name from core.run where dataset_id = ?", [dataset_id]).fetchall()
    ids = [run_id for run_id, _ in rows]
    for table in ("metric", "recommendation", "case_rank", "answer", "run"):
        con.execute(f"delete from core.{table} where run_id in (select unnest($ids::integer[]))", {"ids": ids})
    return [name for _, name in rows]


def stored_figures(con: duckdb.DuckDBPyConnection, run: str) -> dict[str, Any]:
    """The figures stored with a run besides its metrics. Raises LlmseqError if there is no such run."""
    rows = con.execute("select figures from runs where run = ?", [run]).fetchall()
    if not rows:
        raise LlmseqError(f"there is no run '{run}'", "`llmseq report` lists runs")
    figures: dict[str, Any] = json.loads(rows[0][0])
    return figures
