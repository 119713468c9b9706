"""A study: trials in a journal that several processes, on several machines, can write to; killed ones are gone on with.

The journal (Optuna's) lies in the workspace and is the truth about a study; the store's table of trials follows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.files import atomic_folder, shared_lock
from llmseq_cli.tuning.sampler import make_sampler
from llmseq_cli.tuning.space import Configuration, Space
from llmseq_cli.tuning.workers import JournalLock, Worker

if TYPE_CHECKING:
    import optuna

_PRUNE_AFTER, _KEPT_PERCENT = 10, 80.0
"""Without rungs: after ten configurations, trials in the bottom 20 % of a fold are given up (Boz et al., 7.1.4)."""

_HALVING = 2
"""With rungs: of the trials that have reached one, the best half goes on."""


@dataclass(frozen=True)
class Spec:
    """What a study is about; it does not change once it has begun.

    folds: how many. seed: of what is drawn. startup: configurations drawn at random before the model of the objective
    is trusted. runs: what a model that is made of others is made of. rungs: epochs of the first fold after which a
    trial is compared with those that came so far, as it is after every fold; empty: after every fold alone.
    """

    model: str
    dataset: str
    split_id: int
    space: Space
    folds: int
    seed: int
    startup: int
    runs: tuple[str, ...] = ()
    rungs: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "space": self.space.to_json(), "runs": list(self.runs), "rungs": list(self.rungs)}

    @classmethod
    def from_json(cls, about: dict[str, Any]) -> Spec:
        about = {"rungs": (), **about}  # studies of earlier versions have none
        lists = {name: tuple(about[name]) for name in ("runs", "rungs")}
        return cls(**{**about, **lists, "space": Space.from_json(about["space"])})


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the journal has it. value: mean NDCG@20 over the folds measured so far. state: as Optuna names it.

    rungs: NDCG@20 on the first fold at the rungs that it reached (see `Spec`). seconds: of learning and ranking.
    error: why it failed.
    """

    number: int
    configuration: Configuration
    values: tuple[float, ...]
    state: str
    seconds: float | None
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None
    rungs: tuple[float, ...] = ()

    @property
    def value(self) -> float | None:
        return sum(self.values) / len(self.values) if self.values else None


@dataclass
class OpenTrial:
    """A trial at work. rungs, folds: NDCG@20 at those that are done. seconds: of learning and ranking. lost: how often
    a worker went away over it."""

    trial: optuna.Trial
    configuration: Configuration
    rungs: list[float] = field(default_factory=list)
    folds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    lost: int = 0


class Study:
    """One study in its folder, as one of perhaps several processes sees it."""

    def __init__(self, folder: Path, spec: Spec, study: optuna.Study) -> None:
        self.folder, self.spec, self._study = folder, spec, study
        self.worker = Worker(folder)

    @classmethod
    def create(cls, folder: Path, spec: Spec, first: dict[str, Any]) -> Study:
        """A new study, whole or not at all. first: settings that its first trial tries; it draws what they leave open.

        Raises UsageError if there is one already.
        """
        import optuna

        taken = UsageError(
            f"there is a study '{folder.name}' already", "--resume continues it; --study NAME starts another"
        )
        if _journal(folder).exists():
            raise taken
        try:
            with atomic_folder(folder, existing="fail") as partial, _quiet():
                study = optuna.create_study(
                    storage=_storage(partial), study_name=folder.name, direction="maximize", sampler=_sampler(spec)
                )
                study.set_user_attr("spec", json.dumps(spec.to_json()))
                if first:
                    study.enqueue_trial(first)
        except FileExistsError:  # another process was faster
            raise taken from None
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Study:
        """A study that was begun. Raises LlmseqError if there is none."""
        import optuna

        if not _journal(folder).exists():
            there = study_names(folder.parent)
            raise LlmseqError(
                f"there is no study '{folder.name}'",
                did_you_mean(folder.name, there) if there else "leave out --resume to begin one",
            )
        _mend(_journal(folder))
        with _quiet():
            study = optuna.load_study(study_name=folder.name, storage=_storage(folder))
            spec = Spec.from_json(json.loads(study.user_attrs["spec"]))
            study.sampler, study.pruner = _sampler(spec), _pruner(spec)
        return cls(folder, spec, study)

    # Trials.

    def begin(self, enough: Callable[[], bool]) -> OpenTrial | None:
        """A new trial of mine; None if there are enough. Nobody else begins one meanwhile."""
        with self._alone():
            if enough():
                return None
            with _quiet():
                trial = self._study.ask()
                trial.set_user_attr("worker", self.worker.name)
                configuration = self.spec.space.suggest(trial)
            trial.set_user_attr("configuration", json.dumps(configuration.__dict__))
        return OpenTrial(trial, configuration)

    def abandoned(self, most: int) -> list[OpenTrial]:
        """Trials whose process is gone, which are mine from now on."""
        from optuna.trial import Trial, TrialState

        mine: list[OpenTrial] = []
        with self._alone():
            for frozen in self._study.get_trials(states=(TrialState.RUNNING,)):
                if len(mine) >= most:
                    break
                if self.worker.is_alive(frozen.user_attrs.get("worker", "")):
                    continue
                trial = Trial(self._study, frozen._trial_id)
                trial.set_user_attr("worker", self.worker.name)
                kept = frozen.user_attrs.get("configuration")
                # One that was killed before its configuration was written draws what it lacks.
                configuration = Configuration(**json.loads(kept)) if kept else self.spec.space.suggest(trial)
                trial.set_user_attr("configuration", json.dumps(configuration.__dict__))
                rungs, folds = (list(frozen.user_attrs.get(name, [])) for name in ("rungs", "folds"))
                mine.append(OpenTrial(trial, configuration, rungs, folds, frozen.user_attrs.get("seconds", 0.0)))
        return mine

    def _alone(self) -> Any:
        """Held by one process at a time: no trial is begun or taken over by two, and none begun too many."""
        return shared_lock(self.folder / "trials.lock")

    def twin(self, trial: optuna.Trial) -> TrialRecord | None:
        """A finished trial of the same configuration: it need not be run again."""
        params = trial.params
        for frozen in self._study.get_trials(deepcopy=False):
            ended = frozen.number != trial.number and frozen.state.name in ("COMPLETE", "PRUNED")
            if ended and frozen.params == params:
                return _record(frozen)
        return None

    def report(self, work: OpenTrial) -> bool:
        """Keep what the trial gave so far; → whether it is not worth going on with. The first one always is.

        With rungs this is successive halving without waiting (Li et al., "A system for massively parallel
        hyperparameter tuning", 2020), by Optuna's pruner, for which every stage of a trial costs twice the one before.
        """
        stage = len(work.rungs) + len(work.folds)
        value = sum(work.folds) / len(work.folds) if work.folds else work.rungs[-1]
        work.trial.report(value, step=_HALVING ** (stage - 1) if self.spec.rungs else stage)
        work.trial.set_user_attr("rungs", work.rungs)
        work.trial.set_user_attr("folds", work.folds)
        work.trial.set_user_attr("seconds", work.seconds)
        lags = work.trial.should_prune()  # which keeps the value for the trials to come, too
        return lags and len(work.folds) < self.spec.folds and work.trial.number > 0

    def end(self, trial: optuna.Trial, values: list[float], state: str, error: str | None = None) -> None:
        """state: COMPLETE, PRUNED or FAIL."""
        from optuna.trial import TrialState

        trial.set_user_attr("folds", values)
        if error:
            trial.set_user_attr("error", error)
        value = sum(values) / len(values) if state == "COMPLETE" else None
        with _quiet():
            self._study.tell(trial, value, TrialState[state])

    def trials(self) -> list[TrialRecord]:
        return [_record(frozen) for frozen in self._study.get_trials(deepcopy=False)]


def study_names(folder: Path) -> list[str]:
    """The studies of a workspace, given its folder of them."""
    found = [file.parent.name for file in folder.glob("*/journal.log")]
    return sorted(name for name in found if not name.startswith("."))  # those are half made


def importances(study: Study) -> dict[str, float]:
    """How much each parameter matters to the objective, summing to 1 (PED-ANOVA, Watanabe et al. 2023).

    Empty where fewer than four trials are finished: there is nothing to tell yet.
    """
    import optuna

    finished = [one for one in study.trials() if one.state == "COMPLETE"]
    if len(finished) < 4 or len({one.value for one in finished}) < 2:
        return {}
    with _quiet():
        return dict(optuna.importance.get_param_importances(study._study))


def _record(frozen: optuna.trial.FrozenTrial) -> TrialRecord:
    attributes = frozen.user_attrs
    kept = attributes.get("configuration")
    return TrialRecord(
        frozen.number,
        Configuration(**json.loads(kept)) if kept else Configuration({}),
        tuple(attributes.get("folds", ())),
        frozen.state.name,
        attributes.get("seconds"),
        frozen.datetime_start,
        frozen.datetime_complete,
        attributes.get("error"),
        tuple(attributes.get("rungs", ())),
    )


def _journal(folder: Path) -> Path:
    return folder / "journal.log"


def _storage(folder: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = _journal(folder)
    return JournalStorage(JournalFileBackend(str(journal), cast(Any, JournalLock(journal))))


def _sampler(spec: Spec) -> Any:
    return make_sampler(spec.seed, spec.startup)


def _pruner(spec: Spec) -> Any:
    import optuna

    if spec.rungs:
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_HALVING)
    return optuna.pruners.PercentilePruner(_KEPT_PERCENT, n_startup_trials=_PRUNE_AFTER)


def _mend(journal: Path) -> None:
    """Cut off a last line that a full disk or a power cut left without its end: what follows would be unreadable."""
    with journal.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) in (b"", b"\n"):
            return
    lock = JournalLock(journal)
    lock.acquire()  # or else the line is being written at this moment
    try:
        lines = journal.read_bytes()
        os.truncate(journal, lines.rfind(b"\n") + 1)
    finally:
        lock.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of every trial and of what is new in it: not here."""
    import warnings

    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
