"""What can be said of making item embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from llmseq_cli.backend import HERE, Backend


@dataclass(frozen=True)
class EmbedOptions:
    """What to embed and how.

    source: "lexical" (TF-IDF of words and character n-grams, no network), "openai", "vertex" or "huggingface". model:
    any id of the source's; None for its usual one. text: a template over the items' attributes. dimensions: of a
    vector; None for the model's own number, for "lexical" sparse vectors. base_url: a server that speaks OpenAI's
    protocol. settings: of the source, by name.

    Of sources that answer requests: concurrency, requests_per_minute and tokens_per_minute, where None is what the
    server says it allows; max_cost in US dollars; prices, a TOML file; retry_refused sends again what the server
    refused; yes goes on with a model that is shut down. Of OpenAI's batch service: batch hands over what is missing,
    resume collects what is done, wait waits. backend: "huggingface" can compute on the workers of a Ray cluster.
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
    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost: float | None = None
    prices: str | None = None
    retry_refused: bool = False
    yes: bool = False
    batch: bool = False
    resume: bool = False
    wait: bool = False
    backend: Backend = HERE

    def __post_init__(self) -> None:
        self.backend.check_ray_or_here()
