"""Options for reading files into a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmseq_cli.data.ingest import Protocol
from llmseq_cli.data.names import checked_name
from llmseq_cli.data.read_options import ReadOptions
from llmseq_cli.errors import UsageError


@dataclass(frozen=True)
class IngestOptions(ReadOptions):
    """Files to read into a dataset, and how; see `ReadOptions` for the options of reading.

    paths: files, globs, folders or http(s) URLs. name: of the dataset. items: files of item metadata.
    protocol: how interactions become sessions, training and test data. replace: replace an existing dataset of this
    name and remove its runs.
    """

    paths: Sequence[str | Path]
    name: str
    items: Sequence[str | Path] = field(default=(), kw_only=True)
    protocol: Protocol = field(default_factory=Protocol, kw_only=True)
    replace: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.paths, (str, Path)):
            raise UsageError(
                f"paths is '{self.paths}', not a list", "for example IngestOptions(['clicks.csv'], 'shop')"
            )
        checked_name(self.name, "dataset", "--name beauty")
