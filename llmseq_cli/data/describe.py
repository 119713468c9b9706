"""Describe a dataset, and find risks for an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmseq_cli.data.dataset import DatasetInfo, find_dataset
from llmseq_cli.data.splits import in_words
from llmseq_cli.store.queries import rows_of

if TYPE_CHECKING:
    import duckdb

_STATISTICS = ("sessions", "items", "interactions", "classes", "average_length", "density")
_SPLIT = ("ties_at_end", "train_sessions", "test_sessions", "evaluated_sessions", "train_items", "rejected")
_ABOUT_SPLIT = (
    "train_sessions",
    "train_interactions",
    "train_items",
    "validation_sessions",
    "test_sessions",
    "evaluated_sessions",
)


def describe(con: duckdb.DuckDBPyConnection, name: str | None) -> dict[str, Any]:
    """Statistics as in the paper's Table 2, the split, session lengths and popularity."""
    info = find_dataset(con, name)
    known = info.statistics
    return (
        {"name": info.name}
        | {key: known[key] for key in _STATISTICS}
        | rows_of(con, "dataset/time_span", {"dataset_id": info.dataset_id})[0]
        | {"tie_break": info.protocol["tie_break"]}
        | {key: known[key] for key in _SPLIT}
        | {
            "untitled_items": known["untitled_items"],
            "split": info.split,
            "splits": _splits(con, info),
            "protocol": info.protocol,
            "source": info.source,
            "lengths": rows_of(con, "dataset/lengths", {"dataset_id": info.dataset_id}),
            "popularity": rows_of(con, "dataset/popularity", {"dataset_id": info.dataset_id}),
        }
    )


def audit(con: duckdb.DuckDBPyConnection, name: str | None) -> list[dict[str, Any]]:
    """One dict per finding: finding, affected, total, consequence."""
    return [
        {key: value for key, value in row.items() if key != "place"} for row in _audit(con, find_dataset(con, name))
    ]


def _audit(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> list[dict[str, Any]]:
    given = {"dataset_id": info.dataset_id, "split_id": info.split_id}
    return rows_of(con, "dataset/audit", given)


def _splits(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> list[dict[str, Any]]:
    """One dict per split of the dataset: split, rule (as text) and its counts."""
    made = []
    for (name,) in con.execute(
        "select name from core.protocol where dataset_id = ? order by split_id", [info.dataset_id]
    ).fetchall():
        one = find_dataset(con, name)
        counts = {key: one.statistics[key] for key in _ABOUT_SPLIT}
        made.append({"split": one.split, "rule": in_words(one.protocol, counts["evaluated_sessions"])} | counts)
    return made


def list_datasets(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """One dict per dataset."""
    return rows_of(con, "dataset/list")
