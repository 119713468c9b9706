"""Options for training a model, and for scoring sessions with it."""

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
"""Length of a session's stored list: metrics at any k up to it need no new scoring."""


@dataclass(frozen=True)
class TrainOptions:
    """What to train, and on which data.

    model: its name, as `llmseq models` lists them. embeddings: SOURCE[:MODEL]. reduce, dim: reduction of the
    embeddings: none, pca, whiten (or whiten@POWER), lda, autoencoder or random, to this many dimensions; None whitens
    dense ones and keeps sparse ones, unless the model needs dense ones.
    lengths: unit for reduced vectors of length 1, keep for the lengths after the reduction. permute: then shuffle the
    vectors across items (see `ItemEmbeddings.permute`), as a control. runs: names of the runs that a hybrid, blend or
    stack combines. settings: of the model, by name.

    seed: the first. seeds: number of seeds, one run each. list_length: recommendations to store per session.
    resume: keep finished runs, and continue an interrupted one ("if-begun": without a message if there is nothing to
    continue). from_tuning: use settings and embeddings of the best trial of any study of the model on the dataset, or
    of the named study; values given here take precedence. warm: a run of the model to continue from, which also
    provides settings and embeddings that are not given here. backend: the workers of a Ray cluster can train a neural
    model together.
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

    run: a run, "latest" or a model's name, see `store.runs.find_run`. sessions: a table with session and item columns,
    and a time column if its rows are not in order. out: Parquet, CSV or JSON lines, by its suffix. k: recommendations
    per session. dataset: only use runs on it. fallback: the run for sessions where `run` has nothing to recommend, such
    as those without a known item. backend: the workers of a Ray cluster can score; the lists are the same. safe_cells:
    in CSV, put a ' before texts that a spreadsheet would run as a formula.
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
