"""Recognise, by name, the training, validation and test files of one dataset, and the file with the whole dataset."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from llmseq_cli.data.readers.files import plain_name

_PART = re.compile(r"(?:^|(?<=[._-]))(train|training|valid|validation|val|dev|test|testing)(?:[._-]|$)")
_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"}
PARTS = ("train", "validation", "test")


@dataclass
class DatasetParts:
    """The parts of one dataset: {file: train, validation or test}, in this order; whole: the file with all rows."""

    files: dict[str, str] = field(default_factory=dict)
    whole: str | None = None


def find_parts(files: list[str]) -> DatasetParts | None:
    """The parts among the files, if there are at least two of the same name; otherwise None."""
    groups: dict[tuple[str, str], DatasetParts] = {}
    names = {}
    for file in files:
        folder, name = os.path.split(plain_name(file))
        found = _PART.search(name)
        if found:
            rest = (name[: found.start()] + name[found.end() :]).strip("._-")
            groups.setdefault((folder, rest), DatasetParts()).files[file] = _NAMES.get(found.group(1), "validation")
        else:
            names[folder, name] = file
    for key, parts in groups.items():
        if len(set(parts.files.values())) > 1:
            ordered = sorted(parts.files, key=lambda file: PARTS.index(parts.files[file]))
            return DatasetParts({file: parts.files[file] for file in ordered}, names.get(key))
    return None
