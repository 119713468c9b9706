"""Item vectors as a LanceDB database, as files for PostgreSQL with pgvector, and as files for Qdrant."""

from __future__ import annotations

import csv
import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.dataset import find_dataset, load_catalog
from llmseq_cli.errors import NotInstalledError, UsageError
from llmseq_cli.files import atomic_folder
from llmseq_cli.store.runs import find_run
from llmseq_cli.training.stored_runs import load_model
from llmseq_cli.vector_stores.item_table import ItemTable
from llmseq_cli.vector_stores.readme import readme

if TYPE_CHECKING:
    from llmseq_cli.store.connection import Store

VECTOR_STORES = ("lancedb", "pgvector", "qdrant")

_OPERATORS = {"dot": "vector_ip_ops", "cosine": "vector_cosine_ops", "euclidean": "vector_l2_ops"}
_DISTANCES = {"dot": "Dot", "cosine": "Cosine", "euclidean": "Euclid"}
_MOST_INDEXED = 2000  # dimensions that an index of pgvector takes
_POINTS = 500  # of a request to Qdrant


def write_vectors(store: Store, run: str, kind: str, out: Path, dataset: str | None = None) -> dict[str, Any]:
    """Write a run's item vectors to a new folder, atomically; return run, items and dimensions.

    kind: one of VECTOR_STORES. Raises UsageError for a folder that is not empty and for models without dense vectors.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} already exists", "choose a new folder")
    if kind == "lancedb":
        _check_lancedb()
    with store.read("reading a run") as con:
        info = find_run(con, run, dataset, store.progress)
        catalog = load_catalog(con, find_dataset(con, info.dataset))
    table = ItemTable.of(info.run, catalog, load_model(store.folder, info.run, info.model, len(catalog)))
    with atomic_folder(out) as folder, store.progress.task(f"Writing vectors of {len(table.items):,} items"):
        {"lancedb": _lancedb, "pgvector": _pgvector, "qdrant": _qdrant}[kind](table, folder)
        (folder / "README.md").write_text(readme(kind, table), encoding="utf-8")
    return {"run": info.run, "items": len(table.items), "dimensions": table.dim, "similarity": table.similarity}


def _check_lancedb() -> None:
    try:
        import lancedb  # noqa: F401
    except ImportError as error:
        raise NotInstalledError("lancedb is not installed", "lancedb") from error


def _lancedb(table: ItemTable, folder: Path) -> None:
    """A database with the table `items`."""
    import lancedb
    import pyarrow as pa

    columns = {
        "item": pa.array(table.items),
        "title": pa.array(table.titles),
        "category": pa.array(table.categories),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(table.vectors.ravel()), table.dim),
    }
    lancedb.connect(str(folder)).create_table("items", pa.table(columns))


def _pgvector(table: ItemTable, folder: Path) -> None:
    """items.csv, and items.sql that makes the table `items` of it, whole or not at all."""
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "title", "category", "embedding"])
        for _, item, title, category, vector in table.rows():
            writer.writerow([item, title, category, json.dumps(vector)])
    columns = "item text primary key, title text, category text"
    lines = [
        "\\set ON_ERROR_STOP on",
        "begin;",
        "create extension if not exists vector;",
        f"create table items ({columns}, embedding vector({table.dim}) not null);",
        "\\copy items (item, title, category, embedding) from 'items.csv' with (format csv, header)",
    ]
    if table.dim <= _MOST_INDEXED:
        lines.append(f"create index on items using hnsw (embedding {_OPERATORS[table.similarity]});")
    lines.append("commit;")
    (folder / "items.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _qdrant(table: ItemTable, folder: Path) -> None:
    """The bodies of Qdrant's requests: collection.json, and points.jsonl with one request a line."""
    about = {"vectors": {"size": table.dim, "distance": _DISTANCES[table.similarity]}}
    (folder / "collection.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    rows = table.rows()
    with (folder / "points.jsonl").open("w", encoding="utf-8") as file:
        while block := list(islice(rows, _POINTS)):
            points = [
                {"id": number, "vector": vector, "payload": {"item": item, "title": title, "category": category}}
                for number, item, title, category, vector in block
            ]
            file.write(json.dumps({"points": points}) + "\n")
