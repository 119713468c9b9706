"""The base runs of a model: find them by name, load them, and train them again if weights must be learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.dataset import Dataset
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.devices import resolve_device
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.reduce import reduce_kept
from llmseq_cli.embeddings.stored import load_embeddings
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.files import atomic_folder
from llmseq_cli.models.base_models import MadeOfRuns
from llmseq_cli.models.recommender import BaseRun, FitContext, Recommender
from llmseq_cli.models.registry import model_class
from llmseq_cli.progress import Progress
from llmseq_cli.settings import parse_settings
from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import RunInfo, find_run
from llmseq_cli.training.stored_runs import load_model, run_folder

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store


def parse_runs(words: str | None) -> tuple[str, ...]:
    """("sasrec-3", "v-sknn") of "sasrec-3,v-sknn"."""
    return tuple(name.strip() for name in (words or "").split(",") if name.strip())


@dataclass(frozen=True)
class BaseRuns:
    """Finds, loads and refits the runs that models are made of, all of one dataset.

    device: as the user names it; models that do not compute with torch do not see it.
    """

    store: Store
    dataset: Dataset
    device: str
    progress: Progress

    def open(self, cls: type[Recommender], names: Sequence[str], train: Sessions | None = None) -> tuple[BaseRun, ...]:
        """The base models for a model of this class; trained again on `train` alone, where it is given.

        Raises UsageError if it is not made of such runs, LlmseqError where there is no such run of the dataset or
        its files are gone.
        """
        infos = self.check(cls, names)
        if not infos:
            return ()
        self.progress.message(f"{cls.name} of {', '.join(info.run for info in infos)}")
        return tuple(self.base_run(info, train) for info in infos)

    def check(self, cls: type[Recommender], names: Sequence[str]) -> list[RunInfo]:
        """The runs that are meant, none of them loaded; errors as for `open`."""
        if not issubclass(cls, MadeOfRuns):
            if names:
                raise UsageError(f"{cls.name} is not made of other runs", "leave out --runs")
            return []
        if not names:
            raise UsageError(f"{cls.name} is made of other runs", f"name them: {cls.example()}")
        with self.store.read(f"looking for the runs of {cls.name}") as con:
            infos = [self._find(con, name) for name in names]
        cls.check_base_models([info.run for info in infos], [info.model for info in infos])
        return infos

    def _find(self, con: duckdb.DuckDBPyConnection, name: str) -> RunInfo:
        mine = self.dataset.info.name
        try:
            return find_run(con, name, mine, self.progress)
        except LlmseqError as unknown:
            try:
                other = find_run(con, name)
            except LlmseqError:
                raise unknown from None
        raise UsageError(
            f"run '{other.run}' is of the dataset '{other.dataset}', not of '{mine}'",
            f"`llmseq report --dataset {mine}` lists its runs",
        )

    def base_run(self, info: RunInfo, train: Sessions | None = None) -> BaseRun:
        """A run of the dataset; trained again on `train` alone, where it is given."""

        def refitted_lists(train: Sessions, histories: Sessions, k: int) -> Ranking:
            # What was trained on just these sessions need not be trained again.
            given = train is self.dataset.train and self.dataset.validation is not None
            same = given and not info.settings.get("refit_validation")
            return (model if same else self._refitted(info, train)).recommend(histories, k, exclude_history=False)

        if train is not None:
            return BaseRun(info.run, self._refitted(info, train), refitted_lists)
        model = load_model(self.store.folder, info.run, info.model, len(self.dataset.catalog))
        return BaseRun(info.run, model, refitted_lists)

    def _refitted(self, info: RunInfo, train: Sessions) -> Recommender:
        """The run's model trained again on these sessions.

        It is kept with the run's files: the next blend, or one that was interrupted, need not train it again.
        """
        cls = model_class(info.model)
        if not cls.refits:
            return load_model(self.store.folder, info.run, info.model, len(self.dataset.catalog))
        base_models = self.open(cls, parse_runs(info.settings.get("runs")))
        folder = run_folder(self.store.folder, info.run) / f"earlier-{_digest(train)}"
        if folder.is_dir():
            with suppress(LlmseqError):  # a damaged one is made again
                return cls.load(folder, len(self.dataset.catalog))
        known = {name: value for name, value in info.settings.items() if name != "warm"}  # it has seen what is held out
        model = cls(parse_settings(cls.Settings, known, info.model), len(self.dataset.catalog))
        device = resolve_device(self.device) if cls.uses_device else "cpu"
        context = FitContext(
            self.dataset.catalog,
            self._embeddings(info),
            info.seed,
            device,
            self.progress,
            base_models=base_models,
            keeps_unseen=self.dataset.info.keeps_unseen,
            validation=self._validation_of(train),
            allows_repeats=self.dataset.info.allows_repeats,
        )
        left_out = len(self.dataset.train) - len(train)
        with self.progress.task(f"Training {info.run} without the latest {left_out:,} sessions"):
            model.fit(train, context)
        if not base_models:  # one made of others would find them as they are, not as they were trained here
            with atomic_folder(folder, durable=False, checksums=True) as partial:
                model.save(partial)
        return model

    def _validation_of(self, train: Sessions) -> Sessions | None:
        """The split's validation cases, where all that may be trained on is."""
        return self.dataset.validation if train is self.dataset.train else None

    def _embeddings(self, info: RunInfo) -> ItemEmbeddings | None:
        """The embeddings that the run was trained with, reduced as it says."""
        about = info.embeddings
        if about is None:
            return None
        with self.store.read(f"reading the embeddings of {info.run}") as con:
            number = _stored_embeddings(con, self.dataset.info.dataset_id, info.run, about)
            loaded = load_embeddings(con, self.dataset.info.dataset_id, str(number), len(self.dataset.catalog))
        reduction = about["reduce"]
        # Without a number of dimensions whitening keeps the axes, which it does not where one is named.
        dim = None if reduction == "none" or about["dim"] == loaded.dim else about["dim"]
        classes = self.dataset.catalog.classes
        lengths = about.get("lengths", "unit")
        reduced = reduce_kept(
            self.store.folder, loaded, classes, reduction, dim, info.seed, self.progress, lengths=lengths
        )
        return reduced.permute(info.seed) if about.get("permuted") else reduced


def _stored_embeddings(con: duckdb.DuckDBPyConnection, dataset_id: int, run: str, about: dict[str, Any]) -> int:
    key = {"dataset_id": dataset_id, **{name: about[name] for name in ("source", "model", "text", "dim")}}
    rows = con.execute(query("runs/embeddings"), key).fetchall()
    if not rows:
        raise LlmseqError(
            f"the embeddings that {run} was trained with are gone: {about['source']}:{about['model']}",
            f"make them again with `llmseq embed --source {about['source']}`, or give the weights: --set weights=…",
        )
    return int(rows[0][0])


def _digest(train: Sessions) -> str:
    digest = hashlib.sha256(train.items.data)
    digest.update(np.ascontiguousarray(train.offsets).data)
    return digest.hexdigest()[:16]
