"""Options of tasks for language models, and of fine-tuning."""

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
    """What to ask a language model; None means the default.

    task: genitem, genlist, classify, rank or preference. template: a TOML file, or a built-in name.
    candidates: the run whose lists genlist, rank and preference use; default: the best llmseqsim. embeddings:
    SOURCE[:MODEL], to cluster items for classify and to map answers to items; default: the newest. k: items in a list
    answer. clusters: categories of classify.
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

    provider: a name in `llmseq_cli.providers.registry`; None means openai if base_url or $OPENAI_BASE_URL is set,
    otherwise local. model: to start from; any id of the provider. base_url: a server that speaks OpenAI's protocol.
    settings: hyperparameters by name. limit: training examples, drawn at random. validation: most validation examples.
    context: most tokens of an example. suffix: part of the fine-tuned model's name.
    max_cost: do not start if it may cost more US dollars. prices: a TOML file. again: submit the same job again. yes:
    continue with a model that has been or will soon be shut down. prepare_only: write the training files and send
    nothing. wait: until the job has ended.
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
