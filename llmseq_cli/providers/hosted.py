"""What services have in common whose tuned models answer at a deployment that the user makes."""

from __future__ import annotations

from typing import Any

from llmseq_cli.providers.openai import OpenAIProvider


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
