"""Remove a dataset with everything made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import delete_runs

if TYPE_CHECKING:
    import duckdb


def remove_dataset(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """Delete a dataset, its older versions and everything made from them; return the folders of runs and studies below
    `artifacts`, to remove after the commit.
    """
    folders: list[str] = []
    versions = "select dataset_id from core.dataset where name = $name or starts_with(name, $name || '@')"
    for (dataset_id,) in con.execute(versions, {"name": name}).fetchall():
        delete_embeddings(con, dataset_id)
        folders += [f"runs/{run}" for run in delete_runs(con, dataset_id)]
        studies = con.execute(query("tuning/studies"), {"dataset_id": dataset_id}).fetchall()
        folders += [f"studies/{study}" for (study,) in studies]
        for table in ("trial", "split_session", "split_item", "target"):
            con.execute(
                f"delete from core.{table} where split_id in (select split_id from core.split where dataset_id = ?)",
                [dataset_id],
            )
        own = ("interaction", "session", "item", "rejection", "waiting_interaction", "waiting_item")
        for table in ("model_audit", "split", *own, "dataset"):
            con.execute(f"delete from core.{table} where dataset_id = ?", [dataset_id])
    return folders


def delete_embeddings(con: duckdb.DuckDBPyConnection, dataset_id: int) -> None:
    """Remove all embeddings of a dataset; vectors of texts stay in the cache."""
    of_dataset = "(select embedding_id from core.embedding where dataset_id = ?)"
    for table in ("item_vector", "item_text", "embedding"):
        con.execute(f"delete from core.{table} where embedding_id in {of_dataset}", [dataset_id])
