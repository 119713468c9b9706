"""`Workspace`: everything that the command line does, from Python.

One folder holds all state: `llmseq.duckdb` and `artifacts/`. Each verb opens the store only for as long as it needs
it, so several processes and notebooks can share a workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.progress import Progress, SilentProgress
from llmseq_cli.store.connection import Store, workspace_folder

if TYPE_CHECKING:
    from llmseq_cli.data.append import AppendOptions
    from llmseq_cli.data.moments import Moment
    from llmseq_cli.data.options import IngestOptions
    from llmseq_cli.data.splits import SplitRule
    from llmseq_cli.embeddings.options import EmbedOptions
    from llmseq_cli.finetuning.options import FinetuneOptions
    from llmseq_cli.prompting.memory.options import AuditOptions
    from llmseq_cli.prompting.options import PromptOptions
    from llmseq_cli.prompting.rerank.options import RerankOptions
    from llmseq_cli.reporting.options import PlotOptions, ReportOptions
    from llmseq_cli.reporting.plot import Plot
    from llmseq_cli.reporting.report import Report
    from llmseq_cli.serving.options import ServeOptions
    from llmseq_cli.training.options import ScoreOptions, TrainOptions
    from llmseq_cli.tuning.options import TuneOptions


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

    def ingest(self, options: IngestOptions) -> dict[str, Any]:
        """Read interactions (and item metadata) into a dataset; returns its statistics.

        All or nothing: where anything fails the workspace is as before. Raises LlmseqError for files that cannot be
        read or leave nothing to train on.
        """
        from llmseq_cli.data.ingest_files import ingest_files

        return ingest_files(self.store, options, self.progress)

    def append(self, options: AppendOptions) -> dict[str, Any]:
        """Add interactions and items to a dataset as a new version, which takes its name; returns what came in.

        The version before is called NAME@1, NAME@2, …, and keeps its splits, embeddings and runs. All or nothing.
        """
        from llmseq_cli.data.ingest_files import append_files

        return append_files(self.store, options, self.progress)

    def split(self, rule: SplitRule, *, dataset: str | None = None, name: str | None = None) -> dict[str, Any]:
        """Split a dataset in another way; returns what the split holds.

        name: of the split; else the kind of its rule. Other verbs take it as `dataset="DATASET/NAME"`.
        """
        from llmseq_cli.data.splits import add_split

        return add_split(self.store, dataset, name or rule.kind, rule, self.progress)

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

    def embed(self, options: EmbedOptions) -> dict[str, Any]:
        """Make and keep embeddings of all items; returns what was made."""
        from llmseq_cli.embeddings.make import embed_dataset

        return embed_dataset(self.store, options, self.progress)

    def plan_embed(self, options: EmbedOptions) -> dict[str, Any]:
        """What `embed` would take: texts, tokens, requests, US dollars, minutes. Sends and writes nothing."""
        from llmseq_cli.embeddings.make import plan_dataset

        return plan_dataset(self.store, options)

    def embeddings(self, dataset: str | None = None) -> list[dict[str, Any]]:
        """One dict a stored set of item embeddings."""
        from llmseq_cli.embeddings.stored import list_embeddings

        with self.store.read("listing embeddings") as con:
            return list_embeddings(con, dataset)

    def embedding_batches(self) -> list[dict[str, Any]]:
        """One dict a batch of texts that a batch service has taken, or may have taken, and that is not collected."""
        from llmseq_cli.embeddings.batch_store import list_batches

        with self.store.read("listing batches") as con:
            return list_batches(con)

    def forget_batch(self, number: int) -> dict[str, Any]:
        """Gives up a batch: its texts are sent again. The service is not told, and may still charge for it."""
        from llmseq_cli.embeddings.batch_store import forget_batch

        with self.store.write("forgetting a batch") as con:
            return forget_batch(con, number)

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
        from llmseq_cli.embeddings.nearest import neighbors_of

        return neighbors_of(
            self.store, item, embeddings, self.progress, dataset=dataset, reduce=reduce, dim=dim, k=k, seed=seed
        )

    def train(self, options: TrainOptions) -> list[str]:
        """Train a model, score the evaluated sessions and store one run a seed; returns the runs' names."""
        from llmseq_cli.training.experiment import run_experiment

        if options.from_tuning:
            from llmseq_cli.tuning.results import tuned

            options = tuned(self.store, options, self.progress)
        return run_experiment(self.store, options, self.progress)

    def tune(self, options: TuneOptions) -> dict[str, Any]:
        """Search for a model's best settings over temporal folds of the training sessions; returns the study."""
        from llmseq_cli.tuning.tune import Tuning

        return self.study(Tuning(self.store, options, self.progress).run())

    def studies(self) -> list[dict[str, Any]]:
        """One dict a study, as `study` gives them."""
        from llmseq_cli.tuning.results import list_studies

        return [self.study(name) for name in list_studies(self.folder)]

    def study(self, name: str) -> dict[str, Any]:
        """A study's trials, the best of them, and how much each setting matters."""
        from llmseq_cli.tuning.results import study_overview

        return study_overview(self.folder, name)

    def finetune(self, options: FinetuneOptions) -> dict[str, Any]:
        """Fine-tune a language model (LLMSeqPrompt): build examples, upload, submit; returns the job."""
        from llmseq_cli.finetuning.finetune import FineTuning
        from llmseq_cli.finetuning.jobs import about

        work = FineTuning(self.store, options, self.progress)
        return about(work.ledger, work.run())

    def plan_finetune(self, options: FinetuneOptions) -> dict[str, Any]:
        """What the job would take: examples, tokens, epochs, US dollars, minutes. Sends nothing."""
        from llmseq_cli.finetuning.finetune import FineTuning

        return FineTuning(self.store, options, self.progress).plan()

    def show_examples(self, options: FinetuneOptions, n: int = 3) -> list[dict[str, Any]]:
        """The first n training examples in words, and what is read of their answers. Sends nothing."""
        from llmseq_cli.finetuning.finetune import FineTuning

        return FineTuning(self.store, options, self.progress).show(n)

    def export_examples(self, options: FinetuneOptions, format: str, folder: str | Path) -> dict[str, Any]:
        """Writes training files for a trainer elsewhere (trl, axolotl, alpaca, openai, vertex) into a new folder."""
        from llmseq_cli.finetuning.exports.export import Export

        return Export(self.store, options, format, self.progress).run(Path(folder)).to_dict()

    def import_model(
        self,
        folder: str | Path,
        task: str | None = None,
        *,
        dataset: str | None = None,
        base_model: str | None = None,
    ) -> dict[str, Any]:
        """Makes a job of a model that was trained elsewhere: an adapter of PEFT, or a whole model; returns the job."""
        from llmseq_cli.finetuning.imports import ImportOptions, import_model
        from llmseq_cli.finetuning.jobs import about
        from llmseq_cli.finetuning.ledger import Ledger

        options = ImportOptions(Path(folder), task, dataset, base_model)
        return about(Ledger(self.store), import_model(self.store, options, self.progress))

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

        return act_on_job(
            self.store, self.progress, job, action, dataset, out, refresh=refresh, base_url=base_url, prices=prices
        )

    def retiring_jobs(self) -> list[dict[str, Any]]:
        """One dict a fine-tuning job whose model is shut down, or will be: job, base_model, shutdown, instead."""
        from llmseq_cli.finetuning.job_list import retiring_jobs

        return retiring_jobs(self.store)

    def prompt(self, options: PromptOptions) -> str:
        """Ask a language model for the test sessions, map its answers to the catalog, store a run; returns its name.

        Every answer is kept as it comes: a call that was interrupted and is made again asks only for what is missing.
        """
        from llmseq_cli.prompting.predict import Prompting

        return Prompting(self.store, options, self.progress).run()

    def plan_prompt(self, options: PromptOptions) -> dict[str, Any]:
        """What `prompt` would take: requests, tokens, US dollars, minutes. Sends nothing."""
        from llmseq_cli.prompting.predict import Prompting

        return Prompting(self.store, options, self.progress).plan()

    def rerank(self, options: RerankOptions) -> str:
        """Ask a language model to put the first items of a run's lists in order, store a run; returns its name.

        Answers are kept as `prompt` keeps them.
        """
        from llmseq_cli.prompting.rerank.work import Reranking

        return Reranking(self.store, options, self.progress).run()

    def plan_rerank(self, options: RerankOptions) -> dict[str, Any]:
        """What `rerank` would take: requests, tokens, US dollars, minutes. Sends nothing."""
        from llmseq_cli.prompting.rerank.work import Reranking

        return Reranking(self.store, options, self.progress).plan()

    def audit_llm(self, options: AuditOptions) -> dict[str, Any]:
        """Ask a language model what it knows of a dataset by heart; stores and returns what was found.

        Reports mark the runs of a model that recites. Answers are kept as `prompt` keeps them.
        """
        from llmseq_cli.prompting.memory.audit import Audit

        return Audit(self.store, options, self.progress).run()

    def plan_audit_llm(self, options: AuditOptions) -> dict[str, Any]:
        """What `audit_llm` would take: requests, tokens, US dollars, minutes. Sends nothing."""
        from llmseq_cli.prompting.memory.audit import Audit

        return Audit(self.store, options, self.progress).plan()

    def llm_audits(self, dataset: str | None = None) -> list[dict[str, Any]]:
        """What audits of language models found: one dict a model and probe."""
        from llmseq_cli.prompting.memory.audit import list_audits

        with self.store.read("listing audits") as con:
            return list_audits(con, dataset)

    def prompting_figures(self, run: str) -> dict[str, Any]:
        """What is kept of a run of `prompt` or `rerank` beside its metrics: answers, hallucinations, tokens, money."""
        from llmseq_cli.store.runs import stored_figures

        with self.store.read("reading a run") as con:
            return stored_figures(con, run)

    def recommend(
        self,
        run: str,
        items: Sequence[str],
        *,
        k: int = 20,
        times: Sequence[Moment] | None = None,
        dataset: str | None = None,
        fallback: str | None = None,
    ) -> list[dict[str, Any]]:
        """The next items for a session typed in (ids or titles, oldest first): one dict an item, best first.

        run: a run, "latest" or a model's name (its best run by validation, else its newest); with a dataset, of the
        runs on it. Or the folder of a bundle, as a path with a slash in it. fallback: the run to ask where that one has
        nothing to recommend, as for an empty session. times: of the items (dates, datetimes, or seconds since 1970),
        for a network trained with times; others ignore them.
        """
        from llmseq_cli.bundle.read import open_model

        ready = open_model(self.store, run, dataset)
        rows = ready.next_items([items], k, [times])[0]
        if fallback and not rows:
            rows = open_model(self.store, fallback, ready.dataset).next_items([items], k, [times])[0]
        return rows

    def score(self, options: ScoreOptions) -> dict[str, Any]:
        """Recommend for all sessions of a file; writes session, rank, item and score."""
        from llmseq_cli.training.use import score_file

        return score_file(self.store, options, self.progress)

    def serve(self, options: ServeOptions, ready: Callable[[dict[str, Any]], None] = lambda about: None) -> None:
        """Serve runs or bundles over HTTP until the process gets SIGTERM; Ctrl-C raises KeyboardInterrupt.

        ready: called with {"url", "runs", "workers"} once requests are taken.
        """
        from llmseq_cli.serving.serve import serve

        serve(self.folder, options, self.progress, ready)

    def report(
        self,
        dataset: str | None = None,
        *,
        sort: str = "ndcg@20",
        models: list[str] | None = None,
        cutoffs: tuple[int, ...] = (10, 20),
    ) -> list[dict[str, Any]]:
        """The leaderboard: one dict a run, best first; `leaderboard` does more."""
        from llmseq_cli.reporting.options import ReportOptions

        return self.leaderboard(dataset, ReportOptions(sort=sort, models=models, cutoffs=cutoffs)).rows

    def leaderboard(self, dataset: str | None = None, options: ReportOptions | None = None) -> Report:
        """The leaderboard with all that tables of it need; `write_report` (reporting.formats) makes text of it."""
        from llmseq_cli.reporting.leaderboard import make_report
        from llmseq_cli.reporting.options import ReportOptions

        with self.store.read("reporting") as con:
            return make_report(con, dataset, options or ReportOptions(), self.store)

    def prompting_report(self, dataset: str | None = None, *, paper: bool = False) -> Report:
        """The paper's Table 7 of our runs of `prompt`: hallucinations, unique recommendations, tokens, money."""
        from llmseq_cli.reporting.prompting_table import make_prompting_report

        with self.store.read("reporting") as con:
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

    def sampled_metrics(
        self, run: str, n: int = 100, *, drawn: str = "uniform", seed: int = 0, dataset: str | None = None
    ) -> dict[str, Any]:
        """Metrics of a run's targets among n drawn items each ("uniform" or "popular"), in "metrics".

        They are not stored and compare with no figure over the whole catalog: "comparable" is False. "fewest" and
        "most" say how many items were drawn for a target: of a small catalog fewer than n.
        """
        from llmseq_cli.training.use import sampled_metrics_of

        return sampled_metrics_of(self.store, run, n, drawn, seed, dataset)

    def compare(
        self, first: str, second: str, *, dataset: str | None = None, k: int = 20, sessions: int = 5, test: str = "t"
    ) -> dict[str, Any]:
        """Two runs on one dataset: metrics with paired significance, who finds what, overlap of their lists.

        test: t, permutation or wilcoxon. sessions: how many to show where one of them finds what the other misses.
        """
        from llmseq_cli.reporting.comparison import compare_runs

        return compare_runs(self.store, first, second, dataset=dataset, k=k, sessions=sessions, test=test)

    def export(
        self,
        runs: Sequence[str],
        format: str,
        out: str | Path,
        *,
        dataset: str | None = None,
        k: int | None = None,
        safe_cells: bool = True,
    ) -> dict[str, Any]:
        """Write runs for other programs; returns what was written.

        format: parquet, csv, json (recommendations, one file), trec (a folder: a run file a run, and qrels), recbole (a
        folder: atomic files of the dataset) or mlflow (a folder or tracking server) or bundle (a new folder that
        recommends without a workspace; one run). k: the first k items of a list.
        safe_cells: in CSV, put a ' before texts that a spreadsheet would take for a formula.
        """
        from llmseq_cli.reporting.export import export_runs

        return export_runs(self.store, list(runs), format, str(out), dataset=dataset, k=k, safe_cells=safe_cells)

    def plot(self, kind: str, options: PlotOptions | None = None) -> Plot:
        """What a plot shows: of a dataset (popularity, lengths, diversity) or of runs (training, time, …).

        kind: one of `reporting.make_plot.KINDS`. `reporting.draw_files.draw` makes PNG or SVG of it.
        """
        from llmseq_cli.reporting.make_plot import make_plot
        from llmseq_cli.reporting.options import PlotOptions

        return make_plot(self.store, kind, options or PlotOptions(), self.progress)

    def own_leaderboard(self, statement: str) -> Report:
        """The leaderboard that a query of the user's gives; errors as for `sql`."""
        from llmseq_cli.reporting.leaderboard import own_report

        columns, rows = self.sql(statement)
        with self.store.read("reporting") as con:
            return own_report(con, columns, rows, self.store)

    def sql(
        self, statement: str, *, write: bool = False, most: int | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """(column names, rows) of a user's query; most: only the first rows, so many of them.

        It reads this workspace's tables and nothing else. With `write` it may also change them, and read and write the
        files that it names, but for the workspace's own.
        Raises UsageError for an empty query, LlmseqError for one that has a mistake or goes where it may not.
        """
        from llmseq_cli.store.sandbox import run_sql

        with (self.store.write if write else self.store.read)("running SQL", alone=True) as con:
            return run_sql(con, statement, workspace=self.folder if write else None, most=most)

    def health(self) -> list[str]:
        """What is wrong with the workspace, one line each: runs without files, files without runs, leftovers."""
        from llmseq_cli.training.stored_runs import find_problems

        return find_problems(self.store)
