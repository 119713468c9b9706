"""Use a trained run: open it, score a file of sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.dataset import find_dataset, load_catalog, load_test, load_train
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.files import atomic_path, check_output, temporary_folder
from llmseq_cli.progress import Progress
from llmseq_cli.store.connection import explained
from llmseq_cli.store.interrupts import interruptible
from llmseq_cli.store.queries import copy_to, query
from llmseq_cli.store.runs import RunInfo, find_run
from llmseq_cli.training import scorers
from llmseq_cli.training.options import ScoreOptions
from llmseq_cli.training.ready import ReadyModel, reads_times
from llmseq_cli.training.scorers import Scorer, open_scorer
from llmseq_cli.training.stored_runs import load_model

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.models.recommender import Recommender
    from llmseq_cli.store.connection import Store

_OUTPUTS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json"}


def sampled_metrics_of(
    store: Store, run: str, n: int, drawn: str, seed: int, dataset: str | None = None
) -> dict[str, Any]:
    """Metrics of the run's targets among n drawn items each; see `Workspace.sampled_metrics`."""
    from llmseq_cli.evaluation.sampled import sampled_metrics

    with store.read("reading a run") as con:
        info = find_run(con, run, dataset and find_dataset(con, dataset).name)
        of = find_dataset(con, info.dataset)
        train, test, n_items = load_train(con, of), load_test(con, of), of.statistics["items"]
    model = load_model(store.folder, info.run, info.model)
    recommend = partial(model.recommend, exclude_history=not of.allows_repeats)
    sampled = sampled_metrics(recommend, test, train.counts(n_items), n, drawn, seed)
    about = {"run": info.run, "negatives": n, "drawn": drawn, "seed": seed, "comparable": False}
    return about | asdict(sampled)


def score_file(store: Store, options: ScoreOptions, progress: Progress) -> dict[str, Any]:
    """Recommendations for all sessions of a table.

    Items that the catalog does not know are left out and counted, as are sessions that nothing is recommended for.
    Sessions and lists lie in a database beside `out` meanwhile, and are in memory a block at a time.
    """
    sessions, out = str(options.sessions), Path(options.out)
    if out.suffix not in _OUTPUTS:
        raise UsageError(f"cannot guess a format from '{out.name}'", f"end it in {', '.join(_OUTPUTS)}")
    if not out.parent.is_dir():
        raise LlmseqError(f"the folder {out.parent} does not exist", "make it first, or give another --out")
    if out.exists() and Path(sessions).exists() and out.samefile(sessions):
        raise UsageError(f"--out is the file of sessions, {out}", "give another --out")
    info, catalog, model, repeats = _open(store, options.run, options.dataset)
    fallback = open_run(store, options.fallback, info.dataset) if options.fallback else None
    # A cluster that is not there is told before a large file is read.
    with (
        open_scorer(model, options.backend, exclude_history=not repeats) as scorer,
        _staged(out) as staged,
    ):
        unknown = _stage(staged, sessions, catalog, progress)
        [[n_sessions]] = staged.execute("select count(*) from scored_session").fetchall()
        if not n_sessions:
            raise LlmseqError(
                f"{sessions} holds no session", "below the header belongs a row for each item of a session"
            )
        reading = reads_times(model) or (fallback is not None and fallback.reads_times)
        timed = reading and _all_timed(staged, sessions, progress)
        fallen, without = _score(staged, scorer, fallback, n_sessions, min(options.k, len(catalog)), timed, progress)
        _write(staged, out, safe=options.safe_cells and out.suffix == ".csv")
    return {
        "run": options.run,
        "sessions": n_sessions,
        "sessions_from_fallback": fallen,
        "sessions_without_recommendations": without,
        "unknown_items": unknown,
        "out": str(out),
    }


@contextmanager
def _staged(out: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own, in a folder beside `out` that goes away."""
    import duckdb

    check_output(out)
    with (
        temporary_folder(out) as folder,
        explained(out.parent),
        duckdb.connect(f"{folder}/staged.duckdb") as con,
        interruptible(con),
    ):
        con.execute("set enable_progress_bar = false")
        yield con


def _stage(con: duckdb.DuckDBPyConnection, sessions: str, catalog: Catalog, progress: Progress) -> int:
    """Reads the file of sessions; returns how many rows name an item that the catalog does not know."""
    from llmseq_cli.data.readers import read_sessions

    read_sessions(con, sessions, progress)
    con.register("catalog_items", {"item_id": catalog.external_ids, "item": np.arange(len(catalog), dtype=np.int32)})
    _name_by_title(con, catalog)
    con.execute(query("score/histories"))
    unknown = con.execute("select count(*) from staged_session_item anti join catalog_items using (item_id)")
    return int(unknown.fetchall()[0][0])


def _name_by_title(con: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """Items that the file names by their titles, or by ids in another form of Unicode, get their ids."""
    texts = con.execute("select distinct item_id from staged_session_item anti join catalog_items using (item_id)")
    found = {text: catalog.known(text) for (text,) in texts.fetchall()}
    named = [(text, str(catalog.external_ids[item])) for text, item in found.items() if item is not None]
    if named:
        columns = {"text": [text for text, _ in named], "item_id": [item for _, item in named]}
        con.register("named_item", {name: np.array(texts, dtype=object) for name, texts in columns.items()})
        con.execute(query("score/name_items"))
        con.unregister("named_item")


def _score(
    con: duckdb.DuckDBPyConnection,
    scorer: Scorer,
    fallback: ReadyModel | None,
    n_sessions: int,
    k: int,
    timed: bool,
    progress: Progress,
) -> tuple[int, int]:
    """Fills the table `scored`; returns how many sessions got the fallback's list, and how many none.

    timed: hand on the times of the items.
    """
    size = scorers.SESSIONS_PER_BLOCK
    starts = range(0, n_sessions, size)
    fallen = without = 0
    con.execute("create table scored (number integer, rank integer, item integer, score float)")
    with progress.task("Scoring", n_sessions, "sessions") as task, con.cursor() as reading:
        blocks = (_histories(reading, start, min(start + size, n_sessions), timed) for start in starts)
        for start, ranking in zip(starts, scorer.lists(blocks, k), strict=True):
            listed = ranking.items >= 0
            missing = np.flatnonzero(~listed.any(axis=1))
            if fallback and len(missing):
                histories = _histories(con, start, start + len(ranking), timed).take(missing)
                instead = fallback.model.recommend(histories, k, exclude_history=not fallback.repeats)
                ranking.items[missing], ranking.scores[missing] = instead.items, instead.scores
                listed = ranking.items >= 0
                fallen += int(listed[missing].any(axis=1).sum())
            without += int((~listed.any(axis=1)).sum())
            block = {
                "number": np.repeat(np.arange(start, start + len(ranking)), listed.sum(axis=1)),
                "rank": np.broadcast_to(np.arange(1, ranking.k + 1), ranking.items.shape)[listed],
                "item": ranking.items[listed],
                "score": ranking.scores[listed],
            }
            con.register("scored_block", block)
            con.execute("insert into scored select * from scored_block")
            con.unregister("scored_block")
            task.advance(len(ranking))
    return fallen, without


def _all_timed(con: duckdb.DuckDBPyConnection, file: str, progress: Progress) -> bool:
    """Whether the file has a time for every item; tells where it has times for some only, which are not read then."""
    [[rows, timed]] = con.execute("select count(*), count(time) from scored_history").fetchall()
    if 0 < timed < rows:
        progress.warn(f"{file}: {rows - timed:,} of {rows:,} rows have no time, so the model reads none of the times")
    return bool(timed == rows)


def _histories(con: duckdb.DuckDBPyConnection, start: int, stop: int, timed: bool) -> Sessions:
    """The sessions that are numbered from start up to, not including, stop; timed: with the times of their items."""
    rows = con.execute(query("score/block"), {"start": start, "stop": stop}).fetchnumpy()
    number, item = np.ma.getdata(rows["number"]), np.ma.getdata(rows["item"])
    times = np.ma.getdata(rows["moment"]) if timed else None
    lengths = np.bincount(number - start, minlength=stop - start)
    return Sessions.from_lengths(item, lengths, np.arange(start, stop), times)


def _write(con: duckdb.DuckDBPyConnection, out: Path, *, safe: bool) -> None:
    con.execute(query("export/macros"))
    with atomic_path(out) as partial:
        copy_to(con, "score/output", {"safe": safe}, partial, f"format {_OUTPUTS[out.suffix]}")


def open_run(store: Store, run: str, dataset: str | None = None) -> ReadyModel:
    """A stored run, ready for use; run: as `find_run` takes it."""
    info, catalog, model, repeats = _open(store, run, dataset)
    return ReadyModel(info.run, info.dataset, catalog, model, repeats)


def _open(store: Store, run: str, dataset: str | None) -> tuple[RunInfo, Catalog, Recommender, bool]:
    """The run, its catalog, its model, and whether lists may hold items of the history."""
    with store.read("reading a run") as con:
        if dataset is not None:
            dataset = find_dataset(con, dataset).name
        info = find_run(con, run, dataset, store.progress)
        of = find_dataset(con, info.dataset)
        catalog = load_catalog(con, of)
    return info, catalog, load_model(store.folder, info.run, info.model, len(catalog)), of.allows_repeats
