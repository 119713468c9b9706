"""Options for asking a language model for recommendations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any

from llmseq_cli.clients.sending import SendingOptions
from llmseq_cli.errors import UsageError
from llmseq_cli.finetuning.options import TaskOptions


@dataclass(frozen=True, kw_only=True)
class AskingOptions(SendingOptions):
    """Where to ask a model, and limits on rate and cost.

    settings: of the provider, by name. context: the model's context length in tokens.
    """

    provider: str = "openai"
    base_url: str | None = None
    context: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptOptions(TaskOptions, AskingOptions):
    """Whom to ask, what, and how; None means the default of the task or provider.

    job: a fine-tuning job, or "latest": its model is asked the task it was trained for. base_model: any model instead;
    with a job it gets the job's questions, otherwise those of the task, by default genitem. temperature, top_p, samples
    (answers per session) and max_tokens: of the answers. limit: sessions to ask about, drawn at random. constrain:
    local models may only answer titles of the catalog or options.
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
        """Whether any option is set that a fine-tuning job determines."""
        return any(
            getattr(self, one.name) != one.default
            for one in fields(TaskOptions)
            if one.name not in ("task", "embeddings")
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.job is None and self.base_model is None:
            raise UsageError("no model is given", "name a job, or a model with --base-model")
