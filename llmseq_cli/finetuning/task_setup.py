"""`TaskSetup`: everything that determines a task's questions. Jobs and runs store it, so that training and prediction
ask the same."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.dataset import Dataset
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings, unit_rows
from llmseq_cli.embeddings.reduce import reduce_kept
from llmseq_cli.embeddings.stored import list_embeddings, load_embeddings
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM
from llmseq_cli.finetuning.item_lists import title_groups
from llmseq_cli.finetuning.options import DEFAULT_TASK, TaskOptions
from llmseq_cli.finetuning.tasks.classify import categories_of, choose_categories
from llmseq_cli.finetuning.tasks.registry import find_task
from llmseq_cli.finetuning.tasks.task import Categories, Ingredients
from llmseq_cli.finetuning.templates import Template, load_template
from llmseq_cli.progress import Progress
from llmseq_cli.store.runs import RunInfo, find_run
from llmseq_cli.training.stored_runs import load_model

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store

_UNTAUGHT = ("llmseqsim", "most-popular", "hybrid-popularity", "embedding-ensemble")  # not trained on sessions
_DIM = 128  # to reduce sparse vectors to before k-means, which needs dense ones


@dataclass(frozen=True)
class TaskSetup:
    """Defines the questions of a task.

    template: see `Template`; wording: its name. k: items in a list answer. candidates: the run whose lists are options
    or answers. embeddings: SOURCE:MODEL, for categories. categories: the items that represent them.
    """

    task: str
    wording: str
    template: dict[str, str]
    k: int
    seed: int
    candidates: str | None = None
    embeddings: str | None = None
    categories: tuple[int, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> TaskSetup:
        categories = kept.get("categories")
        return cls(**(kept | {"categories": None if categories is None else tuple(categories)}))

    @property
    def label(self) -> str:
        """The name in reports: the paper's, or TALLRec for its format."""
        return "TALLRec" if self.wording == "tallrec" else find_task(self.task).label


def make_setup(store: Store, dataset: Dataset, options: TaskOptions, progress: Progress) -> TaskSetup:
    """The setup for the options; by default with the best LLMSeqSim run and the newest embeddings.

    Raises UsageError for options that do not fit the task, LlmseqError if something needed is missing.
    """
    task = find_task(options.task or DEFAULT_TASK)
    needed = {task.needs, task.trains_on}
    if options.candidates and "candidates" not in needed:
        raise UsageError(f"the task {task.name} has no candidates", "leave out --candidates")
    template = load_template(
        task.name, options.template or task.template, needs_options=task.lists_options, takes_options=task.lists_options
    )
    candidates = embeddings = categories = None
    if "candidates" in needed:
        with store.read("looking for candidates") as con:
            candidates = _candidate_run(con, dataset, options.candidates, progress).run
    if "categories" in needed:
        loaded = find_item_vectors(store, dataset, options.embeddings, progress)
        embeddings = f"{loaded.source}:{loaded.model}"
        vectors = _dense(store, loaded, dataset, progress)
        with progress.task(f"Clustering items into {options.clusters}"):
            chosen = choose_categories(
                vectors,
                dataset.train.counts(len(dataset.catalog)),
                title_groups(dataset.catalog),
                options.clusters,
                options.seed,
            )
        categories = tuple(chosen.tolist())
    return TaskSetup(
        task.name,
        options.template or task.template or task.name,
        template.to_dict(),
        min(options.k, len(categories)) if categories else options.k,
        options.seed,
        candidates,
        embeddings,
        categories,
    )


def gather(store: Store, dataset: Dataset, setup: TaskSetup, progress: Progress, *, training: bool) -> Ingredients:
    """Collect the ingredients of examples. training: also those that only training answers need."""
    task = find_task(setup.task)
    needed = {task.needs, task.trains_on} if training else {task.needs}
    candidates = categories = None
    if "candidates" in needed:
        with store.read("looking for candidates") as con:
            run = _candidate_run(con, dataset, setup.candidates, progress)
        if training and run.model not in _UNTAUGHT:
            progress.message(f"{run.run} was trained on these sessions: its lists for them are better than for others")
        model = load_model(store.folder, run.run, run.model, len(dataset.catalog))

        def candidates(prompts: Sessions, k: int) -> np.ndarray:
            return model.recommend(prompts, k).items

    if "categories" in needed:
        items = np.array(setup.categories, dtype=np.int32)
        if training:
            loaded = find_item_vectors(store, dataset, setup.embeddings, progress)
            categories = categories_of(items, _dense(store, loaded, dataset, progress))
        else:
            categories = Categories(items, lambda targets, k: np.full((len(targets), k), NO_ITEM, dtype=np.int32))
    return Ingredients(setup.k, setup.seed, title_groups(dataset.catalog), candidates, categories)


def template_of(setup: TaskSetup) -> Template:
    return Template(**setup.template)


def _candidate_run(con: duckdb.DuckDBPyConnection, dataset: Dataset, name: str | None, progress: Progress) -> RunInfo:
    try:
        run = find_run(con, name or "llmseqsim", dataset.info.name, progress)
    except LlmseqError as error:
        if name:
            raise
        raise LlmseqError(
            "candidates come from a run of llmseqsim, and there is none",
            "train one with `llmseq train llmseqsim --embeddings lexical`, or name another run with --candidates",
        ) from error
    if run.model.startswith("prompt-") or run.model == "rerank":
        raise UsageError(f"{run.run} consists of a language model's answers, and has no candidates for other sessions",
                         "name the run of a trained model with --candidates")  # fmt: skip
    return run


def find_item_vectors(store: Store, dataset: Dataset, name: str | None, progress: Progress) -> ItemEmbeddings:
    """The item embeddings of this name, or the newest of the dataset."""
    with store.read("reading item embeddings") as con:
        if name is None:
            listed = list_embeddings(con, dataset.info.name)
            if not listed:
                raise LlmseqError("the dataset has no item embeddings", "make some with `llmseq embed`")
            newest = max(listed, key=lambda row: row["number"])
            name = str(newest["number"])
        return load_embeddings(con, dataset.info.dataset_id, name, len(dataset.catalog))


def _dense(store: Store, embeddings: ItemEmbeddings, dataset: Dataset, progress: Progress) -> np.ndarray:
    """Vectors float32[n_items, dim] with rows of length 1 or 0."""
    if embeddings.is_sparse:
        dim = max(1, min(_DIM, embeddings.dim - 1, embeddings.n_with_vector - 1))
        embeddings = reduce_kept(store.folder, embeddings, dataset.catalog.classes, "pca", dim, 0, progress)
    return unit_rows(np.asarray(embeddings.vectors, dtype=np.float32))
