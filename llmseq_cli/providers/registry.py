"""The providers by name. A new one is one file and one line here, or a plug-in of another package."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.plugins import PROVIDERS, load_plugin, plugin_names
from llmseq_cli.providers.provider import FineTuneProvider
from llmseq_cli.settings import parse_settings

# Modules are named, not imported: a provider's libraries are loaded when it is asked for.
_PROVIDERS = {
    "openai": "llmseq_cli.providers.openai:OpenAIProvider",
    "azure": "llmseq_cli.providers.azure:AzureProvider",
    "together": "llmseq_cli.providers.together:TogetherProvider",
    "fireworks": "llmseq_cli.providers.fireworks:FireworksProvider",
    "vertex": "llmseq_cli.providers.vertex:VertexProvider",
    "local": "llmseq_cli.providers.local:LocalProvider",
}

PROVIDER_NAMES = (*_PROVIDERS, *(name for name in plugin_names(PROVIDERS) if name not in _PROVIDERS))
"""Those of other packages last; none of them can take the name of one here."""


def provider_class(name: str) -> type[FineTuneProvider]:
    if name not in PROVIDER_NAMES:
        raise UsageError(f"there is no provider '{name}'", did_you_mean(name, list(PROVIDER_NAMES)))
    if name not in _PROVIDERS:
        return load_plugin(PROVIDERS, name, FineTuneProvider)  # type: ignore[type-abstract]
    module, _, attribute = _PROVIDERS[name].partition(":")
    found: type[FineTuneProvider] = getattr(import_module(module), attribute)
    return found


def default_provider(base_url: str | None) -> str:
    """Who fine-tunes where the user does not say: a server that is named, by its protocol, else this machine."""
    return "openai" if base_url or os.environ.get("OPENAI_BASE_URL") else "local"


def make_provider(name: str, base_url: str | None = None, settings: dict[str, Any] | None = None) -> FineTuneProvider:
    """The provider of this name, at `base_url` where one is given. Raises UsageError for options it cannot have."""
    cls = provider_class(name)
    return cls(base_url, parse_settings(cls.Settings, settings or {}, name))
