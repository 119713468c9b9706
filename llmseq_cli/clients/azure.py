"""Azure OpenAI: OpenAI's protocol at the user's own endpoint, with a version in every URL."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from llmseq_cli.clients.errors import FinalError
from llmseq_cli.clients.openai import OpenAIClient
from llmseq_cli.clients.openai_answers import ModelCard
from llmseq_cli.errors import UsageError

if TYPE_CHECKING:
    import openai

API_VERSION = "2024-10-21"
"""The stable version that learn.microsoft.com/rest/api/azureopenai documents for files, jobs and chat."""


class AzureClient(OpenAIClient):
    """base_url: the endpoint of the resource, https://NAME.openai.azure.com; default: $AZURE_OPENAI_ENDPOINT."""

    service: ClassVar[str] = "azure"
    address_variable: ClassVar[str] = "AZURE_OPENAI_ENDPOINT"
    key_variable: ClassVar[str] = "AZURE_OPENAI_API_KEY"

    def _address(self, base_url: str | None) -> str:
        if not (base_url or os.environ.get(self.address_variable)):
            raise UsageError(
                "no Azure OpenAI endpoint is set",
                f"set {self.address_variable}, or --base-url https://NAME.openai.azure.com",
            )
        return super()._address(base_url)

    @cached_property
    def _sdk(self) -> openai.OpenAI:
        import openai

        if not self.key:
            raise FinalError(f"{self.key_variable} is not set", "set it in the environment")
        return openai.AzureOpenAI(
            azure_endpoint=self.address,
            api_key=self.key,
            api_version=API_VERSION,
            max_retries=0,
            timeout=self.timeout,
        )

    def told_shutdown(self, card: ModelCard) -> str | None:
        seconds = card.deprecation.get("inference")
        if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 < seconds < 10**11:
            return None
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
