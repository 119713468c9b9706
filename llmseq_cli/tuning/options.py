"""Options for tuning a model's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from llmseq_cli.backend import LOKY, Backend
from llmseq_cli.devices import check_device_name
from llmseq_cli.errors import UsageError

RUNGS = (3, 9)


@dataclass(frozen=True)
class TuneOptions:
    """What to tune and for how long.

    study: its name; None for DATASET-MODEL. trials: of the whole study, None for no limit. timeout: in seconds.
    patience: stop after this many trials without a better one; 0: never. startup: random trials before TPE begins.
    settings: with a fixed value. search: ranges ("50..800") or choices ("cosine,dot") instead of the model's own.
    rungs: epochs of the first fold after which only the best trials continue, () for none;
    None: RUNGS for models that train by epochs.
    embeddings, reduce, dims: values to try. runs: names of the runs that a hybrid, blend or stack combines. resume:
    continue a study, alone or together with other processes. backend: its workers is the number of trials at a time.
    """

    model: str
    _: KW_ONLY
    dataset: str | None = None
    study: str | None = None
    trials: int | None = None
    timeout: float | None = None
    patience: int = 100
    startup: int = 40
    settings: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, str] = field(default_factory=dict)
    embeddings: Sequence[str] = ()
    reduce: Sequence[str] = ()
    dims: Sequence[int] = ()
    runs: Sequence[str] = ()
    rungs: Sequence[int] | None = None
    seed: int = 0
    device: str = "auto"
    resume: bool = False
    backend: Backend = LOKY

    def __post_init__(self) -> None:
        check_device_name(self.device)
        for name, value in (("--trials", self.trials), ("--startup", self.startup)):
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}", "give at least 1")
        if self.patience < 0:
            raise UsageError(f"--patience is {self.patience}", "give 0 (never) or more")
        if self.timeout is not None and self.timeout <= 0:
            raise UsageError("--timeout must be longer than 0", "for example --timeout 2h")
        rungs = list(self.rungs or ())
        if any(rung < 1 for rung in rungs) or rungs != sorted(set(rungs)):
            given = ",".join(map(str, rungs))
            raise UsageError(f"--rungs is {given}", "give growing numbers of epochs, for example 3,9, or none")
        if any(dim < 1 for dim in self.dims):
            raise UsageError(f"--dim is {min(self.dims)}", "give at least 1")

    @property
    def workers(self) -> int:
        """Trials at a time."""
        return self.backend.workers or 1
