"""Sources of text embeddings by name; a new one is one file and one line here, or a plug-in of another package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmseq_cli.embeddings.sources.source import EmbeddingSource
from llmseq_cli.errors import UsageError
from llmseq_cli.plugins import EMBEDDING_SOURCES, load_plugin, plugin_names
from llmseq_cli.settings import parse_settings


@dataclass(frozen=True)
class SourceOptions:
    """A user's options for a source; None and {} mean the source's defaults."""

    model: str | None = None
    dimensions: int | None = None
    base_url: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def _openai(options: SourceOptions) -> EmbeddingSource:
    from llmseq_cli.embeddings.sources.openai import OpenAISettings, OpenAISource

    settings = parse_settings(OpenAISettings, options.settings, "openai")
    return OpenAISource(options.model, options.dimensions, options.base_url, settings)


def _huggingface(options: SourceOptions) -> EmbeddingSource:
    from llmseq_cli.embeddings.sources.huggingface import HuggingFaceSettings, HuggingFaceSource

    settings = parse_settings(HuggingFaceSettings, options.settings, "huggingface")
    return HuggingFaceSource(options.model, options.dimensions, settings)


def _vertex(options: SourceOptions) -> EmbeddingSource:
    from llmseq_cli.embeddings.sources.vertex import VertexSettings, VertexSource

    settings = parse_settings(VertexSettings, options.settings, "vertex")
    return VertexSource(options.model, options.dimensions, options.base_url, settings)


_MAKERS: dict[str, Callable[[SourceOptions], EmbeddingSource]] = {
    "openai": _openai,
    "vertex": _vertex,
    "huggingface": _huggingface,
}

TEXT_SOURCES = (*_MAKERS, *(name for name in plugin_names(EMBEDDING_SOURCES) if name not in (*_MAKERS, "lexical")))
"""Plug-ins come last and cannot replace a built-in source."""


def make_source(name: str, options: SourceOptions) -> EmbeddingSource:
    """The source of this name, one of TEXT_SOURCES. Raises UsageError for options that it does not support."""
    if options.base_url and name not in ("openai", "vertex"):
        raise UsageError(
            f"--base-url is for servers that speak OpenAI's or Google's protocol, not for {name}",
            "use --source openai",
        )
    if name in _MAKERS:
        return _MAKERS[name](options)
    cls: Callable[[SourceOptions], EmbeddingSource] = load_plugin(EMBEDDING_SOURCES, name, EmbeddingSource)  # type: ignore[type-abstract]
    return cls(options)
