"""Train a model, score the test sessions, store the run."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.dataset import Dataset, find_dataset, load_dataset
from llmseq_cli.devices import resolve_device
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.reduce import parse_method, reduce_kept
from llmseq_cli.embeddings.stored import load_embeddings
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.evaluate import evaluate
from llmseq_cli.models.base_models import run_names
from llmseq_cli.models.recommender import BaseRun, FitContext, Recommender, WarmStart
from llmseq_cli.models.registry import model_class
from llmseq_cli.progress import Progress
from llmseq_cli.settings import parse_settings
from llmseq_cli.store.connection import Store
from llmseq_cli.store.runs import RunInfo, RunRecord, find_same_run
from llmseq_cli.training.base_runs import BaseRuns, parse_runs
from llmseq_cli.training.environment import environment, peak_memory_mb
from llmseq_cli.training.options import TrainOptions
from llmseq_cli.training.stored_runs import store_run
from llmseq_cli.training.warm import going_on, in_space_of, open_start

if TYPE_CHECKING:
    from llmseq_cli.backend import Backend
    from llmseq_cli.data.sessions import Sessions
    from llmseq_cli.evaluation.ranking import Ranking
    from llmseq_cli.training.ray_training import RayTraining


def run_experiment(store: Store, options: TrainOptions, progress: Progress) -> list[str]:
    """Train and score once per seed; returns the names of the stored runs.

    The store is open only while data is read and while a run is written, so others can use the workspace meanwhile.
    """
    cls = model_class(options.model)
    if not cls.refits:
        raise UsageError(f"{cls.name} is not trained: it asks a language model", "`llmseq rerank RUN --model MODEL`")
    options, earlier = going_on(store, cls, options, progress)
    parse_settings(cls.Settings, options.settings, options.model)  # what is wrong is told before anything is read
    if options.embeddings and cls.embeddings_use == "none":
        raise UsageError(f"{options.model} does not use item embeddings", "leave out --embeddings")
    if not options.embeddings and cls.embeddings_use == "required":
        raise UsageError(
            f"{options.model} needs item embeddings",
            "use --embeddings lexical (after `llmseq embed --source lexical`)",
        )
    _check_reduction(options)
    _check_backend(cls, options.backend)
    with store.read(f"reading data for {options.model}") as con:
        kind = find_dataset(con, options.dataset, one_split=True).kind
        settings = parse_settings(cls.Settings, options.settings, options.model, kind)
        dataset = load_dataset(con, options.dataset, times=cls.needs_times(settings))
        embeddings = None
        if options.embeddings:
            info = dataset.info
            embeddings = load_embeddings(con, info.dataset_id, options.embeddings, len(dataset.catalog))
    warm = open_start(store, earlier, dataset) if earlier else None
    given = dict(options.settings)
    base_models = BaseRuns(store, dataset, options.device, progress).open(
        cls, options.runs or parse_runs(given.get("runs"))
    )
    _say_what_is_never_hit(dataset, settings, embeddings, progress)
    if base_models:
        settings = parse_settings(cls.Settings, given | {"runs": run_names(base_models)}, options.model, kind)
    runs = []
    with _cluster(options) as cluster:
        for seed in range(options.seed, options.seed + options.seeds):
            like = earlier if warm and warm.elsewhere else None
            reduced = _reduced(store, cls, embeddings, dataset.catalog.classes, options, seed, progress, like)
            runs.append(
                _finished(store, settings, dataset, reduced, options, seed)
                or _run_once(
                    store, cls, settings, dataset, reduced, base_models, options, seed, progress, cluster, warm
                )
            )
    return runs


def _check_backend(cls: type[Recommender], backend: Backend) -> None:
    if backend.on_ray:
        from llmseq_cli.training.ray_training import check_backend

        check_backend(cls, backend)


def _cluster(options: TrainOptions) -> Any:
    """Context manager of who trains: a `RayTraining`, or None for this process."""
    if not options.backend.on_ray:
        return nullcontext()
    from llmseq_cli.training.ray_training import RayTraining

    return RayTraining(options.backend, options.device)


def _check_reduction(options: TrainOptions) -> None:
    if options.embeddings is None and (options.reduce or options.dim or options.permute or options.lengths != "unit"):
        what = "permute" if options.permute else "reduce"
        raise UsageError(f"there are no embeddings to {what}", "add --embeddings SOURCE[:MODEL]")
    if options.reduce:
        parse_method(options.reduce)


def _say_what_is_never_hit(
    dataset: Dataset, settings: Any, embeddings: ItemEmbeddings | None, progress: Progress
) -> None:
    """Where a dataset keeps items that training never saw: tell who could recommend them and is not asked to."""
    if dataset.info.keeps_unseen and embeddings is not None and not getattr(settings, "cold_items", True):
        progress.message("items unseen in training are not recommended; --set cold_items=true does, by their text")


def _reduced(
    store: Store,
    cls: type[Recommender],
    embeddings: ItemEmbeddings | None,
    classes: np.ndarray,
    options: TrainOptions,
    seed: int,
    progress: Progress,
    like: RunInfo | None = None,
) -> ItemEmbeddings | None:
    """like: a run on another dataset, in whose space the embeddings are to be."""
    if embeddings is None:
        return None
    if like is not None:
        reduced = in_space_of(store, like, embeddings, options, progress)
        return reduced.permute(seed) if options.permute else reduced
    method, dim = options.reduce, options.dim
    if method is None and cls.needs_dense:
        method = "whiten"
    if dim is None and cls.reduced_dim and method not in ("none", "lda"):
        dim = _default_dim(embeddings, cls.reduced_dim)
    reduced = reduce_kept(store.folder, embeddings, classes, method, dim, seed, progress, lengths=options.lengths)
    return reduced.permute(seed) if options.permute else reduced


def _default_dim(embeddings: ItemEmbeddings, wanted: int) -> int:
    """As many dimensions as wanted, or as the items with a vector give, then a multiple of 8 that heads can share."""
    most = min(embeddings.dim, embeddings.n_with_vector) - 1
    if wanted <= most or wanted == embeddings.dim:
        return wanted
    return most - most % 8 if most > 8 else max(1, most)


def _finished(
    store: Store, settings: Any, dataset: Dataset, embeddings: ItemEmbeddings | None, options: TrainOptions, seed: int
) -> str | None:
    """The run that is already there, if `options` ask for no more than what is missing."""
    if not options.resume:
        return None
    about = embeddings.describe() if embeddings else None
    with store.read(f"looking for runs of {options.model}") as con:
        return find_same_run(
            con, dataset.info.split_id, options.model, seed, options.list_length, settings.to_dict(), about
        )


def _run_once(
    store: Store,
    cls: type[Recommender],
    settings: Any,
    dataset: Dataset,
    embeddings: ItemEmbeddings | None,
    base_models: tuple[BaseRun, ...],
    options: TrainOptions,
    seed: int,
    progress: Progress,
    cluster: RayTraining | None,
    warm: WarmStart | None = None,
) -> str:
    started_at = datetime.now(UTC).replace(tzinfo=None)
    device = cluster.device if cluster else resolve_device(options.device) if cls.uses_device else "cpu"
    model = cls(settings, len(dataset.catalog))
    checkpoints = _checkpoint_folder(store.folder, cls, settings, dataset, embeddings, seed, device)
    context = FitContext(
        dataset.catalog,
        embeddings,
        seed,
        device,
        progress,
        checkpoints,
        resume=options.resume,
        base_models=base_models,
        keeps_unseen=dataset.info.keeps_unseen,
        validation=dataset.validation,
        allows_repeats=dataset.info.allows_repeats,
        refits_validation=True,
        warm=warm,
    )
    clock = time.perf_counter()
    with progress.task(f"Training {cls.title}"):
        fitted = cluster.fit(model, dataset.train, context) if cluster else model.fit(dataset.train, context)
    figures: dict[str, Any] = dict(fitted)
    figures["train_seconds"] = time.perf_counter() - clock
    clock = time.perf_counter()
    evaluation = evaluate(_recommend(model, dataset), dataset.test, options.list_length, progress)
    figures["score_seconds"] = time.perf_counter() - clock
    figures["peak_memory_mb"] = peak_memory_mb()
    record = RunRecord(
        dataset_id=dataset.info.dataset_id,
        split_id=dataset.info.split_id,
        model=cls.name,
        label=cls.label(embeddings),
        seed=seed,
        settings=settings.to_dict(),
        embeddings=embeddings.describe() if embeddings else None,
        environment=environment(device) | (cluster.about() if cluster else {}),
        figures=figures,
        started_at=started_at,
    )
    metrics = evaluation.metrics(dataset.test.targets(), dataset.catalog.popularity)
    run = store_run(store, record, evaluation, metrics, model.save)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return run


def _recommend(model: Recommender, dataset: Dataset) -> Callable[[Sessions, int], Ranking]:
    return partial(model.recommend, exclude_history=not dataset.info.allows_repeats)


def _checkpoint_folder(
    workspace: Path,
    cls: type[Recommender],
    settings: Any,
    dataset: Dataset,
    embeddings: ItemEmbeddings | None,
    seed: int,
    device: str,
) -> Path:
    """Where an interrupted training of exactly this kind lies. How long to train may change in between."""
    about = {
        "model": cls.name,
        "settings": {name: value for name, value in settings.to_dict().items() if name not in cls.free_to_change},
        "dataset": dataset.info.split_id,
        "embeddings": embeddings.describe() if embeddings else None,
        "seed": seed,
        "device": device,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    if embeddings is not None and isinstance(embeddings.vectors, np.ndarray):
        digest.update(np.ascontiguousarray(embeddings.vectors).data)
    return workspace / "artifacts" / "checkpoints" / f"{cls.name}-{digest.hexdigest()[:16]}"
