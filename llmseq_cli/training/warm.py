"""Continue training from an earlier run, usually one on an older version of the dataset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmseq_cli.data.dataset import Dataset, find_dataset, load_catalog
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings, unit_rows
from llmseq_cli.embeddings.reduce import reduce_kept
from llmseq_cli.embeddings.stored import load_embeddings
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.models.recommender import Recommender, WarmStart
from llmseq_cli.progress import Progress
from llmseq_cli.store.connection import Store
from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import RunInfo, find_run
from llmseq_cli.training.options import TrainOptions
from llmseq_cli.training.stored_runs import load_model

_AFFINE = ("pca", "whiten", "random")


def going_on(
    store: Store, cls: type[Recommender], options: TrainOptions, progress: Progress
) -> tuple[TrainOptions, RunInfo | None]:
    """The options with what is left unsaid taken from the run that `options.warm` names, and that run.

    Raises UsageError if the model cannot go on from it.
    """
    if not options.warm:
        if options.settings.get("warm"):
            raise UsageError("'warm' is no setting to give", f"use --warm {options.settings['warm']}")
        return options, None
    if not cls.starts_warm:
        raise UsageError(
            f"{options.model} cannot start from another run", "leave out --warm: it trains from scratch in a moment"
        )
    with store.read("looking for a run") as con:
        found = find_run(con, options.warm, None, progress)
    if found.model != options.model:
        raise UsageError(f"{found.run} is a run of {found.model}, not of {options.model}", f"train {found.model}")
    about = found.embeddings
    if about and about.get("permuted"):
        raise UsageError(f"{found.run} was trained with shuffled vectors, a control", "start from another run")
    if about and options.embeddings is None:
        options = replace(
            options,
            embeddings=f"{about['source']}:{about['model']}",
            reduce=options.reduce or about["reduce"],
            dim=options.dim or (None if about["reduce"] == "none" else about["dim"]),
            lengths=about.get("lengths", "unit"),
        )
    settings = {**found.settings, **options.settings, "warm": found.run}
    return replace(options, settings=settings), found


def open_start(store: Store, run: RunInfo, dataset: Dataset) -> WarmStart:
    """What training goes on from. Raises LlmseqError if the run trained on what the dataset's split tests."""
    with store.read(f"reading {run.run}") as con:
        of = find_dataset(con, run.dataset)
        given = {"trained": of.split_id, "tested": dataset.info.split_id}
        [(seen,)] = con.execute(query("append/trained_targets"), given).fetchall()
        if seen:
            raise LlmseqError(
                f"{run.run} was trained on {seen:,} of the items that {dataset.info.name} tests",
                "start from a run on an older version, with the same split",
            )
        catalog = load_catalog(con, of)
    elsewhere = not _same_line(run, dataset)
    numbers = {item: number for number, item in enumerate(dataset.catalog.external_ids.tolist())}
    items = np.array([numbers.get(item, -1) for item in catalog.external_ids.tolist()], dtype=np.int64)
    return WarmStart(run.run, load_model(store.folder, run.run, run.model, len(catalog)), items, elsewhere)


def _same_line(run: RunInfo, dataset: Dataset) -> bool:
    """Whether the run is on the dataset or a version of it: "shop", "shop@1"."""
    return run.dataset.partition("/")[0].partition("@")[0] == dataset.info.dataset.partition("@")[0]


def in_space_of(
    store: Store, run: RunInfo, embeddings: ItemEmbeddings, options: TrainOptions, progress: Progress
) -> ItemEmbeddings:
    """The embeddings reduced as those of the run on another dataset were: by the same map, not one of their own.

    embeddings: not reduced, of the same source and model. Reductions that are one matrix and a shift are found again
    from what they made of the other dataset's vectors.
    """
    about = run.embeddings
    if not about:
        raise UsageError(f"{run.run} has no embeddings to know other items by", "name a run with --embeddings")
    if options.reduce != about["reduce"] or options.dim not in (None, about["dim"]):
        raise UsageError(f"{run.run} has its vectors by {about['reduce']}", "leave --reduce and --dim out")
    if about["reduce"] == "none":
        return embeddings
    method = about["reduce"].partition("@")[0]
    if embeddings.is_sparse or method not in _AFFINE:
        what = f"vectors of {about['source']}" if embeddings.is_sparse else f"vectors reduced by {method}"
        raise UsageError(
            f"{what} are of each dataset's own", "train the other run with dense embeddings, whitened or by pca"
        )
    with store.read(f"reading the embeddings of {run.run}") as con:
        of = find_dataset(con, run.dataset)
        catalog = load_catalog(con, of)
        theirs = load_embeddings(con, of.dataset_id, f"{about['source']}:{about['model']}", len(catalog))
    reduced = reduce_kept(
        store.folder, theirs, catalog.classes, about["reduce"], about["dim"], run.seed, progress, lengths="keep"
    )
    mapped = _affine(np.asarray(theirs.vectors), np.asarray(reduced.vectors), np.asarray(embeddings.vectors))
    return replace(
        embeddings,
        vectors=unit_rows(mapped) if options.lengths == "unit" else mapped,
        reduction=reduced.reduction,
        lengths=options.lengths,
    )


def _affine(before: np.ndarray, after: np.ndarray, new: np.ndarray) -> np.ndarray:
    """What the map that takes the rows of `before` to those of `after` makes of the new rows; rows of 0 stay 0."""
    known = before.any(axis=1) & after.any(axis=1)
    mean = before[known].mean(axis=0, dtype=np.float64)
    x, y = before[known] - mean, after[known].astype(np.float64)
    shift = y.mean(axis=0)
    matrix = np.linalg.lstsq(x, y - shift, rcond=None)[0]
    mapped: np.ndarray = ((new - mean) @ matrix + shift).astype(np.float32)
    mapped[~new.any(axis=1)] = 0
    return mapped
