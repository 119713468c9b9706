"""Stage item descriptions in staged_item: clean titles, classes, text attributes."""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.readers.lines import storable
from llmseq_cli.data.readers.missing import is_missing
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

Item = tuple[str, Any, list[str], dict[str, Any]]
"""Item id, title, category keywords, other attributes by name."""

_LONGEST_TEXT = 1000  # characters of an attribute to keep: descriptions can be whole pages
_ITEMS_PER_INSERT = 20_000


def clean_text(text: Any) -> str:
    """Clean a text: Unicode NFC, HTML entities unescaped (twice if they were escaped twice), control characters and
    runs of spaces replaced by one space. Words for a missing value, such as NaN, become ''."""
    if text is None or is_missing(str(text)):
        return ""
    plain = unicodedata.normalize("NFC", html.unescape(html.unescape(str(text))))
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())


def keywords(value: Any) -> list[str]:
    """All words of a category (a text, a list or a list of lists), each once, in order."""
    if value is None or value == "":
        return []
    if isinstance(value, (list, tuple, set)):
        return list(dict.fromkeys(word for inner in value for word in keywords(inner)))
    return [clean_text(value)] if clean_text(value) else []


def listed(text: str | None) -> list[str]:
    """The words of a category column: the entries of a JSON list, or else the text."""
    if text and text.startswith("["):
        try:
            return keywords(json.loads(text))
        except (ValueError, RecursionError):
            pass
    return keywords(text)


def class_of(words: list[str]) -> str | None:
    """The class of an item: its category keywords, sorted and joined with _ (Boz et al., Section 7.1.2)."""
    return "_".join(sorted(set(words))) or None


def stage_items(con: duckdb.DuckDBPyConnection, items: Iterable[Item]) -> int:
    """Write (item id, title, category keywords, other attributes) into staged_item; returns how many."""
    written = 0
    iterator: Iterator[Any] = iter(items)
    while batch := list(islice(iterator, _ITEMS_PER_INSERT)):
        rows = [_row(*item) for item in batch]
        columns = ("item_id", "title", "category", "fields")
        staged = {name: np.array([row[at] for row in rows], dtype=object) for at, name in enumerate(columns)}
        con.register("staged_batch", staged)
        con.execute("insert into staged_item select item_id, title, category, fields::json from staged_batch")
        con.unregister("staged_batch")
        written += len(rows)
    return written


def _row(item_id: str, title: Any, words: list[str], attributes: dict[str, Any]) -> tuple[str, Any, Any, str]:
    name = clean_text(title)
    fields = {"title": name, "categories": ", ".join(words)}
    for key, value in attributes.items():
        text = ", ".join(keywords(value)) if isinstance(value, (list, tuple)) else clean_text(value)
        fields[key] = text[:_LONGEST_TEXT]
    kept = {key: text for key, text in fields.items() if text}
    return (
        unicodedata.normalize("NFC", storable(item_id.strip())),
        name or None,
        class_of(words),
        json.dumps(kept, ensure_ascii=False),
    )


def merge_repeated(con: duckdb.DuckDBPyConnection) -> int:
    """Merge several descriptions of an item: for each attribute, take the first value present."""
    [(rows, items)] = con.execute("select count(*), count(distinct item_id) from staged_item").fetchall()
    if rows > items:
        con.execute(query("ingest/merge_items"))
    return int(rows - items)
