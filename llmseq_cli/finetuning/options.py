"""What can be said of a task for a language model, and of fine-tuning one for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from llmseq_cli.errors import UsageError

DEFAULT_TASK = "genitem"
DEFAULT_K = 20
DEFAULT_CLUSTERS = 200


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What a language model is asked; None leaves it to the defaults.

    task: genitem, genlist, classify, rank or preference. template: a TOML file, or the name of one that ships.
    candidates: the run whose lists genlist, rank and preference use, else the best of llmseqsim. embeddings:
    SOURCE[:MODEL], that classify clusters and that answers are mapped to items by; else the newest. k: items in an
    answer that lists them. clusters: categories of classify.
    """

    task: str | None = None
    template: str | None = None
    candidates: str | None = None
    embeddings: str | None = None
    k: int = DEFAULT_K
    clusters: int = DEFAULT_CLUSTERS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 100:
            raise UsageError(f"-k is {self.k}", "give a number between 1 and 100")


@dataclass(frozen=True)
class FinetuneOptions(TaskOptions):
    """A fine-tuning job.

    provider: a name in `llmseq_cli.providers.registry`; None is openai where base_url or $OPENAI_BASE_URL names a
    server, else local. model: to start from; any id of the provider's. base_url: a server that speaks OpenAI's
    protocol. settings: hyperparameters, by name. limit: examples to train on, drawn at random. validation: most
    examples to validate with. context: tokens of the longest example. suffix: goes into the fine-tuned model's name.
    max_cost: send nothing that may cost more US dollars. prices: a TOML file. again: submit once more what was
    submitted before. yes: go on with a model that is shut down or soon will be. prepare_only: write the training
    files and send nothing. wait: until the job is over.
    """

    task: str | None = DEFAULT_TASK
    _: KW_ONLY
    dataset: str | None = None
    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    validation: int | None = None
    context: int | None = None
    suffix: str | None = None
    max_cost: float | None = None
    prices: str | None = None
    again: bool = False
    yes: bool = False
    prepare_only: bool = False
    wait: bool = False
