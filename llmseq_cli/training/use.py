"""Use a trained run: recommend for a typed session, score a file of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.dataset import find_dataset, load_catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.progress import Progress
from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import find_run
from llmseq_cli.training.experiment import load_model

if TYPE_CHECKING:
    from llmseq_cli.models.base import Recommender
    from llmseq_cli.store.connection import Store

_OUTPUTS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json"}
_SESSIONS_PER_BLOCK = 20_000


def recommend_items(
    store: Store, run: str, items: Sequence[str], k: int, dataset: str | None = None
) -> list[dict[str, Any]]:
    """Next items for one session; see `Workspace.recommend`."""
    if k < 1:
        raise UsageError(f"-k is {k}", "give at least 1")
    catalog, model = _open(store, run, dataset)
    prompt = Sessions.from_lists([[catalog.find(text) for text in items]])
    ranking = model.recommend(prompt, min(k, len(catalog)))
    return [
        {
            "rank": place + 1,
            "item": str(catalog.external_ids[item]),
            "title": str(catalog.titles[item]),
            "score": float(score),
        }
        for place, (item, score) in enumerate(zip(ranking.items[0], ranking.scores[0], strict=True))
        if item >= 0
    ]


def score_file(
    store: Store, run: str, sessions: str, out: Path, k: int, progress: Progress, dataset: str | None = None
) -> dict[str, Any]:
    """Recommendations for all sessions of a table; see `Workspace.score`.

    The table has a session and an item column, and a time column where its rows are not in order already.
    Items that the catalog does not know are left out and counted, as are sessions that nothing is recommended for.
    """
    import duckdb

    from llmseq_cli.data.readers import read_sessions

    if out.suffix not in _OUTPUTS:
        raise UsageError(f"cannot tell a format from '{out.name}'", f"end it in {', '.join(_OUTPUTS)}")
    if not out.parent.is_dir():
        raise LlmseqError(f"the folder {out.parent} does not exist", "make it first, or give another --out")
    if out.exists() and Path(sessions).exists() and out.samefile(sessions):
        raise UsageError(f"--out is the file of sessions, {out}", "give another --out")
    catalog, model = _open(store, run, dataset)
    with duckdb.connect() as con:
        read_sessions(con, sessions, progress)
        con.register(
            "catalog_items", {"item_id": catalog.external_ids, "item": np.arange(len(catalog), dtype=np.int32)}
        )
        con.execute(query("score/prompts"))
        names = con.execute("select session_id from scored_session order by number").fetchnumpy()["session_id"]
        if not len(names):
            raise LlmseqError(
                f"{sessions} holds no session", "below the header belongs a row for each item of a session"
            )
        rows = con.execute("select number, item from scored_prompt order by number, position").fetchnumpy()
        unknown = con.execute("select count(*) from staged_session_item anti join catalog_items using (item_id)")
        unknown_items = unknown.fetchall()[0][0]
        lengths = np.bincount(np.ma.getdata(rows["number"]), minlength=len(names))
        prompts = Sessions.from_lengths(np.ma.getdata(rows["item"]), lengths, np.arange(len(names)))
        without = 0
        con.execute("create table scored (number integer, rank integer, item integer, score float)")
        with progress.task("Scoring", len(prompts), "sessions") as task:
            for start in range(0, len(prompts), _SESSIONS_PER_BLOCK):
                block = prompts.slice(start, min(start + _SESSIONS_PER_BLOCK, len(prompts)))
                ranking = model.recommend(block, min(k, len(catalog)))
                listed = ranking.items >= 0
                without += int((~listed.any(axis=1)).sum())
                scored_block = {
                    "number": np.repeat(np.arange(start, start + len(block)), listed.sum(axis=1)),
                    "rank": np.broadcast_to(np.arange(1, ranking.k + 1), ranking.items.shape)[listed],
                    "item": ranking.items[listed],
                    "score": ranking.scores[listed],
                }
                con.register("scored_block", scored_block)
                con.execute("insert into scored select * from scored_block")
                con.unregister("scored_block")
                task.advance(len(block))
        partial = out.with_name(out.name + ".partial")
        try:
            con.execute(
                f"copy ({query('score/output')}) to '{str(partial).replace(chr(39), chr(39) * 2)}'"
                f" (format {_OUTPUTS[out.suffix]})"
            )
            partial.replace(out)
        except duckdb.Error as error:
            raise LlmseqError(
                f"cannot write {out}: {str(error).splitlines()[0]}", "check the folder and its space"
            ) from error
        finally:
            partial.unlink(missing_ok=True)
    return {
        "run": run,
        "sessions": len(prompts),
        "sessions_without_recommendations": without,
        "unknown_items": unknown_items,
        "out": str(out),
    }


def _open(store: Store, run: str, dataset: str | None) -> tuple[Catalog, Recommender]:
    with store.read("reading a run") as con:
        if dataset is not None:
            find_dataset(con, dataset)
        info = find_run(con, run, dataset)
        catalog = load_catalog(con, find_dataset(con, info.dataset))
    return catalog, load_model(store.folder, info.run, info.model)
