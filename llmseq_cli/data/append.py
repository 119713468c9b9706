"""Add interactions and items as a new version of a dataset; the old version keeps its splits and runs.

The new version takes the dataset's name. The previous one is renamed NAME@1, the next one NAME@2, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.dataset import DatasetInfo, find_dataset
from llmseq_cli.data.ingest import Protocol, build_dataset
from llmseq_cli.data.read_options import ReadOptions
from llmseq_cli.data.splits import SplitRule, rule_of_stored
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.data.readers import ReadReport, Source
    from llmseq_cli.progress import Progress


@dataclass(frozen=True)
class AppendOptions(ReadOptions):
    """Files to add to a dataset; see `ReadOptions` for the options of reading.

    dataset: None if there is only one. paths: files, globs, folders or http(s) URLs. items: files of metadata of new
    items.
    """

    paths: Sequence[str | Path]
    dataset: str | None = None
    items: Sequence[str | Path] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.session_gap is not None:
            raise UsageError("append does not cut sessions", "give files with named sessions")


class LeftOutError(LlmseqError):
    """The k-core leaves out all new interactions."""


def append(con: duckdb.DuckDBPyConnection, dataset: str | None, source: Source, progress: Progress) -> dict[str, Any]:
    """Read the files and store the new version; return what was added. The connection must be in a transaction.

    Interactions that are already stored (same session, item and time) are left out. Those that the k-core leaves out
    are kept waiting: they count again with the next files. Items keep their descriptions. Raises LeftOutError if the
    k-core leaves out all of them (see `keep`), LlmseqError if the files contain nothing new, or the dataset's parts
    come from files.
    """
    old = _newest(con, dataset)
    splits = _splits(con, old)
    report, n_read, new = _stage(con, old, source, progress)
    con.execute(query("append/stage_stored"), {"dataset_id": old.dataset_id})
    version = _version_name(con, old.dataset)
    con.execute("update core.dataset set name = ? where dataset_id = ?", [version, old.dataset_id])
    known = {name: old.protocol[name] for name in ("k_core", "min_session", "deduplicate", "tie_break", "seed")}
    known["anonymise"] = old.protocol.get("anonymise", False)
    about = asdict(report) | {"version_before": version}
    statistics = build_dataset(con, old.dataset, Protocol(**known), about, progress, splits)
    kept = statistics["interactions"] - old.statistics["interactions"]
    if not kept:
        raise LeftOutError(f"the {known['k_core']}-core leaves out the new interactions ({new:,})")
    [(dataset_id,)] = con.execute("select dataset_id from core.dataset where name = ?", [old.dataset]).fetchall()
    left_out = _keep_waiting(con, old, dataset_id)
    grown = con.execute(query("append/growth"), {"old": old.dataset_id, "new": dataset_id}).fetchall()[0]
    return {
        "name": old.dataset,
        "version_before": version,
        "read": n_read,
        "there_already": n_read - new,
        "left_out": left_out,
        "new_interactions": kept,
        **dict(zip(("new_items", "new_sessions", "longer_sessions"), grown, strict=True)),
        "rejected": report.rejected,
        "sessions": statistics["sessions"],
        "items": statistics["items"],
        "interactions": statistics["interactions"],
        "evaluated_sessions": statistics["evaluated_sessions"],
    }


def keep(con: duckdb.DuckDBPyConnection, dataset: str | None, source: Source, progress: Progress) -> dict[str, Any]:
    """Keep interactions that the k-core leaves out for the next files, without a new version; return the same as
    `append`. The connection must be in a transaction."""
    old = _newest(con, dataset)
    report, n_read, new = _stage(con, old, source, progress)
    left_out = _keep_waiting(con, old, old.dataset_id)
    names = ("sessions", "items", "interactions", "evaluated_sessions")
    return {
        "name": old.dataset,
        "version_before": None,
        "read": n_read,
        "there_already": n_read - new,
        "left_out": left_out,
        **dict.fromkeys(("new_interactions", "new_items", "new_sessions", "longer_sessions"), 0),
        "rejected": report.rejected,
        **{name: old.statistics.get(name) for name in names},
    }


def _newest(con: duckdb.DuckDBPyConnection, dataset: str | None) -> DatasetInfo:
    """The dataset. Raises UsageError for an older version."""
    found = find_dataset(con, dataset)
    if "@" in found.dataset:
        newest = found.dataset.partition("@")[0]
        raise UsageError(f"'{found.dataset}' is an older version", f"append to the newest: {newest}")
    return found


def _stage(
    con: duckdb.DuckDBPyConnection, old: DatasetInfo, source: Source, progress: Progress
) -> tuple[ReadReport, int, int]:
    """Read the files into new_interaction and staged_item, together with waiting interactions and known descriptions;
    return the reader's report, the number of interactions in the files, and how many of them are new."""
    from llmseq_cli.data.readers import read

    con.execute(query("ingest/staging"))
    report = read(con, source, progress)
    [(n_read,)] = con.execute("select count(*) from staged_interaction").fetchall()
    con.execute(query("append/stage_new"), {"dataset_id": old.dataset_id, "dataset": old.dataset})
    con.execute(query("append/stage_stored_items"), {"dataset_id": old.dataset_id})
    [(new,)] = con.execute("select count(*) from new_interaction where not waited").fetchall()
    if not new:
        raise LlmseqError(f"'{old.dataset}' already has all {n_read:,} interactions of the files", "give newer files")
    return report, n_read, new


def _keep_waiting(con: duckdb.DuckDBPyConnection, before: DatasetInfo, now: int) -> int:
    """Store new interactions that are not in the version `now`, which has the dataset's name, as waiting there, no
    longer in `before`.

    Returns how many interactions are waiting.
    """
    for table in ("waiting_interaction", "waiting_item"):
        con.execute(f"delete from core.{table} where dataset_id = ?", [before.dataset_id])
    con.execute(query("append/store_waiting"), {"dataset_id": now, "dataset": before.dataset})
    con.execute(query("append/store_waiting_items"), {"dataset_id": now})
    counted = con.execute("select count(*) from core.waiting_interaction where dataset_id = ?", [now]).fetchall()
    return int(counted[0][0])


def _splits(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> list[tuple[str, SplitRule]]:
    """The splits of a dataset and their rules, to repeat them for the new version."""
    rows = con.execute(
        "select name, kind, rule from core.split where dataset_id = ? order by split_id", [info.dataset_id]
    ).fetchall()
    if any(kind == "files" for _, kind, _ in rows):
        raise UsageError(
            f"the parts of '{info.dataset}' come from files, so new rows belong to no part", "ingest all files again"
        )
    return [(name, rule_of_stored(rule)) for name, _, rule in rows]


def _version_name(con: duckdb.DuckDBPyConnection, name: str) -> str:
    """NAME@N, with N one above the existing versions."""
    rows = con.execute("select name from core.dataset where starts_with(name, ? || '@')", [name]).fetchall()
    return f"{name}@{1 + max((int(row[0].rpartition('@')[2]) for row in rows), default=0)}"
