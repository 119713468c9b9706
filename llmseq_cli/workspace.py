"""`Workspace`: everything that the command line can do, from Python.

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

    folder: see `workspace_folder`; the first verb that writes creates it.
    wait_for_lock: wait while another process writes, instead of raising WorkspaceBusyError.
    progress: receives progress reports; silent by default.
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
        """Nothing stays open between verbs, so there is nothing to close."""

    def ingest(self, options: IngestOptions) -> dict[str, Any]:
        """Read interactions (and item metadata) into a dataset; returns its statistics.

        All or nothing: if anything fails, the workspace does not change. Raises LlmseqError for files that cannot be
        read or leave nothing to train on.
        """
        from llmseq_cli.data.ingest_files import ingest_files

        return ingest_files(self.store, options, self.progress)

    def append(self, options: AppendOptions) -> dict[str, Any]:
        """Add interactions and items to a dataset as a new version, which takes its name; returns what was added.

        The previous version is renamed NAME@1, NAME@2, …, and keeps its splits, embeddings and runs. All or nothing.
        """
        from llmseq_cli.data.ingest_files import append_files

        return append_files(self.store, options, self.progress)

    def split(self, rule: SplitRule, *, dataset: str | None = None, name: str | None = None) -> dict[str, Any]:
        """Add another split to a dataset; returns its statistics.

        name: of the split; default: the kind of its rule. Other verbs take it as `dataset="DATASET/NAME"`.
        """
        from llmseq_cli.data.splits import add_split

        return add_split(self.store, dataset, name or rule.kind, rule, self.progress)

    def datasets(self) -> list[dict[str, Any]]:
        """One dict per dataset."""
        from llmseq_cli.data.describe import list_datasets

        with self.store.read("listing datasets") as con:
            return list_datasets(con)

    def describe(self, dataset: str | None = None) -> dict[str, Any]:
        """Statistics of a dataset as in the paper's Table 2, its split, lengths and popularity."""
        from llmseq_cli.data.describe import describe

        with self.store.read("describing a dataset") as con:
            return describe(con, dataset)

    def audit(self, dataset: str | None = None) -> list[dict[str, Any]]:
        """Risks for an evaluation in a dataset: one dict per finding."""
        from llmseq_cli.data.describe import audit

        with self.store.read("auditing a dataset") as con:
            return audit(con, dataset)

    def embed(self, options: EmbedOptions) -> dict[str, Any]:
        """Make and store embeddings of all items; returns what was made."""
        from llmseq_cli.embeddings.make import embed_dataset

        return embed_dataset(self.store, options, self.progress)

    def plan_embed(self, options: EmbedOptions) -> dict[str, Any]:
        """Estimate `embed`: texts, tokens, requests, US dollars, minutes. Sends and writes nothing."""
        from llmseq_cli.embeddings.make import plan_dataset

        return plan_dataset(self.store, options)

    def embeddings(self, dataset: str | None = None) -> list[dict[str, Any]]:
        """One dict per stored set of item embeddings."""
        from llmseq_cli.embeddings.stored import list_embeddings

        with self.store.read("listing embeddings") as con:
            return list_embeddings(con, dataset)

    def embedding_batches(self) -> list[dict[str, Any]]:
        """One dict per open batch: texts that a batch service has accepted, or may have accepted, and that are not
        collected."""
        from llmseq_cli.embeddings.batch_store import list_batches

        with self.store.read("listing batches") as con:
            return list_batches(con)

    def forget_batch(self, number: int) -> dict[str, Any]:
        """Drop a batch: its texts will be sent again. The service is not notified, and may still charge for it."""
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
        """The items whose vectors are nearest to an item's (id or title) by cosine; reduce as for `train`.

        Returns the item, facts about the vectors, and "neighbors", one dict per item: rank, item, title, similarity.
        """
        from llmseq_cli.embeddings.nearest import neighbors_of

        return neighbors_of(
            self.store, item, embeddings, self.progress, dataset=dataset, reduce=reduce, dim=dim, k=k, seed=seed
        )

    def train(self, options: TrainOptions) -> list[str]:
        """Train a model, score the test sessions and store one run per seed; returns the runs' names."""
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
        """One dict per study, as `study` returns it."""
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
        """Estimate the job: examples, tokens, epochs, US dollars, minutes. Sends nothing."""
        from llmseq_cli.finetuning.finetune import FineTuning

        return FineTuning(self.store, options, self.progress).plan()

    def show_examples(self, options: FinetuneOptions, n: int = 3) -> list[dict[str, Any]]:
        """The first n training examples as text, and how their answers are parsed. Sends nothing."""
        from llmseq_cli.finetuning.finetune import FineTuning

        return FineTuning(self.store, options, self.progress).show(n)

    def export_examples(self, options: FinetuneOptions, format: str, folder: str | Path) -> dict[str, Any]:
        """Write training files for another trainer (trl, axolotl, alpaca, openai, vertex) into a new folder."""
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
        """Import a model that was trained elsewhere, a PEFT adapter or a whole model, as a job; returns the job."""
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
        """One dict per fine-tuning job, oldest first; refresh: ask the provider about unfinished jobs."""
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
        """Act on a fine-tuning job: show, wait, cancel or download; returns it with its steps.

        out: the folder for downloads; default: the job's own.
        """
        from llmseq_cli.finetuning.job_list import act_on_job

        return act_on_job(
            self.store, self.progress, job, action, dataset, out, refresh=refresh, base_url=base_url, prices=prices
        )

    def retiring_jobs(self) -> list[dict[str, Any]]:
        """One dict per fine-tuning job whose model has been or will be shut down: job, base_model, shutdown,
        instead."""
        from llmseq_cli.finetuning.job_list import retiring_jobs

        return retiring_jobs(self.store)

    def prompt(self, options: PromptOptions) -> str:
        """Ask a language model about the test sessions, map its answers to the catalog, store a run; returns its name.

        Every answer is stored as it arrives: repeating an interrupted call asks only for what is missing.
        """
        from llmseq_cli.prompting.predict import Prompting

        return Prompting(self.store, options, self.progress).run()

    def plan_prompt(self, options: PromptOptions) -> dict[str, Any]:
        """Estimate `prompt`: requests, tokens, US dollars, minutes. Sends nothing."""
        from llmseq_cli.prompting.predict import Prompting

        return Prompting(self.store, options, self.progress).plan()

    def rerank(self, options: RerankOptions) -> str:
        """Let a language model reorder the first items of a run's lists, store a run; returns its name.

        Answers are stored as they arrive.
        """
        from llmseq_cli.prompting.rerank.work import Reranking

        return Reranking(self.store, options, self.progress).run()

    def plan_rerank(self, options: RerankOptions) -> dict[str, Any]:
        """Estimate `rerank`: requests, tokens, US dollars, minutes. Sends nothing."""
        from llmseq_cli.prompting.rerank.work import Reranking

        return Reranking(self.store, options, self.progress).plan()

    def audit_llm(self, options: AuditOptions) -> dict[str, Any]:
        """Test whether a language model has memorised a dataset; stores and returns the findings.

        Reports mark the runs of a model that recites. Answers are stored as they arrive.
        """
        from llmseq_cli.prompting.memory.audit import Audit

        return Audit(self.store, options, self.progress).run()

    def plan_audit_llm(self, options: AuditOptions) -> dict[str, Any]:
        """Estimate `audit_llm`: requests, tokens, US dollars, minutes. Sends nothing."""
        from llmseq_cli.prompting.memory.audit import Audit

        return Audit(self.store, options, self.progress).plan()

    def llm_audits(self, dataset: str | None = None) -> list[dict[str, Any]]:
        """Findings of audits of language models: one dict per model and probe."""
        from llmseq_cli.prompting.memory.audit import list_audits

        with self.store.read("listing audits") as con:
            return list_audits(con, dataset)

    def prompting_figures(self, run: str) -> dict[str, Any]:
        """Figures of a run of `prompt` or `rerank` besides its metrics: answers, hallucinations, tokens, costs."""
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
        """The next items for a session (ids or titles, oldest first): one dict per item, best first.

        run: a run, "latest" or a model's name (its best run by validation, or its newest); with a dataset, among runs
        on it. Or the folder of a bundle, as a path with a slash. fallback: the run to use if that one has nothing to
        recommend, for example for an empty session. times: of the items (dates, datetimes, or seconds since 1970), for
        a network trained with times; others ignore them.
        """
        from llmseq_cli.bundle.read import open_model

        ready = open_model(self.store, run, dataset)
        rows = ready.next_items([items], k, [times])[0]
        if fallback and not rows:
            rows = open_model(self.store, fallback, ready.dataset).next_items([items], k, [times])[0]
        return rows

    def score(self, options: ScoreOptions) -> dict[str, Any]:
        """Recommend for all sessions in a file; writes session, rank, item and score."""
        from llmseq_cli.training.use import score_file

        return score_file(self.store, options, self.progress)

    def serve(self, options: ServeOptions, ready: Callable[[dict[str, Any]], None] = lambda about: None) -> None:
        """Serve runs or bundles over HTTP until the process gets SIGTERM; Ctrl-C raises KeyboardInterrupt.

        ready: called with {"url", "runs", "workers"} once the service accepts requests.
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
        """The leaderboard: one dict per run, best first; `leaderboard` has more options."""
        from llmseq_cli.reporting.options import ReportOptions

        return self.leaderboard(dataset, ReportOptions(sort=sort, models=models, cutoffs=cutoffs)).rows

    def leaderboard(self, dataset: str | None = None, options: ReportOptions | None = None) -> Report:
        """The leaderboard with everything for tables; `write_report` (reporting.formats) turns it into text."""
        from llmseq_cli.reporting.leaderboard import make_report
        from llmseq_cli.reporting.options import ReportOptions

        with self.store.read("reporting") as con:
            return make_report(con, dataset, options or ReportOptions(), self.store)

    def prompting_report(self, dataset: str | None = None, *, paper: bool = False) -> Report:
        """The paper's Table 7 for our runs of `prompt`: hallucinations, unique recommendations, tokens, costs."""
        from llmseq_cli.reporting.prompting_table import make_prompting_report

        with self.store.read("reporting") as con:
            return make_prompting_report(con, dataset, paper=paper, store=self.store)

    def show(
        self, run: str, *, dataset: str | None = None, sessions: int = 10, k: int = 5, seed: int = 0
    ) -> dict[str, Any]:
        """Everything stored about a run: settings, versions, device, figures, metrics, training history, and some
        sessions.

        run: as for `recommend`. sessions: how many to draw at random, with their first k recommendations as titles.
        """
        from llmseq_cli.reporting.inspection import show_run

        details, words = show_run(self.store, run, dataset=dataset, sessions=sessions, k=k, seed=seed)
        return asdict(details) | {"samples": words}

    def sampled_metrics(
        self, run: str, n: int = 100, *, drawn: str = "uniform", seed: int = 0, dataset: str | None = None
    ) -> dict[str, Any]:
        """Metrics of a run's targets, each ranked among n sampled items ("uniform" or "popular"), in "metrics".

        They are not stored and not comparable with figures over the whole catalog: "comparable" is False. "fewest" and
        "most" are the numbers of items sampled for a target: fewer than n in a small catalog.
        """
        from llmseq_cli.training.use import sampled_metrics_of

        return sampled_metrics_of(self.store, run, n, drawn, seed, dataset)

    def compare(
        self, first: str, second: str, *, dataset: str | None = None, k: int = 20, sessions: int = 5, test: str = "t"
    ) -> dict[str, Any]:
        """Compare two runs on one dataset: metrics with paired significance, what each finds, overlap of their lists.

        test: t, permutation or wilcoxon. sessions: how many to show that only one of them gets right.
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
        """Export runs for other programs; returns what was written.

        format: parquet, csv, json (recommendations, one file), trec (a folder: one file per run, and qrels), recbole (a
        folder: atomic files of the dataset) or mlflow (a folder or tracking server) or bundle (a new folder that
        recommends without a workspace; one run). k: the first k items of a list.
        safe_cells: in CSV, put a ' before text that a spreadsheet would run as a formula.
        """
        from llmseq_cli.reporting.export import export_runs

        return export_runs(self.store, list(runs), format, str(out), dataset=dataset, k=k, safe_cells=safe_cells)

    def plot(self, kind: str, options: PlotOptions | None = None) -> Plot:
        """The content of a plot of a dataset (popularity, lengths, diversity) or of runs (training, time, …).

        kind: one of `reporting.make_plot.KINDS`. `reporting.draw_files.draw` draws it as PNG or SVG.
        """
        from llmseq_cli.reporting.make_plot import make_plot
        from llmseq_cli.reporting.options import PlotOptions

        return make_plot(self.store, kind, options or PlotOptions(), self.progress)

    def own_leaderboard(self, statement: str) -> Report:
        """The leaderboard of a user's query; errors as for `sql`."""
        from llmseq_cli.reporting.leaderboard import own_report

        columns, rows = self.sql(statement)
        with self.store.read("reporting") as con:
            return own_report(con, columns, rows, self.store)

    def sql(
        self, statement: str, *, write: bool = False, most: int | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """(column names, rows) of a user's query; most: return only this many rows.

        It can read this workspace's tables and nothing else. With `write` it can also change them, and read and write
        files that it names, except the workspace's own. Raises UsageError for an empty query, LlmseqError for an
        invalid or forbidden one.
        """
        from llmseq_cli.store.sandbox import run_sql

        with (self.store.write if write else self.store.read)("running SQL", alone=True) as con:
            return run_sql(con, statement, workspace=self.folder if write else None, most=most)

    def health(self) -> list[str]:
        """Problems of the workspace, one line each: runs without files, files without runs, leftovers."""
        from llmseq_cli.training.stored_runs import find_problems

        return find_problems(self.store)
