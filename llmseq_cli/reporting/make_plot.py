"""Make a `Plot` from its kind and the names of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.dataset import find_dataset, load_test, load_train
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.progress import Progress
from llmseq_cli.reporting import analysis
from llmseq_cli.reporting.inspection import curve_of
from llmseq_cli.reporting.leaderboard import make_report
from llmseq_cli.reporting.options import PlotOptions, ReportOptions
from llmseq_cli.reporting.plot import Plot
from llmseq_cli.store.runs import RunInfo, check_within_lists, find_run

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store

OF_DATA = ("popularity", "lengths", "diversity")
OF_RUNS = ("hits-by-popularity", "hits-by-length", "hits-by-position", "training", "coverage", "time")
KINDS = (*OF_DATA, *OF_RUNS)

_MOST_RUNS = 6
"""More lines are hard to distinguish."""


def make_plot(store: Store, kind: str, options: PlotOptions, progress: Progress) -> Plot:
    """The plot of this kind. Raises UsageError for an unknown kind or an option that it does not take, LlmseqError for
    unknown runs and datasets.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no plot '{kind}'", did_you_mean(kind, list(KINDS)))
    if kind in OF_DATA and options.runs:
        raise UsageError(f"{kind} is a plot of a dataset, not of runs", "leave out the runs")
    if options.k < 1 or options.positions < 1:
        raise UsageError("-k and --positions must be at least 1", "leave them out, or give larger values")
    with store.read(f"plotting {kind}") as con:
        if kind in OF_DATA:
            return _of_data(con, kind, options)
        if kind == "training":
            return analysis.training_curves(_histories(con, options, store))
        runs = _runs(con, options, store)
        info = find_dataset(con, runs[0].dataset)
        if kind in ("hits-by-popularity", "hits-by-length"):
            check_within_lists(runs, options.k)
            hits = analysis.hits_by_popularity if kind == "hits-by-popularity" else analysis.hits_by_length
            return hits(con, info, runs, options.k)
        if kind in ("coverage", "time"):
            return analysis.against(_rows(con, info.name, options, store), kind, options.k)
        test = load_test(con, info)
    from llmseq_cli.training.stored_runs import load_model

    with progress.task("Scoring shortened histories", len(runs) * options.positions, "scorings") as task:
        models = [(run.run, load_model(store.folder, run.run, run.model)) for run in runs]
        return analysis.hits_by_position(models, test, info.name, options.k, options.positions, task)


def _of_data(con: duckdb.DuckDBPyConnection, kind: str, options: PlotOptions) -> Plot:
    info = find_dataset(con, options.dataset)
    if kind == "popularity":
        return analysis.popularity_curve(con, info)
    if kind == "lengths":
        return analysis.session_lengths(con, info)
    from llmseq_cli.embeddings.stored import load_embeddings

    vectors = load_embeddings(con, info.dataset_id, options.embeddings, info.statistics["items"])
    return analysis.diversity(load_train(con, info), vectors, info.name)


def _runs(con: duckdb.DuckDBPyConnection, options: PlotOptions, store: Store) -> list[RunInfo]:
    """The named runs, of one dataset; without names, the best run of each model, best first."""
    names: Sequence[str] = options.runs
    if not names:
        dataset = find_dataset(con, options.dataset).name
        names = [row["run"] for row in _rows(con, dataset, PlotOptions(), store)][:_MOST_RUNS]
    if not names:
        raise LlmseqError("there are no runs yet", "run `llmseq train MODEL` first")
    runs = [find_run(con, name, options.dataset, store.progress) for name in dict.fromkeys(names)]
    others = [run for run in runs if run.dataset != runs[0].dataset]
    if others:
        raise UsageError(
            f"{runs[0].run} and {others[0].run} are of different datasets", "plot runs of one dataset at a time"
        )
    return runs


def _histories(
    con: duckdb.DuckDBPyConnection, options: PlotOptions, store: Store
) -> list[tuple[str, list[dict[str, Any]]]]:
    """(run, its epochs) of the named runs; without names, of the best run of each model trained in epochs, best
    first."""
    if options.runs:
        return [(run.run, curve_of(store, run.run)) for run in _runs(con, options, store)]
    rows = make_report(con, find_dataset(con, options.dataset).name, ReportOptions(), store).rows
    found: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for row in rows:
        if row["label"] not in found and (curve := curve_of(store, row["run"])):
            found[row["label"]] = (row["run"], curve)
    return list(found.values())[:_MOST_RUNS]


def _rows(con: duckdb.DuckDBPyConnection, dataset: str, options: PlotOptions, store: Store) -> list[dict[str, Any]]:
    """The leaderboard's rows of the named runs; without names, of the best run of each model, best first."""
    ask = ReportOptions(models=list(options.runs) or None, cutoffs=(options.k,), sort=f"ndcg@{options.k}")
    rows = make_report(con, dataset, ask, store).rows
    if options.runs:
        return rows
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        best.setdefault(row["label"], row)
    return list(best.values())
