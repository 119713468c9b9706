"""Results of studies: the table of trials, the best ones, and which settings mattered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmseq_cli.data.dataset import find_dataset
from llmseq_cli.errors import LlmseqError
from llmseq_cli.models.registry import model_class
from llmseq_cli.progress import Progress
from llmseq_cli.store.connection import Store
from llmseq_cli.store.queries import query
from llmseq_cli.training.options import TrainOptions
from llmseq_cli.tuning.space import Configuration
from llmseq_cli.tuning.study import Study, TrialRecord, importances, study_names


def studies_folder(workspace: Path) -> Path:
    """Where the studies of a workspace lie, a folder each."""
    return workspace / "artifacts" / "studies"


def best_of(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finished trial with the largest value, the first among equals."""
    finished = [one for one in trials if one.state == "COMPLETE" and one.value is not None]
    return max(finished, key=lambda one: (one.value or 0.0, -one.number), default=None)


def keep_trials(store: Store, study: Study) -> None:
    """Put the trials of the journal that have ended since into the store, from where SQL reads them."""
    name = study.folder.name
    with store.transaction(f"keeping trials of {name}", wait=True) as con:
        known = con.execute("select trial from core.trial where study = ?", [name]).fetchall()
        there = {number for (number,) in known}
        for one in study.trials():
            if one.state in ("COMPLETE", "PRUNED", "FAIL") and one.number not in there:
                con.execute(query("tuning/insert_trial"), _row(name, study, one))


def _row(name: str, study: Study, one: TrialRecord) -> dict[str, Any]:
    return {
        "study": name,
        "trial": one.number,
        "split_id": study.spec.split_id,
        "model": study.spec.model,
        "settings": json.dumps(one.configuration.settings),
        "inputs": json.dumps(one.configuration.inputs | {"runs": ",".join(study.spec.runs) or None}),
        "value": one.value,
        "state": one.state.lower(),
        "folds": list(one.values),
        "seconds": one.seconds,
        "started_at": one.started_at,
        "ended_at": one.ended_at,
        "error": one.error,
    }


def best_configuration(
    store: Store, model: str, split_id: int, study: str | None, embeddings: str | None
) -> tuple[str, Configuration, tuple[str, ...]]:
    """(what it is in words, configuration, runs) of the best finished trial of a model on a dataset.

    embeddings: only trials with these. Raises LlmseqError if there is none.
    """
    wanted = {"model": model, "split_id": split_id, "study": study, "embeddings": embeddings}
    with store.read("looking for trials") as con:
        rows = con.execute(query("tuning/best_trial"), wanted).fetchall()
    if not rows:
        of = f"the study '{study}'" if study else f"any study of {model} on this dataset"
        and_with = f" with {embeddings}" if embeddings else ""
        raise LlmseqError(f"no trial of {of}{and_with} is finished", f"`llmseq tune {model}` makes some")
    name, trial, value, settings, inputs = rows[0]
    about = json.loads(inputs)
    runs = tuple((about.pop("runs") or "").split(",")) if about.get("runs") else ()
    about.pop("runs", None)
    words = f"trial {trial} of {name} (NDCG@20 {value:.4f} on its folds)"
    return words, Configuration(json.loads(settings), **about), runs


def tuned(store: Store, options: TrainOptions, progress: Progress) -> TrainOptions:
    """The options with what the best trial found, where they say nothing themselves."""
    cls = model_class(options.model)
    study = options.from_tuning if isinstance(options.from_tuning, str) else None
    with store.read("looking for the dataset") as con:
        info = find_dataset(con, options.dataset, one_split=True)
    words, best, runs = best_configuration(store, cls.name, info.split_id, study, options.embeddings)
    progress.message(f"settings of {words}")
    return replace(
        options,
        from_tuning=False,
        settings=best.settings | dict(options.settings),
        embeddings=options.embeddings or best.embeddings,
        reduce=options.reduce or best.reduce,
        dim=options.dim or (best.dim if options.reduce in (None, best.reduce) else None),
        runs=options.runs or runs,
    )


def study_overview(workspace: Path, name: str) -> dict[str, Any]:
    """One study: its trials, the best of them, and how much each setting matters.

    Raises LlmseqError if there is no such study.
    """
    study = Study.open(studies_folder(workspace) / name)
    trials = study.trials()
    best = best_of(trials)
    return {
        "study": name,
        "model": study.spec.model,
        "dataset": study.spec.dataset,
        "folds": study.spec.folds,
        "states": {state: sum(one.state.lower() == state for one in trials) for state in _STATES},
        "best": _about(best) if best else None,
        "importance": importances(study),
        "searched": study.spec.space.names,
        "trials": [_about(one) for one in trials if one.state != "WAITING"],
    }


_STATES = ("complete", "pruned", "fail", "running")


def list_studies(workspace: Path) -> list[str]:
    return study_names(studies_folder(workspace))


def _about(one: TrialRecord) -> dict[str, Any]:
    inputs = {name: value for name, value in one.configuration.inputs.items() if value is not None}
    return {
        "trial": one.number,
        "value": one.value,
        "rungs": list(one.rungs),
        "folds": list(one.values),
        "state": one.state.lower(),
        "settings": one.configuration.settings,
        **inputs,
        "seconds": one.seconds,
        "error": one.error,
    }
