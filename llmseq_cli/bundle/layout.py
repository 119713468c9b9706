"""The files of a bundle, and the format of its items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from llmseq_cli.data.catalog import Catalog

FORMAT = 1
"""Increased when older versions of llmseq can no longer read new bundles."""

ABOUT, ITEMS, VECTORS, ONNX, README = "bundle.json", "items.jsonl", "vectors.safetensors", "model.onnx", "README.md"
MODELS = "models"


def is_bundle(name: str | Path) -> bool:
    """Whether a name, which may also be a run's, is a bundle folder."""
    return (Path(name) / ABOUT).is_file()


def write_items(catalog: Catalog, known: np.ndarray, file: Path) -> None:
    """Write one JSON object per item and line, in the model's order of items. known: bool[n_items], whether the model
    can recommend the item."""
    columns = (catalog.external_ids, catalog.titles, catalog.classes, catalog.popularity, catalog.in_train, known)
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        for item, title, category, popularity, in_train, is_known in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            about = {"item": item, "title": title, "category": category, "popularity": popularity}
            lines.write(json.dumps(about | {"in_train": in_train, "known": is_known}, ensure_ascii=False) + "\n")


def read_items(file: Path) -> tuple[Catalog, np.ndarray]:
    """The catalog, and which items the model can recommend. Raises ValueError, KeyError or TypeError if a line is
    damaged."""
    with file.open(encoding="utf-8", newline="\n") as lines:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def texts(name: str) -> np.ndarray:
        column = np.empty(len(rows), dtype=object)
        column[:] = [row[name] for row in rows]
        if not all(isinstance(text, str) for text in column):
            raise TypeError(f"{name} is not text")
        return column

    def numbers(name: str, dtype: type) -> np.ndarray:
        return np.array([row[name] for row in rows], dtype=dtype)

    catalog = Catalog(
        external_ids=texts("item"),
        titles=texts("title"),
        classes=texts("category"),
        popularity=numbers("popularity", np.int64),
        in_train=numbers("in_train", np.bool_),
    )
    return catalog, numbers("known", np.bool_)
