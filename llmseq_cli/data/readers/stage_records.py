"""Files with one object per line (JSON or Python literal): the Amazon and Steam dumps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from llmseq_cli.data.readers.lines import batches_of_lines, first_line, parse_record
from llmseq_cli.data.readers.open_table import open_records
from llmseq_cli.data.readers.reading import Reading
from llmseq_cli.data.readers.rejections import Rejection, set_aside, with_lines
from llmseq_cli.data.readers.stage_items import Item, stage_items
from llmseq_cli.data.readers.stage_tables import read_interactions
from llmseq_cli.errors import LlmseqError


@dataclass(frozen=True)
class InteractionLayout:
    """The keys of an object with user, item and time; a file has this layout if it has all of them."""

    name: str
    user: str
    item: str
    time: str


@dataclass(frozen=True)
class ItemLayout:
    """How an object describes an item: which keys it must and must not have, and how to convert it."""

    name: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    convert: Callable[[dict[str, Any]], Item]
    also: tuple[str, ...] = ()
    """Keys of which a file of this layout has one, if those of `has` also occur in other files."""

    def fits(self, record: dict[str, Any]) -> bool:
        keys = set(record)
        return set(self.has) <= keys and not set(self.lacks) & keys

    def is_told_by(self, record: dict[str, Any]) -> bool:
        """Whether the record can only have this layout."""
        return self.fits(record) and (not self.also or bool(set(self.also) & set(record)))


Layouts = tuple[tuple[InteractionLayout, ...], tuple[ItemLayout, ...]]


def classify(reading: Reading, file: str, layouts: Layouts) -> InteractionLayout | ItemLayout | None:
    """The layout of a file by its first object."""
    interactions, items = layouts
    record = parse_record(first_line(reading.con, file))
    if isinstance(record, str):
        return None
    for layout in interactions:
        if {layout.user, layout.item, layout.time} <= set(record):
            return layout
    for described in items:
        if described.fits(record):
            return described
    return None


def read_reviews(reading: Reading, file: str, layout: InteractionLayout, part: str | None = None) -> None:
    """Stage the interactions of a file with this layout."""
    given = {"user": layout.user, "item": layout.item, "time": layout.time}
    read_interactions(reading, open_records(reading.con, file), given, layout.name, part)


def read_described(reading: Reading, file: str, layout: ItemLayout) -> None:
    """Stage the items of a file with this layout."""
    reading.note(f"{file}: {layout.name}")
    rejected: list[Rejection] = []
    with reading.progress.task(f"Reading {file}"):
        described = stage_items(reading.con, _items(reading, file, layout, rejected))
    set_aside(reading, file, rejected, described + len(rejected))
    reading.report.item_files.append(file)


def check_folders(reading: Reading, files: list[str]) -> None:
    """Several files of one folder may contain the same reviews (all, and their 5-core): let the user choose."""
    for folder in filter(os.path.isdir, reading.source.paths):
        within = [file for file in files if os.path.realpath(os.path.dirname(file)) == os.path.realpath(folder)]
        if len(within) > 1:
            names = ", ".join(os.path.basename(file) for file in within)
            raise LlmseqError(
                f"{folder} contains several files of interactions: {names}", "name the one to read, or all"
            )


def _items(reading: Reading, file: str, layout: ItemLayout, rejected: list[Rejection]) -> Iterator[Item]:
    """The items of a file; invalid ones are added to `rejected` after the last item."""
    bad: list[Rejection] = []
    rejects: list[Rejection] = []
    number = 0
    for batch in batches_of_lines(reading.con, file, rejects):
        for line in batch:
            number += 1
            if not line.strip():
                continue
            record = parse_record(line)
            reason = record if isinstance(record, str) else _lacks_id(record, layout)
            if reason:
                bad.append(Rejection(number, reason))
            elif isinstance(record, dict):
                yield layout.convert(record)
    rejected += with_lines(bad, rejects, number)


def _lacks_id(record: dict[str, Any], layout: ItemLayout) -> str:
    missing = [key for key in layout.has if record.get(key) in (None, "")]
    return f"the item has no {missing[0]}" if missing else ""
