"""Ingest files or URLs as a dataset, all or nothing."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.append import AppendOptions, LeftOutError, append, keep
from llmseq_cli.data.downloads.download import fetch_all
from llmseq_cli.data.ingest import build_dataset
from llmseq_cli.data.readers import Source, read
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import SilentProgress
from llmseq_cli.store.datasets import remove_dataset
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    from llmseq_cli.data.options import IngestOptions
    from llmseq_cli.progress import Progress
    from llmseq_cli.store.connection import Store


def ingest_files(store: Store, options: IngestOptions, progress: Progress) -> dict[str, Any]:
    """See `Workspace.ingest`."""
    if not options.replace:
        _check_free(store, options.name)
    source = _source(store.folder, options, progress)
    with store.transaction(f"ingesting '{options.name}'") as con:
        removed = remove_dataset(con, options.name) if options.replace else []
        con.execute(query("ingest/staging"))
        report = read(con, source, progress)
        statistics = build_dataset(con, options.name, options.protocol, asdict(report), progress)
    for path in removed:
        shutil.rmtree(store.folder / "artifacts" / path, ignore_errors=True)
    return {
        "name": options.name,
        "format": report.format,
        "notes": report.notes,
        "left_out": report.left_out,
        "duplicate_rows_removed": report.duplicates,
        "described_items": report.described_items,
        "runs_removed": sum(path.startswith("runs/") for path in removed),
    } | statistics


def append_files(store: Store, options: AppendOptions, progress: Progress) -> dict[str, Any]:
    """See `Workspace.append`."""
    source = _source(store.folder, options, progress)
    try:
        with store.transaction("appending to a dataset") as con:
            return append(con, options.dataset, source, progress)
    except LeftOutError as error:  # it makes no new version
        with store.transaction("appending to a dataset") as con:
            done = keep(con, options.dataset, source, SilentProgress())  # messages were already shown
        progress.message(f"{error.message}: they are kept, and count again with the next files")
        return done


def _source(workspace: Path, options: IngestOptions | AppendOptions, progress: Progress) -> Source:
    """The files to read; URLs are downloaded first."""
    folder = workspace / "artifacts" / "downloads"
    paths = fetch_all([str(path) for path in options.paths], folder, progress)
    items = fetch_all([str(path) for path in options.items], folder, progress)
    return Source.of(options, paths, items)


def _check_free(store: Store, name: str) -> None:
    """Refuse a taken name early, not after hours of reading."""
    if not store.file.exists():
        return
    with store.read("looking for datasets") as con:
        taken = con.execute("select 1 from core.dataset where name = ?", [name]).fetchall()
    if taken:
        raise LlmseqError(
            f"the dataset '{name}' already exists", "use --replace to replace it, or choose another --name"
        )
