"""What can be said of training a model, and of scoring sessions with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.backend import HERE, Backend
from llmseq_cli.devices import check_device_name
from llmseq_cli.errors import UsageError
from llmseq_cli.settings import LARGEST_SEED

if TYPE_CHECKING:
    from llmseq_cli.models.neural.checkpoints import Resume

DEFAULT_LIST_LENGTH = 100
"""How many items a session's stored list holds: metrics at any k up to it need no scoring again."""


@dataclass(frozen=True)
class TrainOptions:
    """What to train and on what.

    model: its name, as `llmseq models` lists them. embeddings: SOURCE[:MODEL]. reduce, dim: what is done to the
    embeddings before the model gets them: none, pca, whiten (or whiten@POWER), lda, autoencoder or random, to so many
    dimensions; with None dense ones are whitened and sparse ones left as they are, unless the model needs dense ones.
    lengths: unit for reduced vectors of length 1, keep for the lengths that the reduction leaves. permute: then deal
    the vectors out among the items at random (see `ItemEmbeddings.permute`), a control. runs: what a model that is
    made of others is made of, by name. settings: of the model, by name.

    seed: the first. seeds: how many are trained, one run each. list_length: recommendations to store per session.
    resume: keep finished runs, and continue one that was interrupted ("if-begun": do not say so where there is
    nothing to continue). from_tuning: take settings
    and embeddings of the best trial of any study of the model on the dataset, or of the study that is named; what
    is given here goes first. warm: a run of the model to go on from, which lends settings and embeddings that are
    not given here. backend: the workers of a Ray cluster can train a neural model together.
    """

    model: str
    _: KW_ONLY
    dataset: str | None = None
    embeddings: str | None = None
    reduce: str | None = None
    dim: int | None = None
    lengths: str = "unit"
    permute: bool = False
    runs: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    seeds: int = 1
    device: str = "auto"
    list_length: int = DEFAULT_LIST_LENGTH
    resume: Resume = False
    from_tuning: bool | str = False
    warm: str | None = None
    backend: Backend = HERE

    def __post_init__(self) -> None:
        check_device_name(self.device)
        if self.seeds < 1:
            raise UsageError(f"--seeds is {self.seeds}", "train at least once")
        if not 0 <= self.seed <= LARGEST_SEED - self.seeds + 1:
            raise UsageError(f"--seed is {self.seed}", f"seeds are numbers between 0 and {LARGEST_SEED}")
        if not 1 <= self.list_length <= 1000:
            raise UsageError(f"--list-length is {self.list_length}", "give a number between 1 and 1000")
        if self.warm and self.from_tuning:
            raise UsageError("--warm takes the settings of its run, not those of --from-tuning", "use one of them")
        self.backend.check_ray_or_here()


@dataclass(frozen=True)
class ScoreOptions:
    """A file of sessions to recommend for.

    run: a run, "latest" or a model's name, see `store.runs.find_run`. sessions: a table with a session and an item
    column, and a time column where its rows are not in order. out: Parquet, CSV or JSON lines, by its ending. k:
    recommendations per session. dataset: look among the runs on this one. fallback: the run whose lists sessions get
    that `run` has nothing for, such as those without a known item. backend: the workers of a Ray cluster can score; the
    lists are the same. safe_cells: in CSV, put a ' before texts that a spreadsheet would run as a formula.
    """

    run: str
    sessions: str | Path
    out: str | Path
    _: KW_ONLY
    k: int = 20
    dataset: str | None = None
    fallback: str | None = None
    backend: Backend = HERE
    safe_cells: bool = True

    def __post_init__(self) -> None:
        self.backend.check_ray_or_here()
