"""`--segments`: metrics by how often the ground truth occurs in training: warm, tail and cold.

cold: it does not occur in training. tail: it is among the least popular training items that together have at most 20 %
of the interactions, as in Abdollahpouri et al., "User-centered Evaluation of Popularity Bias in Recommender Systems"
(UMAP 2021); items of equal popularity stay together. warm: all others, the paper's middle and head. A model still ranks
the whole catalog; a segment only selects the sessions for the mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmseq_cli.reporting.names import SEGMENTS
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

METRICS = ("ndcg", "hr", "mrr")


def add_segments(
    con: duckdb.DuckDBPyConnection, dataset: str | None, rows: list[dict[str, Any]], cutoffs: tuple[int, ...]
) -> None:
    """Add "cold_ndcg@20" and so on to every row (None for an empty segment), and "cold_sessions"."""
    by_run = {row["run_id"]: row for row in rows}
    for row in rows:
        row |= {f"{segment}_sessions": 0 for segment in SEGMENTS}
        row |= {f"{segment}_{metric}@{k}": None for segment in SEGMENTS for metric in METRICS for k in cutoffs}
    for k in cutoffs:
        for run_id, segment, sessions, *values in con.execute(
            query("report/segments"), {"dataset": dataset, "k": k}
        ).fetchall():
            if run_id in by_run:
                row = by_run[run_id]
                row[f"{segment}_sessions"] = sessions
                row |= {f"{segment}_{metric}@{k}": value for metric, value in zip(METRICS, values, strict=True)}


def segment_layouts(rows: list[dict[str, Any]], k: int) -> list[list[str]]:
    """Column layouts, from wide to narrow terminals, without empty segments."""
    there = [segment for segment in SEGMENTS if any(row[f"{segment}_sessions"] for row in rows)]
    ndcg, hr = ([f"{segment}_{metric}@{k}" for segment in there] for metric in ("ndcg", "hr"))
    whole = [f"ndcg@{k}", *ndcg, f"hr@{k}", *hr]
    return [
        ["run", "label", "differs", *whole],
        ["run", "label", *whole],
        ["number", "label", *whole],
        ["number", "label", *ndcg, *hr],
        ["number", "label", *ndcg],
    ]


def segment_notes(rows: list[dict[str, Any]], k: int) -> dict[str, list[str]]:
    """Notes by dataset: what the segments are and how many sessions each has."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row["sessions"] < row["dataset_sessions"]:
            continue
        counts = ", ".join(f"{row[f'{segment}_sessions']:,} {_WORDS[segment]}" for segment in SEGMENTS)
        notes.setdefault(row["dataset"], [f"means at {k} by ground truth: {counts}"])
    return notes


_WORDS = {
    "warm": "warm",
    "tail": "tail (the least popular, with at most 20 % of the training interactions)",
    "cold": "cold (unseen in training)",
}
