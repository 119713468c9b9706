"""Training that goes on from an earlier run, mostly one on an older version of the dataset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmseq_cli.data.dataset import Dataset, find_dataset, load_catalog
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.models.recommender import Recommender, WarmStart
from llmseq_cli.progress import Progress
from llmseq_cli.store.connection import Store
from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import RunInfo, find_run
from llmseq_cli.training.options import TrainOptions
from llmseq_cli.training.stored_runs import load_model


def going_on(
    store: Store, cls: type[Recommender], options: TrainOptions, progress: Progress
) -> tuple[TrainOptions, RunInfo | None]:
    """The options with what is left unsaid taken from the run that `options.warm` names, and that run.

    Raises UsageError where the model cannot go on from it.
    """
    if not options.warm:
        if options.settings.get("warm"):
            raise UsageError("'warm' is no setting to give", f"use --warm {options.settings['warm']}")
        return options, None
    if not cls.starts_warm:
        raise UsageError(
            f"{options.model} cannot start from another run", "leave --warm out: it trains from scratch in a moment"
        )
    if options.backend.on_ray:
        raise UsageError("--warm does not train on a cluster", "leave --backend out")
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
    """What training goes on from. Raises LlmseqError where the run trained on what the dataset's split tests."""
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
    numbers = {item: number for number, item in enumerate(dataset.catalog.external_ids.tolist())}
    items = np.array([numbers.get(item, -1) for item in catalog.external_ids.tolist()], dtype=np.int64)
    return WarmStart(run.run, load_model(store.folder, run.run, run.model, len(catalog)), items)
