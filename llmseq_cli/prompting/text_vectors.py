"""Vectors of answers that name no item of the catalog, from the source of the items' vectors."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.clients.openai import OPENAI_URL
from llmseq_cli.clients.prices import usd_per_token
from llmseq_cli.data.dataset import Dataset, item_texts
from llmseq_cli.embeddings.cache import TextVectorCache
from llmseq_cli.embeddings.fetch import Fetched, FetchOptions, fetch
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.lexical import LexicalSettings, LexicalVectors
from llmseq_cli.embeddings.plan import make_plan
from llmseq_cli.embeddings.sources.registry import SourceOptions, make_source
from llmseq_cli.embeddings.stored import find_embeddings
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import Progress
from llmseq_cli.settings import parse_settings
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    from llmseq_cli.embeddings.sources.source import EmbeddingSource
    from llmseq_cli.store.connection import Store


_OTHERS = "embed the items again, or name other embeddings with --embeddings, for example lexical"


def _files(variant: str) -> str:
    """What a folder's variant says of its files; the rest is of the device."""
    return variant.partition(", ")[0]


class TextVectors:
    """Vectors of texts in the space of the items' vectors; those of remote sources are kept in the cache.

    name: of the embeddings, as `find_embeddings` takes it.
    """

    def __init__(
        self,
        store: Store,
        dataset: Dataset,
        embeddings: ItemEmbeddings,
        name: str,
        progress: Progress,
        prices: str | None = None,
    ) -> None:
        self.store, self.dataset, self.embeddings, self.progress = store, dataset, embeddings, progress
        self.prices = prices
        with store.read("reading item embeddings") as con:
            _, self.about = find_embeddings(con, dataset.info.dataset_id, name)
        self.tokens = 0

    def check(self) -> None:
        """Raises LlmseqError if the model of the items' vectors is not there to make others."""
        if self.about["source"] != "lexical":
            _ = self._source

    def of(self, texts: list[str]) -> Any:
        """Vectors [n, dim] of distinct texts, dense or sparse as the items' are; zeros where a text has none."""
        return self._lexical(texts) if self.about["source"] == "lexical" else self._cached(texts)

    def _lexical(self, texts: list[str]) -> Any:
        settings = dict(self.about["settings"])
        seed = settings.pop("seed", 0)
        with self.store.read("reading item texts") as con:
            of_items = item_texts(con, self.dataset.info, self.about["text"])
        dimensions = None if self.about["sparse"] else self.about["dimensions"]
        with self.progress.task(f"Embedding {len(texts):,} answers"):
            return LexicalVectors(of_items, parse_settings(LexicalSettings, settings, "lexical"), dimensions, seed).of(
                texts
            )

    @cached_property
    def _source(self) -> EmbeddingSource:
        settings = dict(self.about["settings"])
        dimensions, variant = settings.pop("dimensions", None), settings.pop("variant", "")
        folder = settings.pop("folder", None)
        # Only OpenAI's protocol has servers of one's own; its variant is the address.
        base_url = (variant or OPENAI_URL) if self.about["source"] == "openai" else None
        options = SourceOptions(folder or self.about["model"], dimensions, base_url, settings)
        try:
            source = make_source(self.about["source"], options)
        except LlmseqError as error:
            raise LlmseqError(f"answers that are no title cannot be embedded: {error.message}", _OTHERS) from error
        if folder and _files(source.variant) != _files(variant):
            raise LlmseqError(f"the model in {folder} is not the one that made the items' vectors", _OTHERS)
        return source

    def _cached(self, texts: list[str]) -> np.ndarray:
        source = self._source
        with self.store.write("embedding answers") as con:
            cache = TextVectorCache(con, source)
            cache.forget_unusable()
            plan = make_plan(texts, source, cache)
            price = usd_per_token(source.name, source.model, file=self.prices) if source.remote else 0.0

            def keep(answers: list[Fetched]) -> None:
                places = np.concatenate([one.places for one in answers])
                costs = [
                    (len(one.places), one.tokens, None if price is None else one.tokens * price) for one in answers
                ]
                hashes = [plan.hashes[place] for place in plan.to_send[places]]
                vectors = np.concatenate([one.vectors for one in answers])
                cache.keep(self.dataset.info.dataset_id, hashes, vectors, costs)

            if len(plan.to_send):
                to_send = [plan.texts[place] for place in plan.to_send]
                options = FetchOptions(usd_per_token=price, dimensions=self.embeddings.dim, proven=True)
                usage = fetch(source, to_send, plan.tokens, keep, options, self.progress)
                self.tokens += usage.tokens
                cache.set_aside(
                    [(plan.hashes[plan.to_send[place]], to_send[place], why) for place, why in usage.refused.items()]
                )
            of_items: np.ndarray = self._kept(con, cache, plan.hashes)[plan.of_items]
            return of_items

    def _kept(self, con: Any, cache: TextVectorCache, hashes: list[str]) -> np.ndarray:
        vectors = np.zeros((len(hashes) + 1, self.embeddings.dim), dtype=np.float32)  # the last: of no text
        columns = {"place": np.arange(len(hashes), dtype=np.int32), "text_hash": np.array(hashes, dtype=object)}
        con.register("hash_columns", columns)
        try:
            for place, vector in con.execute(query("prompting/text_vectors"), {"model_id": cache.model_id}).fetchall():
                vectors[place] = vector
        finally:
            con.unregister("hash_columns")
        return vectors
