"""`tune`: try configurations over temporal folds of the training sessions until enough are tried, or time is up."""

from __future__ import annotations

import functools
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmseq_cli.data.dataset import DatasetInfo, load_dataset
from llmseq_cli.data.names import checked_name
from llmseq_cli.devices import resolve_device
from llmseq_cli.embeddings.reduce import parse_method
from llmseq_cli.embeddings.stored import find_embeddings
from llmseq_cli.errors import InterruptedByUserError, LlmseqError, UsageError, WorkerLostError
from llmseq_cli.models.base_models import MadeOfRuns
from llmseq_cli.models.registry import model_class
from llmseq_cli.progress import Progress, Task
from llmseq_cli.store.connection import Store
from llmseq_cli.training.base_runs import BaseRuns, parse_runs
from llmseq_cli.training.environment import usable_cores
from llmseq_cli.tuning.executors import Executor, InProcess, make_executor
from llmseq_cli.tuning.folds import folds_of
from llmseq_cli.tuning.inputs import Inputs
from llmseq_cli.tuning.options import RUNGS, TuneOptions
from llmseq_cli.tuning.results import best_of, keep_trials, studies_folder
from llmseq_cli.tuning.space import DIM, Choices, Space, searched_settings
from llmseq_cli.tuning.study import OpenTrial, Spec, Study, TrialRecord
from llmseq_cli.tuning.units import FoldBaseRuns, Measured, Unit, catalog_arrays, fold_arrays

_REDUCTIONS = ("none", "pca", "whiten")
_DIMS = (64, 128, 256, 512)
_LOOK_SECONDS = 5.0
_IN_MINUTES = 120  # seconds from which on time left is told in minutes
_MOST_LOST = 3  # times that a worker may be lost over one unit
_MOST_FAILED = 5  # first trials that may all fail, before it must be the study's fault


class Tuning:
    """One process's part in a study."""

    def __init__(self, store: Store, options: TuneOptions, progress: Progress) -> None:
        self.store, self.options, self.progress = store, options, progress
        self.cls = model_class(options.model)
        for method in options.reduce:
            parse_method(method)
        with store.read(f"reading data to tune {options.model}") as con:
            self.dataset = load_dataset(con, options.dataset, times=True)
        made_up = re.sub(r"[^\w.-]", "-", f"{self.dataset.info.name}-{options.model}")
        name = checked_name(options.study, "study", "--study wide") if options.study else made_up
        self.folder = studies_folder(store.folder) / name
        self.folds = folds_of(self.dataset)
        self.executor = self._executor()
        try:
            self.study = self._open_study()
        except BaseException:
            self.executor.close(kill=True)
            raise
        self.spec = self.study.spec
        self.device = resolve_device(options.device) if self.cls.uses_device else "cpu"
        self.inputs = Inputs(store, self.dataset, self.spec.seed, progress)
        self.pending: dict[Any, OpenTrial] = {}
        self.started = time.monotonic()

    def run(self) -> str:
        """Works until the study has what was asked for; returns its name. Interrupted, nothing that is done is lost."""
        executor, kill = self.executor, True
        self.study.worker.join()
        try:
            self._share()
            with self.progress.task(f"Tuning {self.cls.title}", self.options.trials, "trials") as task:
                task.advance(self._count())
                self._work(executor, task)
            kill = bool(self.pending)
        finally:
            self.study.worker.leave()
            executor.close(kill=kill)
        if self.pending:
            count = "a trial is" if len(self.pending) == 1 else f"{len(self.pending)} trials are"
            self.progress.message(f"time is up while {count} at work: --resume continues it all")
        keep_trials(self.store, self.study)
        return self.study.folder.name

    def _work(self, executor: Executor, task: Task) -> None:
        while True:
            self._fill(executor, task)
            if not self.pending or self._time_left() <= 0:
                return
            for job in executor.wait(list(self.pending), min(_LOOK_SECONDS, max(self._time_left(), 0.01))):
                self._take(executor, job, self.pending.pop(job), task)
            task.describe(self._standing())

    # Trials.

    def _fill(self, executor: Executor, task: Task) -> None:
        """Give every free worker a trial: first those whose process is gone, then new ones."""
        for work in self.study.abandoned(executor.slots - len(self.pending)):
            self._go_on(executor, work, task)
        while len(self.pending) < executor.slots:
            begun = self.study.begin(self._enough)
            if begun is None:
                return
            twin = self.study.twin(begun.trial)
            if twin is not None:  # small spaces repeat themselves
                begun.folds = list(twin.values)
                self._end(begun, twin.state, task)
            else:
                self._go_on(executor, begun, task)

    def _go_on(self, executor: Executor, work: OpenTrial, task: Task) -> None:
        """Have the next fold computed, or the first up to the next rung; or end the trial."""
        if len(work.folds) >= self.spec.folds:
            self._end(work, "COMPLETE", task)
            return
        try:
            vectors = self.inputs.vectors(self.cls, work.configuration, executor)
        except UsageError as error:  # more dimensions than there are, say
            self._end(work, "FAIL", task, error.message)
            return
        keeps = self.spec.rungs and not work.folds and executor.shares_disk
        unit = Unit(
            work.trial.number,
            len(work.folds),
            self.spec.model,
            work.configuration.settings,
            vectors,
            self.spec.seed,
            self.device,
            keeps_unseen=self.dataset.info.keeps_unseen,
            validates=self.dataset.validation is not None,
            allows_repeats=self.dataset.info.allows_repeats,
            split=self.dataset.info.kind,
            pause=self._pause(work),
            checkpoints=str(self._checkpoints(work)) if keeps else None,
        )
        self.pending[executor.submit(unit)] = work

    def _pause(self, work: OpenTrial) -> int | None:
        """The epochs of the next rung of the first fold; None where no rung is left."""
        rung = len(work.rungs)
        return self.spec.rungs[rung] if not work.folds and rung < len(self.spec.rungs) else None

    def _checkpoints(self, work: OpenTrial) -> Path:
        """Where the first fold's training goes on from."""
        return self.folder / "checkpoints" / f"trial-{work.trial.number}"

    def _take(self, executor: Executor, job: Any, work: OpenTrial, task: Task) -> None:
        """What a worker said of a fold, or of a part of it: what is next, or the end of the trial."""
        try:
            measured = executor.result(job)
        except WorkerLostError as error:
            work.lost += 1
            if work.lost < _MOST_LOST:
                self.progress.warn(f"trial {work.trial.number}: {error.message}; it is computed again")
                self._go_on(executor, work, task)
            else:
                self._end(work, "FAIL", task, f"{error.message}, {work.lost} times ({error.hint})")
            return
        except InterruptedByUserError:
            raise
        except LlmseqError as error:  # settings that go wrong, a loss that is no number: others may do better
            self._end(work, "FAIL", task, error.message)
            return
        except Exception as error:  # out of memory, say
            self._end(work, "FAIL", task, f"{type(error).__name__}: {error}")
            return
        if self._lags(work, measured):
            self._end(work, "PRUNED", task)
        else:
            self._go_on(executor, work, task)

    def _lags(self, work: OpenTrial, measured: Measured) -> bool:
        """Whether the trial is given up for what was measured now."""
        work.seconds += measured.seconds
        pause = self._pause(work)
        (work.folds if pause is None else work.rungs).append(measured.ndcg)
        lags = self.study.report(work)
        # Training that ended by itself stands at the rungs to come as it does at this one.
        while not lags and pause is not None and measured.epochs < pause and self._pause(work) is not None:
            work.rungs.append(measured.ndcg)
            lags = self.study.report(work)
        return lags

    def _end(self, work: OpenTrial, state: str, task: Task, error: str | None = None) -> None:
        trial = work.trial
        self.study.end(trial, work.folds, state, error)
        shutil.rmtree(self._checkpoints(work), ignore_errors=True)
        keep_trials(self.store, self.study)
        task.advance(1)
        trials = self.study.trials()
        ended = [one for one in trials if one.state not in ("RUNNING", "WAITING")]
        if len(ended) >= _MOST_FAILED and all(one.state == "FAIL" for one in ended):
            raise LlmseqError(
                f"the first {len(ended)} trials all failed: {error}", "see --search, --set, --reduce and --dim"
            )
        best = best_of(trials)
        if state == "FAIL":
            self.progress.message(f"trial {trial.number} failed: {error}")
        elif best is not None and best.number == trial.number:
            self.progress.message(f"trial {trial.number}: NDCG@20 {best.value:.4f}, the best so far")

    # When it is over.

    def _enough(self) -> bool:
        begun = [one for one in self.study.trials() if one.state != "WAITING"]
        if self.options.trials is not None and len(begun) >= self.options.trials:
            return True
        return self._time_left() <= 0 or self._without_better(begun)

    def _without_better(self, begun: list[TrialRecord]) -> bool:
        """Whether the last `patience` trials brought nothing better."""
        values = [(one.value or 0.0) if one.state == "COMPLETE" else 0.0 for one in begun if one.state != "RUNNING"]
        if not self.options.patience or not values:
            return False
        return len(values) - 1 - values.index(max(values)) >= self.options.patience

    def _time_left(self) -> float:
        if self.options.timeout is None:
            return float("inf")
        return self.options.timeout - (time.monotonic() - self.started)

    def _count(self) -> int:
        return sum(one.state not in ("RUNNING", "WAITING") for one in self.study.trials())

    def _standing(self) -> str:
        """The best so far, for the bar."""
        best = best_of(self.study.trials())
        left = self._time_left()
        words = [f"best {best.value:.4f} (trial {best.number})"] if best and best.value is not None else []
        if left < float("inf"):
            words.append(f"{left / 60:.0f} min left" if left >= _IN_MINUTES else f"{max(left, 0):.0f} s left")
        return ", ".join([f"Tuning {self.cls.title}", *words])

    # Beginning, or going on.

    def _open_study(self) -> Study:
        options, name = self.options, self.folder.name
        if not options.resume:
            spec = self._spec()
            return Study.create(self.folder, spec, spec.space.defaults(self.cls.Settings, self.dataset.info.kind))
        study = Study.open(self.folder)
        if (study.spec.model, study.spec.split_id) != (options.model, self.dataset.info.split_id):
            raise UsageError(
                f"the study '{name}' is of {study.spec.model} on {_dataset_of(study.spec, self.dataset.info)}",
                "begin another with --study NAME",
            )
        if options.settings or options.search or options.embeddings or options.reduce or options.dims or options.runs:
            asked = self._spec().space.to_json()
            if asked != study.spec.space.to_json():
                raise UsageError(
                    f"the study '{name}' searches something else",
                    "leave out the ranges to continue it, or use --study NAME",
                )
        if options.rungs is not None and self._rungs() != study.spec.rungs:
            stored = ",".join(map(str, study.spec.rungs)) or "none"
            raise UsageError(
                f"the study '{name}' has --rungs {stored}", "leave out --rungs to continue it, or use --study NAME"
            )
        return study

    def _spec(self) -> Spec:
        options = self.options
        folds = len(self.folds)
        info = self.dataset.info
        runs = options.runs or parse_runs(options.settings.get("runs"))
        return Spec(
            options.model,
            info.name,
            info.split_id,
            self._space(),
            folds,
            options.seed,
            options.startup,
            tuple(runs),
            self._rungs(),
        )

    def _rungs(self) -> tuple[int, ...]:
        rungs = self.options.rungs
        if rungs is None:
            return RUNGS if self.cls.pauses else ()
        if rungs and not self.cls.pauses:
            raise UsageError(f"{self.options.model} does not train by epochs", "leave out --rungs")
        return tuple(rungs)

    def _space(self) -> Space:
        options, cls = self.options, self.cls
        if issubclass(cls, MadeOfRuns):
            base_models = BaseRuns(self.store, self.dataset, options.device, self.progress)
            base_models.check(cls, options.runs or parse_runs(options.settings.get("runs")))
        leave_out: tuple[str, ...] = ("runs", "weights") if issubclass(cls, MadeOfRuns) else ()
        if options.embeddings:
            leave_out += (DIM,)  # as many as the reduced embeddings have
        for name in options.search:
            if name in leave_out:
                hint = "use --dim 64,128" if name == DIM else f"leave --search {name} out"
                raise UsageError(f"--search does not draw '{name}' here", hint)
        given = {name: value for name, value in options.settings.items() if name != "runs"}
        settings, fixed = searched_settings(cls.Settings, cls.name, given, dict(options.search), leave_out)
        space = Space(settings, fixed, *self._embedding_space())
        if not space.names:
            raise UsageError(f"there is nothing to tune of {cls.name}", "name ranges with --search KEY=LOW..HIGH")
        return space

    def _embedding_space(self) -> tuple[Choices | None, Choices | None, Choices | None]:
        options, cls = self.options, self.cls
        if not options.embeddings:
            if cls.embeddings_use == "required":
                raise UsageError(f"{cls.name} needs item embeddings", "use --embeddings lexical, or several")
            if options.reduce or options.dims:
                raise UsageError("there are no embeddings to reduce", "add --embeddings SOURCE[:MODEL]")
            return None, None, None
        if cls.embeddings_use == "none":
            raise UsageError(f"{cls.name} does not use item embeddings", "leave out --embeddings")
        with self.store.read("looking for embeddings") as con:
            found = [find_embeddings(con, self.dataset.info.dataset_id, name)[1] for name in options.embeddings]
        must_reduce = cls.needs_dense and any(one["sparse"] for one in found)
        methods = options.reduce or tuple(one for one in _REDUCTIONS if one != "none" or not must_reduce)
        most = min(min(one["dimensions"] for one in found), len(self.dataset.catalog)) - 1
        dims = options.dims or tuple(dim for dim in _DIMS if dim < most) or (max(1, most - most % 8 or most),)
        return Choices(tuple(options.embeddings)), Choices(tuple(methods)), Choices(tuple(dims))

    def _executor(self) -> Executor:
        options, workers = self.options, self.options.workers
        arrays = self.folder / "arrays"
        if issubclass(self.cls, MadeOfRuns):
            if workers > 1 or options.backend.on_ray:
                self.progress.message(f"{self.cls.name} is made of runs that lie here: one trial at a time, here")
            return InProcess(self._fold_base_models())
        if not options.backend.on_ray and workers > usable_cores():
            workers = usable_cores()
            self.progress.warn(f"--workers {options.workers} is more than there are cores here: {workers} at a time")
        stops = options.timeout is not None
        return make_executor(replace(options.backend, workers=workers), arrays, stops=stops)

    def _share(self) -> None:
        self.executor.share(catalog_arrays(self.dataset.catalog))
        for number, fold in enumerate(self.folds):
            self.executor.share(fold_arrays(number, fold))

    def _fold_base_models(self) -> FoldBaseRuns:
        """The runs that the model is made of, each trained on what a fold may learn from."""
        base_models = BaseRuns(self.store, self.dataset, self.options.device, self.progress)
        return functools.cache(lambda fold: base_models.open(self.cls, self.spec.runs, self.folds[fold].train))


def _dataset_of(spec: Spec, info: DatasetInfo) -> str:
    replaced = spec.dataset == info.name and spec.split_id != info.split_id
    return f"'{spec.dataset}'" + (" as it was before it was replaced" if replaced else "")
