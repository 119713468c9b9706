"""Item embeddings in the store: write, list, find, load."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.embeddings.base import ItemEmbeddings
from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

_ITEMS_PER_INSERT = 20_000  # bounds the flat columns of one insert to some hundred megabytes


def save_embeddings(
    con: duckdb.DuckDBPyConnection,
    dataset_id: int,
    embeddings: ItemEmbeddings,
    settings: dict[str, Any],
    seconds: float,
) -> int:
    """Store a set of embeddings in place of an older one of the same source, model and text; returns its number.

    The connection must be in a transaction.
    """
    key = {
        "dataset_id": dataset_id,
        "source": embeddings.source,
        "model": embeddings.model,
        "text": embeddings.text,
    }
    for (old,) in con.execute(query("embeddings/same"), key).fetchall():
        _delete(con, old)
    details = {
        "dimensions": embeddings.dim,
        "sparse": embeddings.is_sparse,
        "settings": json.dumps(settings),
        "created_at": datetime.now(UTC).replace(tzinfo=None),
        "seconds": seconds,
    }
    number = con.execute(query("embeddings/insert"), key | details).fetchall()[0][0]
    n_items = embeddings.vectors.shape[0]
    for start in range(0, n_items, _ITEMS_PER_INSERT):
        block = embeddings.vectors[start : start + _ITEMS_PER_INSERT]
        con.register("vector_columns", _flat(block, start))
        con.execute(query("embeddings/insert_vectors"), {"embedding_id": number, "sparse": embeddings.is_sparse})
        con.unregister("vector_columns")
    return number


def delete_embeddings(con: duckdb.DuckDBPyConnection, dataset_id: int) -> None:
    """Remove all embeddings of a dataset."""
    for (number,) in con.execute(
        "select embedding_id from core.embedding where dataset_id = ?", [dataset_id]
    ).fetchall():
        _delete(con, number)


def find_embeddings(con: duckdb.DuckDBPyConnection, dataset_id: int, name: str) -> tuple[int, dict[str, Any]]:
    """(number, details) of the embeddings called SOURCE, SOURCE:MODEL or by their number; the newest where several fit.

    Raises LlmseqError where none does.
    """
    source, _, model = name.partition(":")
    wanted = {
        "dataset_id": dataset_id,
        "number": int(name) if name.isdigit() else None,
        "source": source,
        "model": model or None,
    }
    rows = con.execute(query("embeddings/find"), wanted).fetchall()
    if not rows:
        raise LlmseqError(
            f"the dataset has no embeddings '{name}'",
            f"make them with `llmseq embed --source {source}`; `llmseq embeddings` lists what is there",
        )
    number, source, model, text, dimensions, sparse, settings = rows[0]
    return number, {
        "source": source,
        "model": model,
        "text": text,
        "dimensions": dimensions,
        "sparse": sparse,
        "settings": json.loads(settings),
    }


def load_embeddings(con: duckdb.DuckDBPyConnection, dataset_id: int, name: str, n_items: int) -> ItemEmbeddings:
    """The embeddings of this name as float32[n_items, dim], sparse where they were stored so.

    An item that has no vector (it has no text) gets zeros.
    """
    number, about = find_embeddings(con, dataset_id, name)
    columns = con.execute(query("embeddings/load_vectors"), {"embedding_id": number}).fetchnumpy()
    items = np.ma.getdata(columns["item_id"]).astype(np.int64)
    values = np.ma.getdata(columns["value"]).astype(np.float32)
    vectors: Any
    if about["sparse"]:
        from scipy.sparse import csr_array

        offsets = np.zeros(n_items + 1, dtype=np.int64)
        np.cumsum(np.bincount(items, minlength=n_items), out=offsets[1:])
        indices = np.ma.getdata(columns["column_index"]).astype(np.int32)
        vectors = csr_array((values, indices, offsets), shape=(n_items, about["dimensions"]))
    else:
        vectors = np.zeros((n_items, about["dimensions"]), dtype=np.float32)
        present = items[:: about["dimensions"]]
        vectors[present] = values.reshape(len(present), about["dimensions"])
    return ItemEmbeddings(vectors, about["source"], about["model"], about["text"])


def list_embeddings(con: duckdb.DuckDBPyConnection, dataset: str | None) -> list[dict[str, Any]]:
    """One dict a set of embeddings."""
    cursor = con.execute(query("embeddings/list"), {"dataset": dataset})
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _delete(con: duckdb.DuckDBPyConnection, number: int) -> None:
    con.execute("delete from core.item_vector where embedding_id = ?", [number])
    con.execute("delete from core.embedding where embedding_id = ?", [number])


def _flat(block: Any, first_item: int) -> dict[str, np.ndarray]:
    """The numbers of a block of vectors as columns: item_id, place, column_index, value."""
    if isinstance(block, np.ndarray):
        n, dim = block.shape
        place = np.tile(np.arange(dim, dtype=np.int32), n)
        lengths = np.full(n, dim)
        column_index, value = place, block.ravel()
    else:
        lengths = np.diff(block.indptr)
        place = np.arange(block.nnz, dtype=np.int64)
        column_index, value = block.indices.astype(np.int32), block.data
    items = np.repeat(np.arange(first_item, first_item + len(lengths), dtype=np.int32), lengths)
    return {"item_id": items, "place": place, "column_index": column_index, "value": value.astype(np.float32)}
