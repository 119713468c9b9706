"""The common base of models made of trained runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import filled_up
from llmseq_cli.models.recommender import BaseRun, FitContext, Recommender
from llmseq_cli.settings import Settings, setting

_RUN = re.compile(r"[\w.-]*\w")  # a name, not a path


def run_names(base_models: Sequence[BaseRun]) -> str:
    """Names of runs for settings: "sasrec-3,v-sknn-1"."""
    return ",".join(base_model.run for base_model in base_models)


@dataclass(frozen=True)
class BaseModelsSettings(Settings):
    runs: str = setting("", "the runs of its base models, as given with --runs")


class MadeOfRuns(Recommender):
    """A recommender that combines the lists of trained runs; none of them is trained again.

    It is saved with the names of its base models; their files are read from the folders next to its own.
    """

    base_models_use = "required"
    fewest: ClassVar[int]
    most: ClassVar[int | None]
    """The number of base models; None for any number."""

    first_models: ClassVar[tuple[str, ...]] = ()
    """Required models of its first base models."""

    base_models: list[Recommender]

    @classmethod
    def needs_times(cls, settings: Any) -> bool:
        """A base model may be trained again."""
        return True

    def take_base_models(self, context: FitContext) -> None:
        """Keep the base models of the context. Raises UsageError if they do not fit the model."""
        self.check_base_models(
            [base_model.run for base_model in context.base_models], [m.model.name for m in context.base_models]
        )
        self.settings = replace(self.settings, runs=run_names(context.base_models))
        self.base_models = [base_model.model for base_model in context.base_models]

    @classmethod
    def check_base_models(cls, runs: list[str], models: list[str]) -> None:
        """Raises UsageError if the model cannot be made of these runs and their models."""
        if len(runs) < cls.fewest or (cls.most is not None and len(runs) > cls.most):
            number = f"{cls.fewest} {'run' if cls.fewest == 1 else 'runs'}" + ("" if cls.most else " or more")
            raise UsageError(f"{cls.name} takes {number}, not {len(runs)}", f"use {cls.example()}")
        if len(set(runs)) < len(runs):
            raise UsageError(f"--runs contains {max(runs, key=runs.count)} twice", f"use {cls.example()}")
        for place, (run, model, wanted) in enumerate(zip(runs, models, cls.first_models, strict=False), 1):
            if model != wanted:
                raise UsageError(
                    f"run {place} of {cls.name} must be one of {wanted}, not {run}", f"use {cls.example()}"
                )

    @classmethod
    def example(cls) -> str:
        """An example of --runs, for hints."""
        names = [*cls.first_models, "v-sknn", "sasrec"][: cls.fewest]
        return "--runs " + (",".join(names) if len(set(names)) == len(names) else f"{names[0]}-1,{names[0]}-2")

    @classmethod
    def load(cls, folder: Path, n_items: int | None = None) -> Recommender:
        """Load the model that `save` wrote, with its base models. Raises LlmseqError if files of one of them are
        missing."""
        model = super().load(folder, n_items)
        assert isinstance(model, MadeOfRuns)
        model.base_models = [_load_beside(folder, run, model.n_items) for run in model.settings.runs.split(",")]
        return model


def _load_beside(folder: Path, run: str, n_items: int) -> Recommender:
    from llmseq_cli.models.registry import model_class

    beside = folder.parent / run
    if not _RUN.fullmatch(run) or run == folder.name:
        raise LlmseqError(f"{folder.name} is made of '{run[:80]}', which is not another run", "train it again")
    try:
        name = json.loads((beside / "model.json").read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LlmseqError(
            f"{folder.name} is made of '{run}', whose files are missing or damaged ({beside})",
            f"train the model of {run} again, then this one",
        ) from error
    return model_class(name).load(beside, n_items)


POPULARITIES = ("train", "all")


def popularity_setting() -> Any:
    return setting(
        "train",
        "sessions in which to count items; all: also the test sessions, which peeks at them, as the paper does",
        choices=POPULARITIES,
    )


def item_counts(popularity: str, train: Sessions, n_items: int, context: FitContext) -> np.ndarray:
    """Occurrences of every item, int[n_items], in training or, with a message, also in the test sessions."""
    if popularity == "train":
        return train.counts(n_items)
    context.progress.message("popularity=all: items are also counted in the test sessions, as in the paper's program")
    return context.catalog.popularity


def popularity_cutoff(counts: np.ndarray, quantile: float) -> float:
    """The quantile of popularity over items that occur; counts: int[n_items], their interactions."""
    seen = counts[counts > 0]
    return float(np.quantile(seen, quantile)) if len(seen) else 0.0


def first_kept(ranking: Ranking, kept: np.ndarray, k: int) -> Ranking:
    """The first k kept items of every list, in order; kept: bool, with the shape of the lists."""
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    left = np.take_along_axis(kept, order, axis=1)
    items = np.where(left, np.take_along_axis(ranking.items, order, axis=1), NO_ITEM)
    scores = np.where(left, np.take_along_axis(ranking.scores, order, axis=1), -np.inf)
    return filled_up(Ranking(items.astype(np.int32), scores.astype(np.float32)), k)
