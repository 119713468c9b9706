"""Runs as they are stored: rows in the database and a folder of files, both or neither."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.files import atomic_folder
from llmseq_cli.models.registry import model_class
from llmseq_cli.store.runs import RunRecord, insert_run, next_run_id, run_name

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.evaluation.evaluate import Evaluation
    from llmseq_cli.models.recommender import Recommender
    from llmseq_cli.store.connection import Store


def store_run(
    store: Store,
    record: RunRecord,
    evaluation: Evaluation,
    metrics: dict[tuple[str, int], float],
    write_files: Callable[[Path], object],
    insert_more: Callable[[duckdb.DuckDBPyConnection, int], None] | None = None,
) -> str:
    """Stores a run in one transaction; returns its name. A run that is listed always has its files.

    write_files: writes the run's files into a folder. insert_more: inserts further rows of the run, by its number.
    Raises LlmseqError if the dataset was removed or replaced in the meantime.
    """
    with store.transaction(f"storing a run of {record.model}", wait=True) as con:
        run_id = next_run_id(con)
        run = run_name(record.model, run_id)
        with atomic_folder(run_folder(store.folder, run), checksums=True) as folder:
            write_files(folder)
            insert_run(
                con,
                run_id,
                record,
                case_ids=evaluation.case_ids,
                ranks=evaluation.ranks,
                items=evaluation.ranking.items,
                scores=evaluation.ranking.scores,
                metrics=metrics,
            )
            if insert_more is not None:
                insert_more(con, run_id)
    return run


def run_folder(workspace: Path, run: str) -> Path:
    """Where the files of a run lie."""
    return workspace / "artifacts" / "runs" / run


def load_model(workspace: Path, run: str, model: str, n_items: int | None = None) -> Recommender:
    """The trained model of a stored run. n_items: of its catalog. Raises LlmseqError if its files are gone or
    damaged, or a language model made it.
    """
    if model.startswith("prompt-"):
        raise UsageError(
            f"{run} holds answers of a language model, which are for the test sessions alone",
            "name the run of a trained model",
        )
    folder = run_folder(workspace, run)
    if not folder.is_dir():
        raise LlmseqError(f"the files of run '{run}' are gone ({folder})", f"train it again: `llmseq train {model}`")
    return model_class(model).load(folder, n_items)


def find_problems(store: Store) -> list[str]:
    """What is wrong with the files of runs, one line each: runs without files, files without runs, leftovers."""
    if not store.file.exists():
        return []
    with store.read("checking the workspace") as con:
        runs = {row[0] for row in con.execute("select run from runs").fetchall()}
    problems = [f"run {run} has no model files" for run in sorted(runs) if not run_folder(store.folder, run).is_dir()]
    with suppress(FileNotFoundError):
        folders = sorted(path.name for path in (store.folder / "artifacts" / "runs").iterdir())
        problems += [
            f"artifacts/runs/{name} belongs to no run and can be deleted" for name in folders if name not in runs
        ]
    return problems
