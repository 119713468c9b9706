"""Make embeddings of a dataset's items and store them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.dataset import DatasetInfo, find_dataset, item_texts
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.options import EmbedOptions
from llmseq_cli.embeddings.sources.registry import TEXT_SOURCES, SourceOptions, make_source
from llmseq_cli.embeddings.stored import TextEmbeddings, save_embeddings, save_text_embeddings
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.progress import Progress
from llmseq_cli.settings import parse_settings

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.clients.in_flight import InFlight
    from llmseq_cli.embeddings.batch_store import BatchStore
    from llmseq_cli.embeddings.cache import TextVectorCache
    from llmseq_cli.embeddings.fetch import FetchOptions, Usage
    from llmseq_cli.embeddings.openai_batch import BatchRun
    from llmseq_cli.embeddings.plan import EmbeddingPlan
    from llmseq_cli.embeddings.sources.source import EmbeddingSource
    from llmseq_cli.store.connection import Store

SOURCES = ("lexical", *TEXT_SOURCES)

_MINUTES_OF_A_BATCH = 24 * 60.0
"""The longest time that the batch service may take."""


def embed_dataset(store: Store, options: EmbedOptions, progress: Progress) -> dict[str, Any]:
    """Make vectors of all items of a dataset; return what was made."""
    if options.source not in SOURCES:
        raise UsageError(f"there is no embedding source '{options.source}'", did_you_mean(options.source, [*SOURCES]))
    _check_backend(options)
    if options.source == "lexical":
        return _embed_lexical(store, options, progress)
    with _source(options) as source, store.write("embedding item texts") as con:
        work = _Work(con, store.folder, source, options, progress)
        if options.batch or options.resume:
            return work.in_batches()
        return work.at_once()


def plan_dataset(store: Store, options: EmbedOptions) -> dict[str, Any]:
    """Estimate the cost of embedding a dataset without sending or writing anything: see `EmbeddingPlan.estimate`."""
    if options.source not in TEXT_SOURCES:
        raise UsageError(f"'{options.source}' sends no requests", f"--dry-run is for {', '.join(TEXT_SOURCES)}")
    _check_backend(options)
    from llmseq_cli.embeddings.cache import TextVectorCache
    from llmseq_cli.embeddings.plan import make_plan

    with _source(options) as source, store.read("reading item texts") as con:
        info, texts = _texts(con, options.dataset, options.text)
        plan = make_plan(texts, source, TextVectorCache(con, source))
        budgets = options.requests_per_minute, options.tokens_per_minute
        estimate = plan.estimate(source, _price(source, options), options.concurrency, *budgets)
        if options.batch and estimate["requests"]:
            estimate["minutes"] = _MINUTES_OF_A_BATCH
        retired = source.retirement(ask=False)
        about = {"dataset": info.name, "source": source.name, "model": source.model} | estimate
        return about | {"retirement": retired and retired.to_dict()}


def _check_backend(options: EmbedOptions) -> None:
    """Raises UsageError if the source cannot run on Ray."""
    if options.backend.on_ray and options.source != "huggingface":
        why = "runs in this process" if options.source == "lexical" else "embeds on a server"
        raise UsageError(
            f"the {options.source} source {why}: --backend ray is for local models",
            "leave out --backend, or use --source huggingface",
        )


@contextmanager
def _source(options: EmbedOptions) -> Iterator[EmbeddingSource]:
    given = SourceOptions(options.model, options.dimensions, options.base_url, dict(options.settings))
    if options.backend.on_ray:
        from llmseq_cli.embeddings.sources.on_ray import RayHuggingFaceSource

        source: EmbeddingSource = RayHuggingFaceSource(given, options.backend)
    else:
        source = make_source(options.source, given)
    try:
        yield source
    finally:
        source.close()


def _price(source: EmbeddingSource, options: EmbedOptions) -> float | None:
    """US dollars per token, None if no price is known. Raises UsageError if --max-cost needs one."""
    if not source.remote:
        return 0.0
    from llmseq_cli.clients.prices import usd_per_token

    batch = options.batch or options.resume
    price = usd_per_token(source.name, source.model, batch=batch, file=options.prices)
    if price is None and options.max_cost is not None:
        raise UsageError(
            f"no price is known for {source.name}:{source.model}, so --max-cost cannot be checked",
            "give a file of prices with --prices",
        )
    return price


def _texts(con: duckdb.DuckDBPyConnection, dataset: str | None, template: str) -> tuple[DatasetInfo, list[str]]:
    """The dataset and the text of each item. Raises LlmseqError if no item has one."""
    info = find_dataset(con, dataset)
    texts = item_texts(con, info, template)
    if not any(texts):
        raise LlmseqError(f"no item of '{info.name}' has a text", "ingest it with --items, or give another --text")
    return info, texts


class _Work:
    """Embeds one dataset with a source of text vectors, on one writing connection."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        folder: Path,
        source: EmbeddingSource,
        options: EmbedOptions,
        progress: Progress,
    ) -> None:
        from llmseq_cli.embeddings.cache import TextVectorCache

        self.con, self.folder, self.source, self.options, self.progress = con, folder, source, options, progress
        self.clock = time.perf_counter()
        self.price = _price(source, options)
        self.info, self.item_texts = _texts(con, options.dataset, options.text)
        self.cache: TextVectorCache = TextVectorCache(con, source)
        if unusable := self.cache.forget_unusable():
            progress.warn(f"{unusable:,} stored vectors are unusable and were deleted; their texts are sent again")
        if self.cache.model_id is not None and (in_flight := self._in_flight()):
            in_flight.hand_over(self._keep_arrived)
        if options.retry_refused:
            self.cache.forget_refusals()

    def at_once(self) -> dict[str, Any]:
        """Send missing texts, request by request, and make the set."""
        plan = self._plan()
        if len(plan.to_send) and self._batches().open_batches():
            waiting = self._batch_run().settle()
            if waiting:
                raise LlmseqError(
                    f"{waiting:,} texts are in an open batch",
                    "collect them with `llmseq embed --resume`, which also sends the rest; "
                    "`llmseq embeddings --batches` lists batches, --forget drops one",
                )
            plan = self._plan()
        if not len(plan.to_send):
            return self._finish(plan, None)
        if plan.cut:
            self.progress.message(f"{plan.cut:,} texts are longer than the model allows and were cut")
        self._check_model()
        return self._finish(plan, self._send(plan))

    def in_batches(self) -> dict[str, Any]:
        """Collect finished batches, submit missing texts, and make the set once nothing is missing."""
        run = self._batch_run()
        if self.options.resume and not run.store.histories():
            raise LlmseqError("no batch was submitted", "start one with `llmseq embed --batch`")
        if len(self._plan().to_send):
            self._check_model()
        return run.run() or self._finish(self._plan(), run.usage)

    def _check_model(self) -> None:
        """Check the model before texts are sent: if it has been shut down, later items can never be embedded with
        it."""
        from llmseq_cli.clients.retirements import check_model

        check_model(self.source.retirement(ask=True), self.progress.warn, sure=self.options.yes)

    def _batches(self) -> BatchStore:
        from llmseq_cli.embeddings.batch_store import BatchStore

        return BatchStore(self.con, self.cache.model_id)

    def _batch_run(self) -> BatchRun:
        from llmseq_cli.embeddings.openai_batch import BatchOptions, BatchRun
        from llmseq_cli.embeddings.sources.openai import OpenAISource

        if not isinstance(self.source, OpenAISource):
            raise UsageError(
                f"{self.source.name} has no batch service here", "leave out --batch, or use --source openai"
            )
        self.cache.register()
        options = BatchOptions(self.price, self.options.max_cost, self.options.wait)
        about = self.info.dataset_id, self._plan, options
        return BatchRun(self.source, self.cache, self._batches(), *about, self.progress)

    def _plan(self) -> EmbeddingPlan:
        from llmseq_cli.embeddings.plan import make_plan

        return make_plan(self.item_texts, self.source, self.cache)

    def _send(self, plan: EmbeddingPlan) -> Usage:
        from llmseq_cli.embeddings.fetch import Fetched, fetch

        def keep(answers: list[Fetched]) -> None:
            import numpy as np

            places = np.concatenate([one.places for one in answers])
            requests = [(len(one.places), one.tokens, self._cost(one.tokens)) for one in answers]
            hashes = [plan.hashes[place] for place in plan.to_send[places]]
            self.cache.keep(self.info.dataset_id, hashes, np.concatenate([one.vectors for one in answers]), requests)

        texts = [plan.texts[place] for place in plan.to_send]
        usage = fetch(self.source, texts, plan.tokens, keep, self._fetch_options(), self.progress, self._in_flight())
        refused = [(plan.hashes[plan.to_send[place]], texts[place], why) for place, why in usage.refused.items()]
        self.cache.set_aside(refused)
        for _, text, reason in refused[:_SHOWN]:
            self.progress.warn(f"refused: '{text[:60]}': {reason}")
        if len(refused) > _SHOWN:
            self.progress.warn(f"{len(refused) - _SHOWN:,} more texts were refused, see the view refused_texts")
        return usage

    def _in_flight(self) -> InFlight | None:
        """Where requests to a service are recorded before they are sent, since lost ones may be paid for."""
        from llmseq_cli.clients.in_flight import InFlight

        if not self.source.remote:
            return None
        return InFlight(self.folder / "artifacts" / "in-flight" / f"embed-{self.cache.register()}.jsonl")

    def _keep_arrived(self, notes: list[Any]) -> None:
        """Store the vectors that had arrived when an earlier run was killed."""
        from llmseq_cli.embeddings.arrivals import read_arrivals

        kept = 0
        for one in read_arrivals(notes, self.source.dimensions or self.cache.width()):
            if not self.cache.known(one.hashes).any():
                request = len(one.hashes), one.tokens, self._cost(one.tokens)
                self.cache.keep(self.info.dataset_id, one.hashes, one.vectors, [request])
                kept += len(one.hashes)
        if kept:
            self.progress.message(f"{kept:,} texts had arrived when the last run ended; their vectors are stored")

    def _fetch_options(self) -> FetchOptions:
        from llmseq_cli.embeddings.fetch import FetchOptions

        options, width = self.options, self.cache.width()
        return FetchOptions(
            concurrency=options.concurrency,
            requests_per_minute=options.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute,
            usd_per_token=self.price,
            max_cost=options.max_cost,
            dimensions=self.source.dimensions or width,
            proven=width is not None,
        )

    def _cost(self, tokens: int) -> float | None:
        return None if self.price is None else tokens * self.price

    def _finish(self, plan: EmbeddingPlan, usage: Usage | None) -> dict[str, Any]:
        """Store the set: the text of each item, and means for items without a vector. Return what was made."""
        from llmseq_cli.embeddings.fetch import Usage

        usage = usage or Usage()
        without_vector = self.cache.refused(plan.hashes)
        texts = [
            None if place < 0 or place in without_vector else plan.texts[place] for place in plan.of_items.tolist()
        ]
        width = self.cache.width()
        if width is None or not any(texts):
            raise LlmseqError("the server refused every text", "see `llmseq sql 'select * from refused_texts'`")
        used = {
            "texts_sent": usage.texts,
            "requests": usage.requests,
            "tokens": usage.tokens,
            "cost_usd": self._cost(usage.tokens),
            "retries": usage.retries,
        }
        made = TextEmbeddings(
            self.source.name, self.source.model, self.options.text, width, self.cache.register(), texts, used
        )
        seconds = time.perf_counter() - self.clock
        settings = {"dimensions": self.source.dimensions, "variant": self.source.variant, **self.options.settings}
        settings |= {"folder": self.source.folder} if self.source.folder else {}
        self.con.execute("begin transaction")
        try:
            number = save_text_embeddings(self.con, self.info.dataset_id, made, settings, seconds)
            self.con.execute("commit")
        except BaseException:
            self.con.execute("rollback")
            raise
        cut_again = {int(plan.to_send[place]) for place in usage.cut} & plan.cut_places
        of_refused = sum(place in without_vector for place in plan.of_items.tolist())
        return {
            "number": number,
            "dataset": self.info.name,
            "source": made.source,
            "model": made.model,
            "text": made.text,
            "dimensions": width,
            "sparse": False,
            "remote": self.source.remote,
            "texts": len(self.item_texts) - int((plan.of_items < 0).sum()),
            "distinct_texts": len(plan.texts),
            "cached": len(plan.texts) - usage.texts - len(without_vector),
            "items_without_text": int((plan.of_items < 0).sum()),
            "items_refused": of_refused,
            "refused": [{"text": plan.texts[place], "reason": why} for place, why in without_vector.items()],
            "cut": plan.cut + len(usage.cut) - len(cut_again),
            **used,
            "seconds": seconds,
        }


_SHOWN = 5


def _embed_lexical(store: Store, options: EmbedOptions, progress: Progress) -> dict[str, Any]:
    from llmseq_cli.embeddings.lexical import LexicalSettings, embed_texts

    if options.model is not None or options.base_url is not None or options.batch or options.resume:
        raise UsageError(
            "the lexical source runs on this machine and has one model",
            "leave out --model, --base-url, --batch and --resume",
        )
    parsed = parse_settings(LexicalSettings, options.settings, "lexical")
    with store.read("reading item texts") as con:
        info, texts = _texts(con, options.dataset, options.text)
    n_texts = sum(map(bool, texts))
    clock = time.perf_counter()
    with progress.task(f"Embedding {n_texts:,} texts"):
        vectors = embed_texts(texts, parsed, options.dimensions, options.seed)
    seconds = time.perf_counter() - clock
    model = "tfidf" if options.dimensions is None else f"tfidf-svd-{vectors.shape[1]}"
    made = ItemEmbeddings(vectors, "lexical", model, options.text)
    settings = parsed.to_dict() | {"seed": options.seed}
    with store.transaction(f"storing embeddings of '{info.name}'", wait=True) as con, progress.task("Storing vectors"):
        number = save_embeddings(con, info.dataset_id, made, texts, settings, seconds)
    return {
        "number": number,
        "dataset": info.name,
        "source": made.source,
        "model": model,
        "text": options.text,
        "dimensions": made.dim,
        "sparse": made.is_sparse,
        "texts": n_texts,
        "items_without_text": len(texts) - n_texts,
        "seconds": seconds,
    }
