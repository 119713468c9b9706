"""What can be said of reading files into a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmseq_cli.data.ingest import Protocol
from llmseq_cli.data.names import checked_name
from llmseq_cli.errors import UsageError


@dataclass(frozen=True)
class IngestOptions:
    """Files to read into a dataset, and how.

    paths: files, globs, folders or http(s) addresses. name: of the dataset. format: auto, amazon, steam, movielens,
    recbole or table. items: files of item metadata. columns: which columns of a table are user, item, time, title and
    category. protocol: how interactions become sessions, training and test data. replace: put the dataset in the place
    of one of this name, whose runs are removed. strict: fail on the first bad row.
    """

    paths: Sequence[str | Path]
    name: str
    format: str = field(default="auto", kw_only=True)
    items: Sequence[str | Path] = field(default=(), kw_only=True)
    columns: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    protocol: Protocol = field(default_factory=Protocol, kw_only=True)
    replace: bool = field(default=False, kw_only=True)
    strict: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.paths, (str, Path)):
            raise UsageError(
                f"paths is '{self.paths}', not a list", "for example IngestOptions(['clicks.csv'], 'shop')"
            )
        checked_name(self.name, "dataset", "--name beauty")
