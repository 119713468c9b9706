"""What can be said of asking a language model for recommendations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any

from llmseq_cli.clients.sending import SendingOptions
from llmseq_cli.errors import UsageError
from llmseq_cli.finetuning.options import TaskOptions


@dataclass(frozen=True, kw_only=True)
class AskingOptions(SendingOptions):
    """Where a model is asked, and at which pace and cost.

    settings: of the provider, by name. context: tokens of the model's context.
    """

    provider: str = "openai"
    base_url: str | None = None
    context: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptOptions(TaskOptions, AskingOptions):
    """Whom to ask, what, and how; None leaves it to the task or the provider.

    job: a fine-tuning job, or "latest": its model is asked what it was trained for. base_model: any model instead; with
    a job it is asked what the job's would be, else the task, by default genitem. temperature, top_p, samples (answers
    a session) and max_tokens shape the answers. limit: sessions to ask for, drawn at random. constrain: local models
    name nothing but titles of the catalog or options.
    """

    job: str | None = None
    _: KW_ONLY
    base_model: str | None = None
    dataset: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    samples: int | None = None
    max_tokens: int | None = None
    limit: int | None = None
    constrain: bool = False

    @property
    def says_what_is_asked(self) -> bool:
        """Whether anything is set that a fine-tuning job decides."""
        return any(
            getattr(self, one.name) != one.default
            for one in fields(TaskOptions)
            if one.name not in ("task", "embeddings")
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.job is None and self.base_model is None:
            raise UsageError("nothing says whom to ask", "name a job, or a model with --base-model")
