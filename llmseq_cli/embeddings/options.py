"""Options for making item embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from llmseq_cli.backend import HERE, Backend
from llmseq_cli.clients.sending import SendingOptions


@dataclass(frozen=True)
class EmbedOptions(SendingOptions):
    """What to embed and how.

    source: "lexical" (TF-IDF of words and character n-grams, no network), "openai", "vertex" or "huggingface". model:
    any model id of the source; None for its default. text: a template over the items' attributes. dimensions: of a
    vector; None for the model's default, or sparse vectors for "lexical". base_url: a server that speaks OpenAI's
    protocol. settings: of the source, by name.

    For OpenAI's batch service: batch submits what is missing, resume collects what is done, wait waits. backend:
    "huggingface" can run on the workers of a Ray cluster.
    """

    source: str = "lexical"
    _: KW_ONLY
    dataset: str | None = None
    model: str | None = None
    text: str = "{title}"
    dimensions: int | None = None
    base_url: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch: bool = False
    resume: bool = False
    wait: bool = False
    backend: Backend = HERE

    def __post_init__(self) -> None:
        self.backend.check_ray_or_here()
