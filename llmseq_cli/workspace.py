"""`Workspace`: everything that the command line does, from Python.

One folder holds all state: `llmseq.duckdb` and `artifacts/`. Each verb opens the store only for as long as it needs
it, so several processes and notebooks can share a workspace.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.ingest import Protocol
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.progress import Progress, SilentProgress
from llmseq_cli.store.connection import Store

if TYPE_CHECKING:
    from llmseq_cli.reporting.figures import Figure
    from llmseq_cli.reporting.report import Report
    from llmseq_cli.training.experiment import Experiment

DEFAULT_FOLDER = ".llmseq"

_WISHES = ("template", "candidates", "embeddings", "k", "clusters", "seed")


def workspace_folder(named: str | Path | None = None) -> Path:
    """The folder that is meant: as named, else $LLMSEQ_WORKSPACE, else ./.llmseq."""
    return Path(named or os.environ.get("LLMSEQ_WORKSPACE") or DEFAULT_FOLDER).expanduser()


class Workspace:
    """A folder of datasets, embeddings and runs.

    folder: see `workspace_folder`; it is made by the first verb that writes.
    wait_for_lock: wait while another process writes, instead of raising WorkspaceBusyError.
    progress: who is told how long work gets on; silent by default.
    """

    def __init__(
        self, folder: str | Path | None = None, *, wait_for_lock: bool = False, progress: Progress | None = None
    ) -> None:
        self.folder = workspace_folder(folder)
        self.progress = progress or SilentProgress()
        self.store = Store(self.folder, wait_for_lock=wait_for_lock, progress=self.progress)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held open between verbs, so there is nothing to close."""

    def ingest(
        self,
        paths: Sequence[str | Path],
        *,
        name: str,
        format: str = "auto",
        items: Sequence[str | Path] = (),
        columns: dict[str, str] | None = None,
        protocol: Protocol | None = None,
        replace: bool = False,
        strict: bool = False,
    ) -> dict[str, Any]:
        """Read interactions (and item metadata) into a dataset; returns its statistics.

        All or nothing: where anything fails the workspace is as before. `columns` maps user, item, time, title and
        category to columns of a table. Raises LlmseqError for files that cannot be read or leave nothing to train on.
        """
        from llmseq_cli.data.downloads.addresses import fetch_all
        from llmseq_cli.data.ingest import build_dataset
        from llmseq_cli.data.readers import Source, read
        from llmseq_cli.store.queries import query

        if not name or name != name.strip() or "/" in name:
            raise UsageError(
                f"'{name}' cannot name a dataset", "use letters, digits, - and _, for example --name beauty"
            )
        self._check_free(name, replace)
        source = Source(
            paths=fetch_all([str(path) for path in paths], self.folder / "artifacts" / "downloads", self.progress),
            items=fetch_all([str(path) for path in items], self.folder / "artifacts" / "downloads", self.progress),
            format=format,
            columns=columns or {},
            strict=strict,
        )
        with self.store.transaction(f"ingesting '{name}'") as con:
            removed = self._remove_dataset(con, name) if replace else []
            con.execute(query("ingest/staging"))
            report = read(con, source, self.progress)
            statistics = build_dataset(con, name, protocol or Protocol(), asdict(report), self.progress)
        for path in removed:
            shutil.rmtree(self.folder / "artifacts" / path, ignore_errors=True)
        return {
            "name": name,
            "format": report.format,
            "notes": report.notes,
            "runs_removed": sum(path.startswith("runs/") for path in removed),
        } | statistics

    def _check_free(self, name: str, replace: bool) -> None:
        """Refuse early, before hours of reading, what would be refused at the end."""
        if replace or not self.store.file.exists():
            return
        with self.store.read("looking for datasets") as con:
            taken = con.execute("select 1 from core.dataset where name = ?", [name]).fetchall()
        if taken:
            raise LlmseqError(
                f"there is a dataset '{name}' already", "say --replace to put this in its place, or another --name"
            )

    @staticmethod
    def _remove_dataset(con: Any, name: str) -> list[str]:
        """Delete a dataset and what was made of it; returns the folders of its runs and studies."""
        from llmseq_cli.data.splits import delete_splits
        from llmseq_cli.embeddings.stored import delete_embeddings
        from llmseq_cli.store.queries import query
        from llmseq_cli.store.runs import delete_runs

        folders: list[str] = []
        for (dataset_id,) in con.execute("select dataset_id from core.dataset where name = ?", [name]).fetchall():
            delete_embeddings(con, dataset_id)
            folders += [f"runs/{run}" for run in delete_runs(con, dataset_id)]
            studies = con.execute(query("tuning/studies"), {"dataset_id": dataset_id}).fetchall()
            folders += [f"studies/{study}" for (study,) in studies]
            con.execute(
                "delete from core.trial where split_id in (select split_id from core.split where dataset_id = ?)",
                [dataset_id],
            )
            delete_splits(con, dataset_id)
            for table in ("interaction", "session", "item", "rejection", "dataset"):
                con.execute(f"delete from core.{table} where dataset_id = ?", [dataset_id])
        return folders

    def datasets(self) -> list[dict[str, Any]]:
        """One dict a dataset."""
        from llmseq_cli.data.describe import list_datasets

        with self.store.read("listing datasets") as con:
            return list_datasets(con)

    def describe(self, dataset: str | None = None) -> dict[str, Any]:
        """Statistics of a dataset as in the paper's Table 2, its split, lengths and popularity."""
        from llmseq_cli.data.describe import describe

        with self.store.read("describing a dataset") as con:
            return describe(con, dataset)

    def audit(self, dataset: str | None = None) -> list[dict[str, Any]]:
        """What in a dataset endangers an evaluation: one dict a finding."""
        from llmseq_cli.data.describe import audit

        with self.store.read("auditing a dataset") as con:
            return audit(con, dataset)

    def embed(
        self,
        dataset: str | None = None,
        *,
        source: str = "lexical",
        text: str = "{title}",
        dimensions: int | None = None,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        dry_run: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Make and keep embeddings of all items; returns what was made.

        source: "lexical" (TF-IDF of words and character n-grams, no network) or one whose texts' vectors are cached,
        such as "openai". text: a template over the items' attributes. dimensions: as many as the source is asked for;
        None is its own number, for "lexical" sparse vectors. dry_run: send and write nothing, return what it would
        take. options, for cached sources: model, base_url, concurrency, requests_per_minute, tokens_per_minute,
        max_cost (US dollars), prices (a file), retry_refused, and for OpenAI's batch service batch, resume, wait; for
        "huggingface" backend ("ray": the workers of a cluster compute), ray_address, jobs.
        """
        from llmseq_cli.embeddings.make import EmbedOptions, embed_dataset, plan_dataset

        try:
            given = EmbedOptions(source, None, text, dimensions, settings=settings or {}, seed=seed)
            given = replace(given, **options)
        except TypeError as error:
            raise UsageError(f"embed: {error}", "help(Workspace.embed) lists the options") from error
        if dry_run:
            return plan_dataset(self.store, dataset, given)
        return embed_dataset(self.store, dataset, given, self.progress)

    def embeddings(self, dataset: str | None = None) -> list[dict[str, Any]]:
        """One dict a stored set of item embeddings."""
        from llmseq_cli.data.dataset import find_dataset
        from llmseq_cli.embeddings.stored import list_embeddings

        with self.store.read("listing embeddings") as con:
            if dataset is not None:
                find_dataset(con, dataset)
            return list_embeddings(con, dataset)

    def neighbors(
        self,
        item: str,
        embeddings: str,
        *,
        dataset: str | None = None,
        reduce: str | None = None,
        dim: int | None = None,
        k: int = 20,
        seed: int = 0,
    ) -> dict[str, Any]:
        """The items whose vectors are nearest to an item's (id or title) by cosine, to look at; reduce as for `train`.

        Returns the item, what the vectors are, and in "neighbors" one dict an item: rank, item, title, similarity.
        """
        from llmseq_cli.data.dataset import find_dataset, load_catalog
        from llmseq_cli.embeddings.nearest import nearest_items
        from llmseq_cli.embeddings.reduce import reduce_kept
        from llmseq_cli.embeddings.stored import load_embeddings

        if k < 1:
            raise UsageError(f"-k is {k}", "give at least 1")
        with self.store.read("looking for neighbors") as con:
            info = find_dataset(con, dataset)
            catalog = load_catalog(con, info)
            number = catalog.find(item)
            loaded = load_embeddings(con, info.dataset_id, embeddings, len(catalog))
        reduced = reduce_kept(self.folder, loaded, catalog.classes, reduce, dim, seed, self.progress)
        near = nearest_items(reduced, number, min(k, len(catalog)))

        def about(one: int) -> dict[str, Any]:
            return {"item": str(catalog.external_ids[one]), "title": str(catalog.titles[one])}

        listed = zip(near.items[0].tolist(), near.scores[0].tolist(), strict=True)
        rows = [
            {"rank": place, **about(one), "similarity": score}
            for place, (one, score) in enumerate(listed, 1)
            if one >= 0
        ]
        return {**about(number), "dataset": info.name, "embeddings": reduced.describe(), "neighbors": rows}

    def train(
        self,
        model: str,
        *,
        dataset: str | None = None,
        embeddings: str | None = None,
        reduce: str | None = None,
        dim: int | None = None,
        permute: bool = False,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        seeds: int = 1,
        device: str = "auto",
        depth: int | None = None,
        resume: bool = False,
        runs: Sequence[str] = (),
        from_tuning: bool | str = False,
        backend: str | None = None,
        ray_address: str | None = None,
        workers: int | None = None,
    ) -> list[str]:
        """Train a model, score the evaluated sessions and store one run a seed; returns the runs' names.

        reduce, dim: none, pca, whiten (or whiten@POWER), lda, autoencoder or random, to so many dimensions; without
        them dense embeddings are whitened and sparse ones left as they are. permute: then deal the vectors out among
        the items at random by the seed, a control. settings: by name, as `llmseq models`
        lists them. depth: how many items of each list are kept (default 100). resume: go on where a training of the
        same model with the same settings was interrupted; runs that are finished are returned as they are. runs: what
        a hybrid or blend is made of, names as for `recommend`. from_tuning: take the settings and embeddings of the
        best trial, of any study of the model on the dataset or of the one that is named; what is given goes first.
        backend: "ray" has a neural model trained by several workers of a Ray cluster together, the one at ray_address
        or one that is started; workers: how many, else one a GPU, or one a machine where there is none.
        """
        from llmseq_cli.training.experiment import DEFAULT_DEPTH, Experiment, run_experiment

        experiment: Experiment = Experiment(
            model,
            dataset,
            embeddings,
            settings,
            seed,
            device,
            DEFAULT_DEPTH if depth is None else depth,
            reduce,
            dim,
            resume,
            tuple(runs),
            permute,
            backend,
            ray_address,
            workers,
        )
        if from_tuning:
            from llmseq_cli.tuning.results import tuned

            study = from_tuning if isinstance(from_tuning, str) else None
            experiment = tuned(self.store, experiment, study, self.progress)
        return run_experiment(self.store, experiment, seeds, self.progress)

    def tune(self, model: str, **options: Any) -> dict[str, Any]:
        """Search for a model's best settings over temporal folds of the training sessions; returns the study.

        options: dataset, study (its name), trials (of the whole study), timeout (seconds), patience, startup, settings
        (given a value), search ({"k": "50..800"} in place of the model's own ranges), embeddings, reduce, dims and
        runs (sequences), seed, device, jobs, backend ("loky" or "ray"), ray_address, resume.
        """
        from llmseq_cli.tuning.tune import TuneOptions, Tuning

        for name in {"embeddings", "reduce", "dims", "runs"} & options.keys():
            options[name] = tuple(options[name])
        try:
            given = TuneOptions(model, **options)
        except TypeError as error:
            raise UsageError(f"tune: {error}", "help(Workspace.tune) lists the options") from error
        return self.study(Tuning(self.store, given, self.progress).run())

    def studies(self) -> list[dict[str, Any]]:
        """One dict a study, as `study` gives them."""
        from llmseq_cli.tuning.results import list_studies

        return [self.study(name) for name in list_studies(self.folder)]

    def study(self, name: str) -> dict[str, Any]:
        """A study's trials, the best of them, and how much each setting matters."""
        from llmseq_cli.tuning.results import study_overview

        return study_overview(self.folder, name)

    def finetune(
        self, task: str, *, show: int | None = None, dry_run: bool = False, **options: Any
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Fine-tune a language model (LLMSeqPrompt): build examples, upload, submit; returns the job.

        task: genitem, genlist, classify or rank. show: return the first examples in words and send nothing. dry_run:
        return what the job would take. options: dataset, provider, model, base_url, candidates (a run), embeddings,
        template (a file), k, clusters, limit, validation, context, suffix, settings (hyperparameters by name), seed,
        max_cost (US dollars), prices (a file), again, prepare_only, wait.
        """
        from llmseq_cli.finetuning.finetune import FinetuneOptions, FineTuning
        from llmseq_cli.finetuning.jobs import about
        from llmseq_cli.finetuning.task_setup import Wishes

        wished = {name: options.pop(name) for name in _WISHES if name in options}
        try:
            given = FinetuneOptions(Wishes(task, **wished), **options)
        except TypeError as error:
            raise UsageError(f"finetune: {error}", "help(Workspace.finetune) lists the options") from error
        work = FineTuning(self.store, given, self.progress)
        if show is not None:
            return work.show(show)
        return work.plan() if dry_run else about(work.ledger, work.run())

    def jobs(
        self,
        dataset: str | None = None,
        *,
        refresh: bool = True,
        base_url: str | None = None,
        prices: str | None = None,
    ) -> list[dict[str, Any]]:
        """One dict a fine-tuning job, oldest first; refresh: ask the provider for those that are not over."""
        from llmseq_cli.finetuning.job_list import list_jobs

        return list_jobs(self.store, self.progress, dataset, refresh=refresh, base_url=base_url, prices=prices)

    def job(
        self,
        job: str = "latest",
        action: str = "show",
        *,
        dataset: str | None = None,
        out: str | Path | None = None,
        refresh: bool = True,
        base_url: str | None = None,
        prices: str | None = None,
    ) -> dict[str, Any]:
        """Look at a fine-tuning job: show, wait, cancel or download; returns it with its steps.

        out: the folder that download writes to, else the job's own.
        """
        from llmseq_cli.finetuning.job_list import act_on_job

        folder = None if out is None else Path(out)
        return act_on_job(
            self.store, self.progress, job, action, dataset, folder, refresh=refresh, base_url=base_url, prices=prices
        )

    def prompt(
        self,
        job: str | None = None,
        *,
        base_model: str | None = None,
        task: str | None = None,
        dry_run: bool = False,
        **options: Any,
    ) -> str | dict[str, Any]:
        """Ask a language model for the test sessions, map its answers to the catalog, store a run; returns its name.

        job: a fine-tuning job, whose model is asked. base_model: any model instead; with a job it is asked the same as
        the job's, else for the task, by default genitem. Every answer is kept as it comes: a call that was interrupted
        and is made again asks only for what is missing. dry_run: return what it would take. options: dataset, provider,
        base_url, temperature, top_p, samples, max_tokens, limit (sessions), context, concurrency, requests_per_minute,
        tokens_per_minute, max_cost (US dollars), prices (a file), retry_refused, embeddings (that map answers to items;
        the newest), and without a job candidates (a run), template (a file), k, clusters, seed.
        """
        from llmseq_cli.finetuning.task_setup import Wishes
        from llmseq_cli.prompting.predict import Prompting, PromptOptions

        wished = {name: options.pop(name) for name in _WISHES if name in options}
        try:
            given = PromptOptions(job, base_model, Wishes(task or "genitem", **wished), task, **options)
        except TypeError as error:
            raise UsageError(f"prompt: {error}", "help(Workspace.prompt) lists the options") from error
        work = Prompting(self.store, given, self.progress)
        return work.plan() if dry_run else work.run()

    def prompting_figures(self, run: str) -> dict[str, Any]:
        """What is kept of a run of `prompt` beside its metrics: answers, hallucinations, tokens, money."""
        import json

        with self.store.read("reading a run") as con:
            rows = con.execute("select figures from runs where run = ?", [run]).fetchall()
        if not rows:
            raise LlmseqError(f"there is no run '{run}'", "`llmseq report` lists runs")
        return json.loads(rows[0][0])

    def recommend(
        self, run: str, items: Sequence[str], *, k: int = 20, dataset: str | None = None
    ) -> list[dict[str, Any]]:
        """The next items for a session typed in (ids or titles, oldest first): one dict an item, best first.

        run: a run, "latest" or a model's name, which is its best run; with a dataset, of the runs on it.
        """
        from llmseq_cli.training.use import recommend_items

        return recommend_items(self.store, run, items, k, dataset)

    def score(
        self,
        run: str,
        sessions: str | Path,
        out: str | Path,
        *,
        k: int = 20,
        dataset: str | None = None,
        backend: str | None = None,
        ray_address: str | None = None,
        jobs: int | None = None,
    ) -> dict[str, Any]:
        """Recommend for all sessions of a file; writes session, rank, item, score as Parquet, CSV or JSON lines.

        run, dataset: as for `recommend`. backend: "ray" has the workers of a Ray cluster score, the one at ray_address
        or one of this machine's own, `jobs` blocks of sessions at a time; the lists are the same.
        """
        from llmseq_cli.training.use import score_file

        return score_file(
            self.store, run, str(sessions), Path(out), k, self.progress, dataset, backend, ray_address, jobs
        )

    def report(
        self,
        dataset: str | None = None,
        *,
        sort: str = "ndcg@20",
        models: list[str] | None = None,
        cutoffs: tuple[int, ...] = (10, 20),
    ) -> list[dict[str, Any]]:
        """The leaderboard: one dict a run, best first; `leaderboard` takes further wishes."""
        return self.leaderboard(dataset, sort=sort, models=models, cutoffs=cutoffs).rows

    def leaderboard(self, dataset: str | None = None, **wishes: Any) -> Report:
        """The leaderboard with all that tables of it need; `write_report` (reporting.formats) makes text of it.

        wishes: as `ReportWishes` (reporting.leaderboard) has them: sort, models, cutoffs, where, columns, group,
        paper, significance, baseline, test, segments.
        """
        from llmseq_cli.data.dataset import find_dataset
        from llmseq_cli.reporting.leaderboard import ReportWishes, make_report

        with self.store.read("reporting") as con:
            if dataset is not None:
                find_dataset(con, dataset)
            return make_report(con, dataset, ReportWishes(**wishes), self.store)

    def prompting_report(self, dataset: str | None = None, *, paper: bool = False) -> Report:
        """The paper's Table 7 of our runs of `prompt`: hallucinations, unique recommendations, tokens, money."""
        from llmseq_cli.data.dataset import find_dataset
        from llmseq_cli.reporting.prompting_table import make_prompting_report

        with self.store.read("reporting") as con:
            if dataset is not None:
                find_dataset(con, dataset)
            return make_prompting_report(con, dataset, paper=paper, store=self.store)

    def show(
        self, run: str, *, dataset: str | None = None, sessions: int = 10, k: int = 5, seed: int = 0
    ) -> dict[str, Any]:
        """All that is kept of a run: settings, versions, device, figures, metrics, training history, and some sessions.

        run: as for `recommend`. sessions: how many to draw at random, with their first k recommendations as titles.
        """
        from llmseq_cli.reporting.inspection import show_run

        details, words = show_run(self.store, run, dataset=dataset, sessions=sessions, k=k, seed=seed)
        return asdict(details) | {"samples": words}

    def compare(
        self,
        first: str,
        second: str,
        *,
        dataset: str | None = None,
        k: int = 20,
        sessions: int = 5,
        test: str = "t",
    ) -> dict[str, Any]:
        """Two runs on one dataset: metrics with paired significance, who finds what, overlap of their lists.

        test: t, permutation or wilcoxon. sessions: how many to show where one of them finds what the other misses.
        """
        from llmseq_cli.reporting.comparison import compare_runs

        return compare_runs(self.store, first, second, dataset=dataset, k=k, sessions=sessions, test=test)

    def export(
        self, runs: Sequence[str], format: str, out: str | Path, *, dataset: str | None = None, k: int | None = None
    ) -> dict[str, Any]:
        """Write runs for other programs; returns what was written.

        format: parquet, csv, json (recommendations, one file), trec (a folder: a run file a run, and qrels), recbole (a
        folder: atomic files of the dataset) or mlflow (a folder or tracking server). k: the first k items of a list.
        """
        from llmseq_cli.reporting.export import export_runs

        return export_runs(self.store, list(runs), format, str(out), dataset=dataset, k=k)

    def figure(self, kind: str, *runs: str, **wishes: Any) -> Figure:
        """What a plot shows: of a dataset (popularity, lengths, diversity) or of runs (training, time, …).

        kind: one of `reporting.make_figure.KINDS`. wishes: dataset, k, embeddings, positions, as `FigureWishes` has
        them. `reporting.plots.draw` makes PNG or SVG of it.
        """
        from llmseq_cli.reporting.make_figure import FigureWishes, make_figure
        from llmseq_cli.training.experiment import load_model

        return make_figure(
            self.store,
            kind,
            FigureWishes(runs, **wishes),
            lambda run: load_model(self.store.folder, run.run, run.model),
            self.progress,
        )

    def own_leaderboard(self, statement: str) -> Report:
        """The leaderboard that a query of the user's gives; errors as for `sql`."""
        from llmseq_cli.reporting.leaderboard import own_report

        columns, rows = self.sql(statement)
        with self.store.read("reporting") as con:
            return own_report(con, columns, rows, self.store)

    def sql(self, statement: str, *, write: bool = False) -> tuple[list[str], list[tuple[Any, ...]]]:
        """(column names, rows) of a user's query; only reading unless `write`.

        Raises UsageError for an empty query, LlmseqError for one that has a mistake or names what is not there.
        """
        import duckdb

        opened = self.store.write("running SQL") if write else self.store.read("running SQL")
        with opened as con:
            try:
                cursor = con.execute(statement)
            except (duckdb.ProgrammingError, duckdb.ConversionException) as error:
                said = str(error).partition("\n\nLINE")[0]
                raise LlmseqError(
                    " ".join(said.split()), '`llmseq sql "show tables"` lists tables, "describe TABLE" columns'
                ) from error
            if cursor is None:  # nothing but spaces or comments
                raise UsageError("the query is empty", 'for example llmseq sql "show tables"')
            columns = [column[0] for column in cursor.description or []]
            return columns, cursor.fetchall() if columns else []

    def health(self) -> list[str]:
        """What is wrong with the workspace, one line each: runs without files, files without runs, leftovers."""
        from llmseq_cli.training.experiment import run_folder

        if not self.store.file.exists():
            return []
        problems = []
        with self.store.read("checking the workspace") as con:
            runs = {row[0] for row in con.execute("select run from runs").fetchall()}
        problems += [
            f"run {run} has no model files" for run in sorted(runs) if not run_folder(self.folder, run).is_dir()
        ]
        with suppress(FileNotFoundError):
            folders = sorted(path.name for path in (self.folder / "artifacts" / "runs").iterdir())
            problems += [
                f"artifacts/runs/{name} belongs to no run and can be deleted" for name in folders if name not in runs
            ]
        return problems
