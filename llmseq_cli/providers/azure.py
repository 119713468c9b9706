"""Azure OpenAI: OpenAI's models under a resource of Microsoft's cloud. A tuned model is asked by its deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmseq_cli.clients.azure import AzureClient
from llmseq_cli.clients.openai import OpenAIClient
from llmseq_cli.providers.hosted import HostedProvider
from llmseq_cli.providers.openai import OpenAITuning
from llmseq_cli.providers.provider import Submission
from llmseq_cli.settings import Settings, setting


@dataclass(frozen=True)
class AzureTuning(OpenAITuning):
    """As for OpenAI; the tuned model answers under the name of a deployment, which you make in Azure."""

    deployment: str | None = setting(None, "deployment to ask; none: one that is called as the model")


class AzureProvider(HostedProvider):
    """base_url: the resource's endpoint, else $AZURE_OPENAI_ENDPOINT. The key comes from $AZURE_OPENAI_API_KEY."""

    name = "azure"
    Settings: ClassVar[type[Settings]] = AzureTuning
    Client: ClassVar[type[OpenAIClient]] = AzureClient
    settings: AzureTuning
    keeps_metadata = False  # not in the version that is documented as stable

    def _asked(self, submission: Submission) -> dict[str, Any]:
        asked = super()._asked(submission)
        del asked["metadata"]
        asked["hyperparameters"] = asked.pop("method")["supervised"]["hyperparameters"]
        return asked
