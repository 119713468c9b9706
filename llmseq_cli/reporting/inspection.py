"""Details of one run: settings, environment, training, recommendations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.store.queries import rows_of
from llmseq_cli.store.runs import RunInfo, case_ids, find_run, run_details

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store


@dataclass(frozen=True)
class RunDetails(RunInfo):
    """Everything stored about a run except its lists.

    metrics: {"ndcg@10": …}. curve: one dict per epoch with epoch, loss, ndcg and seconds, empty for models that do not
    train in epochs. dataset_sessions: number of sessions to score; sessions: number of scored sessions.
    """

    environment: dict[str, Any]
    figures: dict[str, Any]
    sessions: int
    started_at: datetime
    dataset_sessions: int
    metrics: dict[str, float]
    curve: list[dict[str, Any]]


def load_details(store: Store, run: str, dataset: str | None = None) -> RunDetails:
    """Load a run by name or number, "latest", or a model's name, see `find_run`. Raises LlmseqError if there is
    none."""
    with store.read("reading a run") as con:
        return read_details(con, store, run, dataset)


def read_details(con: duckdb.DuckDBPyConnection, store: Store, run: str, dataset: str | None = None) -> RunDetails:
    """As `load_details`, with an open connection."""
    found = find_run(con, run, dataset, store.progress)
    return RunDetails(**run_details(con, found.run_id), curve=curve_of(store, found.run))


def show_run(
    store: Store, run: str, *, dataset: str | None = None, sessions: int = 10, k: int = 5, seed: int = 0
) -> tuple[RunDetails, list[dict[str, Any]]]:
    """A run and some of its sessions, drawn at random: see `sessions_in_words`."""
    with store.read("reading a run") as con:
        details = read_details(con, store, run, dataset)
        found = case_ids(con, details.run_id)
        drawn = np.random.default_rng(seed).choice(found, min(sessions, len(found)), replace=False)
        return details, sessions_in_words(con, details.dataset, [details.run_id], np.sort(drawn), k)


def sessions_in_words(
    con: duckdb.DuckDBPyConnection, dataset: str, run_ids: list[int], case_ids: np.ndarray, k: int
) -> list[dict[str, Any]]:
    """One dict per case, in the given order: session, history and ground_truth as titles and, in "runs" for each run,
    the rank of the ground truth (None if it is not among the stored items) and the titles of the first k items.
    """
    chosen = case_ids.tolist()
    words: dict[int, dict[str, Any]] = {}
    for row in rows_of(con, "report/session_items", {"dataset": dataset, "case_ids": chosen}):
        one = words.setdefault(row["case_id"], {"session": row["session"], "history": [], "runs": []})
        one["history"].append(row["title"])
    for one in words.values():
        one["ground_truth"] = one["history"].pop()
    for run_id in run_ids:
        ranks = con.execute(
            "select case_id, rank from core.case_rank where run_id = ? and case_id in (select unnest(?))",
            [run_id, chosen],
        ).fetchall()
        lists: dict[int, list[str]] = {case_id: [] for case_id in chosen}
        given = {"run_id": run_id, "case_ids": chosen, "k": k}
        for row in rows_of(con, "report/session_lists", given):
            lists[row["case_id"]].append(row["title"])
        for case_id, rank in ranks:
            words[case_id]["runs"].append({"rank": rank, "recommended": lists[case_id]})
    return [words[case_id] for case_id in chosen]


def curve_of(store: Store, run: str) -> list[dict[str, Any]]:
    """The training loop's record of its epochs; empty if the run's files are missing."""
    from llmseq_cli.training.stored_runs import run_folder

    try:
        epochs: list[dict[str, Any]] = json.loads(
            (run_folder(store.folder, run) / "curve.json").read_text(encoding="utf-8")
        )
        return epochs
    except (OSError, ValueError):
        return []
