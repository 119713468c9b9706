"""A stored dataset as arrays, under one of its splits: catalog, training sessions, cases to evaluate."""

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
    """Facts about a dataset and one of its splits, without reading interactions.

    name: how users address it: the dataset's name or, except for the first split, "DATASET/SPLIT".
    protocol: how it was made, and the rule of the split. statistics: of the dataset and the split.
    """

    split_id: int
    dataset_id: int
    name: str
    dataset: str
    split: str
    kind: str
    protocol: dict[str, Any]
    statistics: dict[str, Any]
    source: dict[str, Any]

    @property
    def keeps_unseen(self) -> bool:
        """Whether test sessions contain items that are never trained on, including ground truths."""
        return bool(self.protocol["unseen_items"] == "keep")

    @property
    def allows_repeats(self) -> bool:
        """Whether a list may contain items of its history."""
        return bool(self.protocol["repeats"] == "allow")


@dataclass(frozen=True)
class Dataset:
    """A dataset ready to train on: all that models, tuning and blends see of it.

    train: training sessions, ordered by time. test: one session per case: the history, then the ground truth as last
    item (`test.targets()`, `test.histories()`).
        Items that are never trained on are left out, unless the split keeps them.
    validation: the same for the split's validation items; None if it has none, and models hold out training sessions.
    """

    info: DatasetInfo
    catalog: Catalog
    train: Sessions
    test: Sessions
    validation: Sessions | None = None


def find_dataset(con: duckdb.DuckDBPyConnection, name: str | None, *, one_split: bool = False) -> DatasetInfo:
    """The dataset of this name, or "DATASET/SPLIT"; None or "/SPLIT" means the only dataset.

    one_split: if there are several splits, the name must include one; otherwise the first is used. Raises LlmseqError
    if the name is unknown or ambiguous.
    """
    dataset, slash, split = (name or "").partition("/")
    names = [row[0] for row in con.execute("select name from core.dataset order by dataset_id").fetchall()]
    if not dataset:
        names = [name for name in names if "@" not in name]  # older versions must be named
        if len(names) == 1:
            dataset = names[0]
        elif not names:
            raise LlmseqError("the workspace has no dataset", "read one with `llmseq ingest FILE --name NAME`")
        else:
            raise LlmseqError("the workspace has several datasets", f"choose one with --dataset: {', '.join(names)}")
    rows = con.execute(query("dataset/find"), {"name": dataset}).fetchall()
    if not rows:
        hint = did_you_mean(dataset, names) if names else "read one with `llmseq ingest FILE --name NAME`"
        raise LlmseqError(f"there is no dataset '{dataset}'", hint)
    infos = [DatasetInfo(*row[:6], *(json.loads(text) for text in row[6:])) for row in rows]
    splits = [info.split for info in infos]
    if slash:
        infos = [info for info in infos if info.split == split]
        if not infos:
            raise LlmseqError(
                f"'{dataset}' has no split '{split}'",
                f"it has {', '.join(splits)}; add another with `llmseq split {dataset} --split KIND`",
            )
    elif one_split and len(infos) > 1:
        raise LlmseqError(f"'{dataset}' has several splits", f"choose one with --split: {', '.join(splits)}")
    return infos[0]


def load_dataset(
    con: duckdb.DuckDBPyConnection, name: str | None, *, times: bool = False, one_split: bool = True
) -> Dataset:
    """Read a dataset. times: include the times of interactions. one_split: see `find_dataset`; stored runs and jobs
    refer to a dataset's first split by the dataset's name alone.
    """
    info = find_dataset(con, name, one_split=one_split)
    catalog, whole = load_catalog(con, info), _whole(con, info, times=times)
    validation = _cases(con, info, "validation", whole, catalog)
    test = _cases(con, info, "test", whole, catalog)
    train = _train(con, info, whole)
    return Dataset(info, catalog, train, test, validation if len(validation) else None)


def load_catalog(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> Catalog:
    given = {"dataset_id": info.dataset_id, "split_id": info.split_id}
    columns = con.execute(query("dataset/catalog"), given).fetchnumpy()
    return Catalog(
        external_ids=_text(columns["external_id"]),
        titles=_text(columns["title"]),
        classes=_text(columns["category"]),
        popularity=_plain(columns["popularity"], np.int64),
        in_train=_plain(columns["in_train"], np.bool_),
    )


def load_train(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> Sessions:
    return _train(con, info, _whole(con, info))


def load_test(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> Sessions:
    """The sessions to predict for, with the times of their items."""
    return _cases(con, info, "test", _whole(con, info, times=True), load_catalog(con, info))


def _whole(con: duckdb.DuckDBPyConnection, info: DatasetInfo, *, times: bool = False) -> Sessions:
    """All sessions of the dataset, uncut, by id."""
    given = {"dataset_id": info.dataset_id}
    lengths = _plain(con.execute(query("dataset/session_lengths"), given).fetchnumpy()["length"], np.int64)
    items = _plain(con.execute(query("dataset/interactions"), given).fetchnumpy()["item_id"], np.int32)
    return Sessions.from_lengths(items, lengths, np.arange(len(lengths)), _times(con, info) if times else None)


def _times(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> np.ndarray:
    return _plain(con.execute(query("dataset/times"), {"dataset_id": info.dataset_id}).fetchnumpy()["time"], np.int64)


def _train(con: duckdb.DuckDBPyConnection, info: DatasetInfo, whole: Sessions) -> Sessions:
    """The training sessions. If sessions are cut, they are renumbered in order of time: the ids of uncut sessions would
    reveal when they ended."""
    columns = con.execute(query("dataset/training_sessions"), {"split_id": info.split_id}).fetchnumpy()
    sessions = _plain(columns["session_id"], np.int64)
    train = whole.first(sessions, _plain(columns["train_length"], np.int64))
    return train if np.array_equal(train.lengths, whole.lengths[sessions]) else train.numbered()


def _cases(con: duckdb.DuckDBPyConnection, info: DatasetInfo, part: str, whole: Sessions, catalog: Catalog) -> Sessions:
    """One session per case: the history, then the item to predict."""
    columns = con.execute(query("dataset/targets"), {"split_id": info.split_id, "part": part}).fetchnumpy()
    case_ids, sessions, positions, lengths = (
        _plain(columns[name], np.int64) for name in ("case_id", "session_id", "position", "history_length")
    )
    histories = whole.first(sessions, lengths)
    ends = np.cumsum(lengths + 1) - 1
    items = np.empty(int((lengths + 1).sum()), dtype=np.int32)
    is_history = np.ones(len(items), dtype=bool)
    is_history[ends] = False
    targets = whole.offsets[:-1][sessions] + positions - 1
    items[is_history], items[ends] = histories.items, whole.items[targets]
    times = None
    if whole.times is not None and histories.times is not None:
        times = np.empty(len(items), dtype=np.int64)
        times[is_history], times[ends] = histories.times, whole.times[targets]
    cases = Sessions.from_lengths(items, lengths + 1, case_ids, times)
    return cases if info.keeps_unseen else cases.only(catalog.in_train)


def item_texts(con: duckdb.DuckDBPyConnection, info: DatasetInfo, template: str) -> list[str]:
    """The text of every item by a template such as "{title}" or "{title} {brand}"; missing attributes are empty.

    Raises LlmseqError if the template names an attribute that no item has.
    """
    rows = con.execute(query("dataset/item_fields"), {"dataset_id": info.dataset_id}).fetchall()
    attributes = [json.loads(fields) | {"title": title} for title, fields in rows]
    named = template_fields(template)
    known = sorted({name for item in attributes for name in item})
    in_small_letters = {name.lower(): name for name in known}
    for name in named:
        spelt = name if name in known else in_small_letters.get(name.lower())
        if spelt is None:
            raise LlmseqError(f"no item of '{info.name}' has the attribute '{name}'", did_you_mean(name, known))
        if spelt != name:
            attributes = [item | {name: item.get(spelt, "")} for item in attributes]
    return [" ".join(template.format_map(_Missing(item)).split()) for item in attributes]


def template_fields(template: str) -> list[str]:
    """The attribute names in a text template. Raises UsageError for anything but plain {name}."""
    from string import Formatter

    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"the text template '{template}' is not valid: {error}", "for example '{title}'") from error
    names = [name for _, name, _, _ in parts if name is not None]
    if not names or not all(name.isidentifier() for name in names):
        raise UsageError(f"the text template '{template}' names no attribute", "for example '{title} {brand}'")
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise UsageError(f"the text template '{template}' formats an attribute", "only plain names such as {title}")
    return names


class _Missing(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""


def _plain(column: np.ndarray, dtype: type) -> np.ndarray:
    # DuckDB returns masked arrays for columns that could contain NULL.
    return np.ma.getdata(column).astype(dtype, copy=False)


def _text(column: np.ndarray) -> np.ndarray:
    return np.ma.getdata(column).astype(object)
