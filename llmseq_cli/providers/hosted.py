"""The common base of services whose tuned models answer at a deployment that the user creates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmseq_cli.providers.openai import OpenAIProvider
from llmseq_cli.settings import Settings, setting


@dataclass(frozen=True)
class HostedTuning(Settings):
    """LoRA on an open model that a service hosts; none leaves a value to the service."""

    epochs: int = setting(3, "passes over the examples", low=1, high=100)
    learning_rate: float | None = setting(None, "peak learning rate; none: the service decides", low=1e-8, high=1)
    rank: int | None = setting(None, "rank of LoRA's matrices; none: the service decides", low=1, high=1024)
    deployment: str | None = setting(None, "model or deployment to ask; none: the tuned model by its own name")
    reasoning: str | None = setting(None, "as the server takes it; none: not sent")
    timeout: float = setting(300.0, "seconds to wait for an answer", low=1)


class HostedProvider(OpenAIProvider):
    """Its settings have `deployment`: what a model is called where it answers."""

    not_of_the_job = (*OpenAIProvider.not_of_the_job, "deployment", "account")

    def minutes(self, tokens: int) -> float | None:
        return None

    def asked_as(self, model: str) -> str:
        return self.settings.deployment or model

    def asking_settings(self) -> dict[str, Any]:
        chosen = self.settings.deployment
        return super().asking_settings() | ({"deployment": chosen} if chosen else {})
