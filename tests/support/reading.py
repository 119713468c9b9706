"""Helpers of the reader tests: write a file, read it, look at the staging tables."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from llmseq_cli.data.readers import ReadReport, Source, read
from llmseq_cli.progress import SilentProgress
from llmseq_cli.store.queries import query


class Messages(SilentProgress):
    """Keeps what would be shown."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)

    def warn(self, text: str) -> None:
        self.texts.append(text)


@dataclass
class Result:
    """What a read left behind: rows (user, item, ISO time), items, rejections (name of the file, line, reason)."""

    report: ReadReport
    rows: list[tuple[str, str, str]]
    items: list[tuple[str, str | None, str | None, dict[str, Any]]]
    rejected: list[tuple[str, int, str]]
    messages: list[str] = field(default_factory=list)


def read_files(*paths: Path | str, items: Any = (), **options: Any) -> Result:
    """Read inside a transaction, as ingest does."""
    progress = Messages()
    with duckdb.connect() as con:
        con.execute("set timezone = 'America/New_York'")  # no result may depend on where it is computed
        con.execute("begin transaction")
        con.execute(query("ingest/staging"))
        source = Source(paths=[str(path) for path in paths], items=[str(path) for path in items], **options)
        report = read(con, source, progress)
        rows = con.execute("select user_id, item_id, time from staged_interaction order by rowid").fetchall()
        described = con.execute("select item_id, title, category, fields from staged_item order by rowid").fetchall()
        rejected = con.execute("select file, line, reason from staged_rejection order by rowid").fetchall()
        con.execute("commit")
    return Result(
        report,
        [(user, item, time.isoformat()) for user, item, time in rows],
        [(item, title, category, json.loads(fields)) for item, title, category, fields in described],
        [(Path(file).name, line, reason) for file, line, reason in rejected],
        progress.texts,
    )


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
