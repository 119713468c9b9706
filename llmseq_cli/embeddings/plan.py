"""Plan the embedding of a dataset's texts: which are cached, which must be sent, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.embeddings.cache import TextVectorCache, text_hash
from llmseq_cli.embeddings.fetch import fill
from llmseq_cli.embeddings.sources.source import EmbeddingSource

_SECONDS_PER_REQUEST = 1.0
"""Duration of a full request, assumed when estimating the time of a run."""


@dataclass(frozen=True)
class EmbeddingPlan:
    """The distinct texts of a catalog, cut to the model's limit.

    texts, hashes: of each distinct text. of_items: int64[n_items], place of each item's text, -1 for items without one.
    to_send: int64[n], places of texts without a vector. tokens: int64[n], of the texts to send, estimated.
    refused: reasons, by place, of texts that the server refused before; they are not sent again. cut: how many texts
    were cut; cut_places: their places.
    """

    texts: list[str]
    hashes: list[str]
    of_items: np.ndarray
    to_send: np.ndarray
    tokens: np.ndarray
    refused: dict[int, str]
    cut: int
    cut_places: frozenset[int]

    @property
    def cached(self) -> int:
        return len(self.texts) - len(self.to_send) - len(self.refused)

    def estimate(
        self,
        source: EmbeddingSource,
        usd_per_token: float | None,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> dict[str, Any]:
        """texts (distinct), cached, tokens, requests, cost_usd (None if no price is known) and minutes for sending what
        is not cached (None for a local model, whose speed is unknown). Tokens are an upper estimate.

        requests_per_minute, tokens_per_minute: None uses the source's limits.
        """
        limits = source.limits
        requests_per_minute = requests_per_minute or limits.requests_per_minute
        tokens_per_minute = tokens_per_minute or limits.tokens_per_minute
        tokens = int(self.tokens.sum())
        requests = sum(1 for _ in fill(self.tokens, limits.texts_per_request, limits.tokens_per_request))
        minutes = max(
            requests * _SECONDS_PER_REQUEST / concurrency / 60,
            requests / requests_per_minute if requests_per_minute else 0.0,
            tokens / tokens_per_minute if tokens_per_minute else 0.0,
        )
        return {
            "texts": len(self.texts),
            "cached": self.cached,
            "tokens": tokens,
            "requests": requests,
            "cost_usd": None if usd_per_token is None else tokens * usd_per_token,
            "minutes": minutes if source.remote else None,
            "items_without_text": int((self.of_items < 0).sum()),
            "cut": self.cut,
            "refused": len(self.refused),
        }


def make_plan(item_texts: list[str], source: EmbeddingSource, cache: TextVectorCache) -> EmbeddingPlan:
    """Plan the vectors of all items' texts ('' for an item without one)."""
    places: dict[str, int] = {}
    of_items = np.array([places.setdefault(text, len(places)) if text else -1 for text in item_texts], dtype=np.int64)
    texts, over = _cut(list(places), source)
    cut = len(over)
    if over:  # texts that differ only in the part cut off are the same
        distinct: dict[str, int] = {}
        place = np.array([distinct.setdefault(text, len(distinct)) for text in texts], dtype=np.int64)
        of_items = np.where(of_items < 0, -1, place[of_items])
        texts = list(distinct)
        over = place[over].tolist()
    hashes = [text_hash(text) for text in texts]
    refused = cache.refused(hashes)
    wanted = ~cache.known(hashes)
    wanted[list(refused)] = False
    to_send = np.flatnonzero(wanted)
    tokens = source.count_tokens([texts[place] for place in to_send])
    return EmbeddingPlan(texts, hashes, of_items, to_send, tokens, refused, cut, frozenset(over))


def _cut(texts: list[str], source: EmbeddingSource) -> tuple[list[str], list[int]]:
    """The texts, cut to the model's limit, and the places of those that were cut."""
    limit = source.limits.tokens_per_text
    if limit is None:
        return texts, []
    # A tokenizer makes at most one token per byte and a few special ones, so short texts need not be counted.
    long = [place for place, text in enumerate(texts) if len(text) * 4 > limit and len(text.encode()) * 2 > limit]
    counts = source.count_tokens([texts[place] for place in long])
    over = [place for place, count in zip(long, counts, strict=True) if count > limit]
    for place in over:
        texts[place] = source.cut(texts[place], limit).rstrip()
    return texts, over
