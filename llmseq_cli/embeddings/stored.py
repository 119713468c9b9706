"""Item embeddings in the store: write, list, find, load."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.dataset import find_dataset
from llmseq_cli.embeddings.cache import text_hash
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.arrow import ArrowColumns
from llmseq_cli.store.queries import query, rows_of

if TYPE_CHECKING:
    import duckdb
    from scipy.sparse import csr_array

_ITEMS_PER_INSERT = 20_000  # limits the flat columns of one insert to a few hundred megabytes
_ITEMS_PER_LOAD = 100_000


def save_embeddings(
    con: duckdb.DuckDBPyConnection,
    dataset_id: int,
    embeddings: ItemEmbeddings,
    texts: list[str],
    settings: dict[str, Any],
    seconds: float,
) -> int:
    """Store a set of embeddings, replacing an older one with the same source, model and template (and dimensions, if
    dense); return its number.

    texts: the embedded text of each item, "" for items without one. The connection must be in a transaction.
    """
    key = {
        "dataset_id": dataset_id,
        "source": embeddings.source,
        "model": embeddings.model,
        "text": embeddings.text,
    }
    _delete_same(con, key | {"dimensions": embeddings.dim, "sparse": embeddings.is_sparse, "model_id": None})
    details = {
        "dimensions": embeddings.dim,
        "sparse": embeddings.is_sparse,
        "settings": json.dumps(settings),
        "created_at": datetime.now(UTC).replace(tzinfo=None),
        "seconds": seconds,
    }
    number: int = con.execute(query("embeddings/insert"), key | details).fetchall()[0][0]
    _insert_vectors(con, number, embeddings.vectors, np.arange(embeddings.vectors.shape[0]))
    with_text = [item for item, text in enumerate(texts) if text]
    con.register("text_columns", _texts(with_text, [texts[item] for item in with_text], [""] * len(with_text)))
    con.execute(query("embeddings/insert_texts"), {"embedding_id": number})
    con.unregister("text_columns")
    return number


@dataclass(frozen=True)
class TextEmbeddings:
    """A set of embeddings whose vectors are in the cache of text vectors.

    dimensions: of the vectors. model_id: number of the model in the cache. texts: the embedded text of each item, None
    for items that get the mean vector of their class. usage: the cost of making the set, stored with it.
    """

    source: str
    model: str
    text: str
    dimensions: int
    model_id: int
    texts: list[str | None]
    usage: dict[str, Any]


def save_text_embeddings(
    con: duckdb.DuckDBPyConnection, dataset_id: int, made: TextEmbeddings, settings: dict[str, Any], seconds: float
) -> int:
    """Store a set as the text of each item, replacing an older one with the same source, model (in the cache, not only
    by name), text and dimensions; return its number. The vectors must be in the cache, the connection in a transaction.
    If the newest set would not change, it is kept with its number and usage.

    Items without a text get the mean vector of their class or, if there is none, of the catalog.
    """
    key = {"dataset_id": dataset_id, "source": made.source, "model": made.model, "text": made.text}
    details = {
        "dimensions": made.dimensions,
        "sparse": False,
        "settings": json.dumps(settings),
        "created_at": datetime.now(UTC).replace(tzinfo=None),
        "seconds": seconds,
    }
    items = [item for item, text in enumerate(made.texts) if text is not None]
    texts = [text for text in made.texts if text is not None]
    hashes = [text_hash(text) for text in texts]
    usage = json.dumps(made.usage)
    con.register("text_columns", _texts(items, texts, hashes))
    try:
        of_same = key | {"dimensions": made.dimensions, "sparse": False, "model_id": made.model_id}
        for (old,) in con.execute(query("embeddings/same"), of_same).fetchall():
            for took, newest in con.execute(query("embeddings/unchanged"), {"embedding_id": old}).fetchall():
                if newest:
                    return int(old)
                usage = took
            _delete(con, old)
        number: int = con.execute(query("embeddings/insert"), key | details).fetchall()[0][0]
        con.execute(
            "update core.embedding set model_id = ?, usage = ? where embedding_id = ?", [made.model_id, usage, number]
        )
        con.execute(query("embeddings/insert_texts"), {"embedding_id": number})
    finally:
        con.unregister("text_columns")
    _fill_with_means(con, dataset_id, number, np.array([text is None for text in made.texts], dtype=bool))
    return number


def _fill_with_means(con: duckdb.DuckDBPyConnection, dataset_id: int, number: int, lacking: np.ndarray) -> None:
    """Give each item in `lacking` (bool[n_items]) the mean vector of its class, or of the catalog."""
    items = np.flatnonzero(lacking)
    if not len(items):
        return
    rows = con.execute(query("embeddings/class_means"), {"embedding_id": number}).fetchall()
    counts = np.array([count for _, count, _ in rows], dtype=np.float64)
    means = np.array([vector for _, _, vector in rows], dtype=np.float64)
    place = {category: row for row, (category, _, _) in enumerate(rows) if category}
    means = np.vstack([means, counts @ means / counts.sum()])
    classes = con.execute(
        "select coalesce(category, '') from core.item where dataset_id = ? order by item_id", [dataset_id]
    ).fetchall()
    of_items = [place.get(classes[item][0], -1) for item in items]
    _insert_vectors(con, number, means[of_items].astype(np.float32), items)


def _insert_vectors(con: duckdb.DuckDBPyConnection, number: int, vectors: Any, items: np.ndarray) -> None:
    """Store vectors [n, dim], dense or sparse, of the items int[n]."""
    sparse = not isinstance(vectors, np.ndarray)
    for start in range(0, len(items), _ITEMS_PER_INSERT):
        block = slice(start, start + _ITEMS_PER_INSERT)
        con.register("vector_columns", _flat(vectors[block], items[block]))
        con.execute(query("embeddings/insert_vectors"), {"embedding_id": number, "sparse": sparse})
        con.unregister("vector_columns")


def _delete_same(con: duckdb.DuckDBPyConnection, key: dict[str, Any]) -> None:
    for (old,) in con.execute(query("embeddings/same"), key).fetchall():
        _delete(con, old)


def find_embeddings(con: duckdb.DuckDBPyConnection, dataset_id: int, name: str) -> tuple[int, dict[str, Any]]:
    """(number, details) of the embeddings called SOURCE, SOURCE:MODEL or by number; the newest if several match.

    Raises LlmseqError if none does.
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
        listed = "`llmseq embeddings` lists all"
        how = f"`llmseq embed --source {source}`" + (f" and --model {model}" if model and source != "lexical" else "")
        raise LlmseqError(
            f"the dataset has no embeddings '{name}'",
            listed if name.isdigit() else f"make them with {how}; {listed}",
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
    """Load the embeddings of this name as float32[n_items, dim], sparse if they were stored sparse.

    An item without a vector (because it has no text) gets zeros.
    """
    number, about = find_embeddings(con, dataset_id, name)
    load = _load_sparse if about["sparse"] else _load_dense
    return ItemEmbeddings(
        load(con, number, n_items, about["dimensions"]), about["source"], about["model"], about["text"]
    )


def _load_sparse(con: duckdb.DuckDBPyConnection, number: int, n_items: int, dim: int) -> csr_array:
    from scipy.sparse import csr_array

    columns = con.execute(query("embeddings/load_vectors"), {"embedding_id": number}).fetchnumpy()
    items = np.ma.getdata(columns["item_id"]).astype(np.int64)
    values = np.ma.getdata(columns["value"]).astype(np.float32)
    offsets = np.zeros(n_items + 1, dtype=np.int64)
    np.cumsum(np.bincount(items, minlength=n_items), out=offsets[1:])
    indices = np.ma.getdata(columns["column_index"]).astype(np.int32)
    return csr_array((values, indices, offsets), shape=(n_items, dim))


def _load_dense(con: duckdb.DuckDBPyConnection, number: int, n_items: int, dim: int) -> np.ndarray:
    """Load dense vectors. Raises LlmseqError if some are missing or unusable."""
    about = {"embedding_id": number, "dimensions": dim}
    unusable = con.execute(query("embeddings/unusable_vectors"), about).fetchall()[0][0]
    if unusable:
        raise LlmseqError(
            f"the vectors of {unusable:,} items are missing or unusable",
            "repeat the `llmseq embed` command to make them again",
        )
    vectors = np.zeros((n_items, dim), dtype=np.float32)
    for first in range(0, n_items, _ITEMS_PER_LOAD):
        block = {"embedding_id": number, "first": first, "last": first + _ITEMS_PER_LOAD - 1}
        columns = con.execute(query("embeddings/load_text_vectors"), block).fetchnumpy()
        present = np.ma.getdata(columns["item_id"])[::dim]
        vectors[present] = np.ma.getdata(columns["value"]).reshape(len(present), dim)
    return vectors


def list_embeddings(con: duckdb.DuckDBPyConnection, dataset: str | None) -> list[dict[str, Any]]:
    """One dict per set of embeddings. Raises LlmseqError for an unknown dataset."""
    if dataset is not None:
        find_dataset(con, dataset)
    return rows_of(con, "embeddings/list", {"dataset": dataset})


def _delete(con: duckdb.DuckDBPyConnection, number: int) -> None:
    con.execute("delete from core.item_vector where embedding_id = ?", [number])
    con.execute("delete from core.item_text where embedding_id = ?", [number])
    con.execute("delete from core.embedding where embedding_id = ?", [number])


def _texts(items: list[int], texts: list[str], hashes: list[str]) -> ArrowColumns:
    """The texts of items as columns: item_id, text, text_hash ("" if the vector is not in the cache)."""
    valid = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # UTF-8 cannot contain a lone surrogate
    return ArrowColumns({"item_id": np.array(items, dtype=np.int32), "text": valid, "text_hash": hashes})


def _flat(block: Any, items: np.ndarray) -> dict[str, np.ndarray]:
    """A block of item vectors as columns: item_id, place, column_index, value."""
    if isinstance(block, np.ndarray):
        n, dim = block.shape
        place = np.tile(np.arange(dim, dtype=np.int32), n)
        lengths = np.full(n, dim)
        column_index, value = place, block.ravel()
    else:
        lengths = np.diff(block.indptr)
        place = np.arange(block.nnz, dtype=np.int64)
        column_index, value = block.indices.astype(np.int32), block.data
    item_id = np.repeat(items.astype(np.int32), lengths)
    return {"item_id": item_id, "place": place, "column_index": column_index, "value": value.astype(np.float32)}
