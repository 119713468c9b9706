"""What a dataset looks like, and what in it endangers an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmseq_cli.data.dataset import DatasetInfo, find_dataset
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

_STATISTICS = ("sessions", "items", "interactions", "classes", "average_length", "density")
_SPLIT = ("ties_at_end", "train_sessions", "test_sessions", "evaluated_sessions", "train_items", "rejected")


def describe(con: duckdb.DuckDBPyConnection, name: str | None) -> dict[str, Any]:
    """Statistics as in the paper's Table 2, the split, session lengths and popularity."""
    info = find_dataset(con, name)
    known = info.statistics
    return (
        {"name": info.name}
        | {key: known[key] for key in _STATISTICS}
        | {"tie_break": info.protocol["tie_break"]}
        | {key: known[key] for key in _SPLIT}
        | {
            "untitled_items": known["untitled_items"],
            "protocol": info.protocol,
            "source": info.source,
            "lengths": _rows(con, "dataset/lengths", info),
            "popularity": _rows(con, "dataset/popularity", info),
        }
    )


def audit(con: duckdb.DuckDBPyConnection, name: str | None) -> list[dict[str, Any]]:
    """One dict a finding: finding, affected, total, consequence."""
    return [
        {key: value for key, value in row.items() if key != "place"}
        for row in _rows(con, "dataset/audit", find_dataset(con, name))
    ]


def list_datasets(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """One dict a dataset."""
    return _fetch(con.execute(query("dataset/list")))


def _rows(con: duckdb.DuckDBPyConnection, name: str, info: DatasetInfo) -> list[dict[str, Any]]:
    return _fetch(con.execute(query(name), {"dataset_id": info.dataset_id}))


def _fetch(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
