"""A stored dataset as arrays: catalog, training sessions, evaluated sessions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset without reading its interactions."""

    dataset_id: int
    name: str
    protocol: dict[str, Any]
    statistics: dict[str, Any]
    source: dict[str, Any]

    @property
    def keeps_unseen(self) -> bool:
        """Whether the evaluated sessions hold items that never occur in training, ground truths among them."""
        return keeps_unseen(self.protocol)


def keeps_unseen(protocol: dict[str, Any]) -> bool:
    """The same of a stored protocol; datasets that are older than the setting have none."""
    return protocol.get("unseen_items", "drop") == "keep"


@dataclass(frozen=True)
class Dataset:
    """A dataset ready to train on.

    train: the training sessions, whole.
    test: the evaluated sessions, without items that never occur in training unless the dataset keeps them. Their last
        item is the ground truth (`test.targets()`), what stands before it the prompt (`test.prompts()`).
    """

    info: DatasetInfo
    catalog: Catalog
    train: Sessions
    test: Sessions


def find_dataset(con: duckdb.DuckDBPyConnection, name: str | None) -> DatasetInfo:
    """The dataset of this name; None means the only one there is. Raises LlmseqError where that is not clear."""
    names = [row[0] for row in con.execute("select name from core.dataset order by dataset_id").fetchall()]
    if name is None:
        if len(names) == 1:
            name = names[0]
        elif not names:
            raise LlmseqError("the workspace holds no dataset", "`llmseq ingest FILE --name NAME` reads one")
        else:
            raise LlmseqError("the workspace holds several datasets", f"say which with --dataset: {', '.join(names)}")
    rows = con.execute(query("dataset/find"), {"name": name}).fetchall()
    if not rows:
        hint = did_you_mean(name, names) if names else "`llmseq ingest FILE --name NAME` reads one"
        raise LlmseqError(f"there is no dataset '{name}'", hint)
    dataset_id, name, protocol, statistics, source = rows[0]
    return DatasetInfo(dataset_id, name, json.loads(protocol), json.loads(statistics), json.loads(source))


def load_dataset(con: duckdb.DuckDBPyConnection, name: str | None) -> Dataset:
    info = find_dataset(con, name)
    return Dataset(info, load_catalog(con, info), load_train(con, info), load_test(con, info))


def load_catalog(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> Catalog:
    columns = con.execute(query("dataset/catalog"), {"dataset_id": info.dataset_id}).fetchnumpy()
    return Catalog(
        external_ids=_text(columns["external_id"]),
        titles=_text(columns["title"]),
        classes=_text(columns["category"]),
        popularity=_plain(columns["popularity"], np.int64),
        in_train=_plain(columns["in_train"], np.bool_),
    )


def load_train(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> Sessions:
    last = info.statistics["train_sessions"] - 1
    return _sessions(con, "dataset/sessions", {"dataset_id": info.dataset_id, "first": 0, "last": last})


def load_test(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> Sessions:
    return _sessions(con, "dataset/evaluated_sessions", {"dataset_id": info.dataset_id})


def item_texts(con: duckdb.DuckDBPyConnection, info: DatasetInfo, template: str) -> list[str]:
    """The text of every item by a template such as "{title}" or "{title} {brand}"; missing attributes are empty.

    Raises LlmseqError where no item has an attribute that the template names.
    """
    rows = con.execute(query("dataset/item_fields"), {"dataset_id": info.dataset_id}).fetchall()
    attributes = [json.loads(fields) | {"title": title} for title, fields in rows]
    named = template_fields(template)
    known = sorted({name for item in attributes for name in item})
    for name in named:
        if name not in known:
            raise LlmseqError(f"no item of '{info.name}' has the attribute '{name}'", did_you_mean(name, known))
    return [" ".join(template.format_map(_Missing(item)).split()) for item in attributes]


def template_fields(template: str) -> list[str]:
    """The attribute names in a text template. Raises UsageError for anything but plain {name}."""
    from string import Formatter

    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise UsageError(
            f"the text template '{template}' is not well formed: {error}", "for example '{title}'"
        ) from error
    names = [name for _, name, _, _ in parts if name is not None]
    if not names or not all(name.isidentifier() for name in names):
        raise UsageError(f"the text template '{template}' names no attribute", "for example '{title} {brand}'")
    return names


class _Missing(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""


def _sessions(con: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any]) -> Sessions:
    columns = con.execute(query(name), parameters).fetchnumpy()
    session_ids = _plain(columns["session_id"], np.int64)
    ids, lengths = np.unique(session_ids, return_counts=True)
    return Sessions.from_lengths(_plain(columns["item_id"], np.int32), lengths, ids)


def _plain(column: np.ndarray, dtype: type) -> np.ndarray:
    # DuckDB hands out masked arrays where a column could hold NULL.
    return np.ma.getdata(column).astype(dtype, copy=False)


def _text(column: np.ndarray) -> np.ndarray:
    return np.ma.getdata(column).astype(object)
