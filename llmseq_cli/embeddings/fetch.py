"""Get vectors of texts from a source in full requests; split refused requests in half until the refused text is
found."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from llmseq_cli.clients.dispatcher import Dispatcher, DispatchOptions, Outcome, Told, Workload
from llmseq_cli.clients.errors import BadAnswerError, FinalError, RefusedError
from llmseq_cli.clients.in_flight import InFlight
from llmseq_cli.clients.retries import Patience
from llmseq_cli.clients.vector_answers import FoundVectors
from llmseq_cli.embeddings.arrivals import arrival_note
from llmseq_cli.embeddings.cache import text_hash
from llmseq_cli.embeddings.sources.source import EmbeddingSource, VectorAnswer
from llmseq_cli.progress import Progress, Task

_GRACE_SECONDS = 15.0
"""How long to wait after a failure or Ctrl-C for answers in flight, which are paid for."""

_REFUSALS_BEFORE_FIRST_ANSWER = 10
_SHORTEN = 0.75
_LEAST_TOKENS = 16


@dataclass(frozen=True)
class FetchOptions:
    """How to query a source.

    concurrency: requests in flight at a time. requests_per_minute, tokens_per_minute: None uses the source's limits,
    which the server can replace. usd_per_token: price of a token, None if unknown.
    max_cost: upper limit in US dollars. dimensions: required width of vectors, None takes that of the first answer.
    proven: the model has answered before, so a refusal is due to the texts.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    usd_per_token: float | None = None
    max_cost: float | None = None
    dimensions: int | None = None
    proven: bool = False
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Fetched:
    """The result of one request: places of the texts, float32[n, dim], tokens (estimated if not counted)."""

    places: np.ndarray
    vectors: np.ndarray
    tokens: int


@dataclass
class Usage:
    """The cost of fetching. tokens: as counted by the provider, otherwise estimated. wasted_tokens: the part of them
    whose answers were useless.
    """

    texts: int = 0
    requests: int = 0
    retries: int = 0
    tokens: int = 0
    wasted_tokens: int = 0
    cut: set[int] = field(default_factory=set)
    """Places of texts that were cut after a refusal."""
    refused: dict[int, str] = field(default_factory=dict)
    """Reasons by place of the text."""


Keep = Callable[[list[Fetched]], None]


def _keep_nothing(fetched: list[Fetched]) -> None:
    """Replaces `keep` once nothing may be stored any more."""


def fill(tokens: np.ndarray, texts_per_request: int, tokens_per_request: int | None) -> Iterator[np.ndarray]:
    """Split texts, in order, into requests as full as the limits allow: places int64[n] of each."""
    total = np.concatenate([[0], np.cumsum(tokens, dtype=np.int64)])
    start = 0
    while start < len(tokens):
        stop = min(start + texts_per_request, len(tokens))
        if tokens_per_request is not None:
            room = int(np.searchsorted(total, total[start] + tokens_per_request, side="right")) - 1
            stop = max(start + 1, min(stop, room))
        yield np.arange(start, stop)
        start = stop


def fetch(
    source: EmbeddingSource,
    texts: list[str],
    tokens: np.ndarray,
    keep: Keep,
    options: FetchOptions,
    progress: Progress,
    in_flight: InFlight | None = None,
) -> Usage:
    """Get vectors of all texts and pass them to `keep` as answers arrive (several at a time if they arrive faster).

    texts: non-empty, within the source's token limit per text. tokens: int64[n], the source's estimates.
    in_flight: where requests are recorded before they are sent; lost requests of an earlier run are repeated first,
    unchanged. Texts that the server refuses are left out and listed. Raises FinalError or LlmseqError if it cannot
    continue; answers until then are stored.
    """
    limits = source.limits
    lost = in_flight.left() if in_flight else []
    with progress.task(f"Embedding {len(texts):,} texts", total=len(texts), unit="texts") as task:
        work = _Texts(source, texts, tokens, keep, options, task, lost)
        if work.repeated:
            progress.message(
                f"{work.repeated:,} texts were in flight when the last run ended; they are sent again in the same"
                " requests"
            )
        sending = DispatchOptions(
            concurrency=min(options.concurrency if source.remote else source.parallel, max(1, len(work.waiting))),
            waiting_threads=source.remote,
            requests_per_minute=options.requests_per_minute or limits.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute or limits.tokens_per_minute,
            fixed_requests=options.requests_per_minute is not None,
            fixed_tokens=options.tokens_per_minute is not None,
            max_cost=options.max_cost if options.usd_per_token is not None else None,
            grace_seconds=_GRACE_SECONDS,
            patience=options.patience,
        )
        if in_flight is None:
            return work.sent_by(Dispatcher(work, sending, progress, task))
        with in_flight:
            return work.sent_by(Dispatcher(work, sending, progress, task, in_flight))


@dataclass(frozen=True)
class _Vectors:
    """places: of the request's texts that have a vector, int64[n]. vectors: float32[n, dim]. tokens: as counted."""

    places: np.ndarray
    vectors: np.ndarray
    tokens: int | None


class _Texts(Workload[np.ndarray, _Vectors]):
    """Requests are places of texts, int64[n]; replies are their vectors. Texts missing in an answer are sent again.

    repeated: number of texts sent again in lost requests of an earlier run.
    """

    def __init__(
        self,
        source: EmbeddingSource,
        texts: list[str],
        tokens: np.ndarray,
        keep: Keep,
        options: FetchOptions,
        task: Task,
        lost: Sequence[object] = (),
    ) -> None:
        self.source, self.texts, self.keep = source, list(texts), keep
        self.planned = texts  # the key of their vectors, even if a text is cut later
        self.options, self.task = options, task
        self.estimated = np.array(tokens, dtype=np.int64)  # a copy: it changes when texts are cut
        again = self._lost(lost)
        self.repeated = sum(map(len, again))
        self.waiting = deque([*again, *self._filled(again)])
        self.width = options.dimensions
        self.usage = Usage()
        self.tokens_per_estimate: Callable[[], float] = lambda: 1.0

    def sent_by(self, dispatcher: Dispatcher[np.ndarray, _Vectors]) -> Usage:
        self.tokens_per_estimate = lambda: dispatcher.budget.tokens_per_estimate
        dispatcher.run()
        self.usage.retries = dispatcher.retries
        return self.usage

    def _lost(self, requests: Sequence[object]) -> list[np.ndarray]:
        """Lost requests of an earlier run, as hashes of texts, if all their texts still need to be sent."""
        if not requests:
            return []
        place_of = {text_hash(text): place for place, text in enumerate(self.texts)}
        found = []
        for hashes in requests:
            if not isinstance(hashes, list) or not hashes:
                continue
            places = [place_of.pop(one, None) if isinstance(one, str) else None for one in hashes]
            if None not in places:
                found.append(np.array(places, dtype=np.int64))
        return found

    def _filled(self, without: list[np.ndarray]) -> list[np.ndarray]:
        """Full requests in the order of the texts; a local model gets texts of similar length together, longest
        first."""
        limits = self.source.limits
        order = np.arange(len(self.texts)) if self.source.remote else np.argsort(-self.estimated, kind="stable")
        if without:
            order = order[~np.isin(order, np.concatenate(without))]
        parts = fill(self.estimated[order], limits.texts_per_request, limits.tokens_per_request)
        return [order[places] for places in parts]

    def next(self) -> np.ndarray | None:
        return self.waiting.popleft() if self.waiting else None

    def tokens(self, unit: np.ndarray) -> float:
        return float(self.estimated[unit].sum())

    def cost(self, unit: np.ndarray) -> float:
        return self.tokens(unit) * (self.options.usd_per_token or 0.0)

    def spent(self) -> float:
        return self.usage.tokens * (self.options.usd_per_token or 0.0)

    def left(self) -> str:
        return f"{len(self.texts) - self.usage.texts - len(self.usage.refused):,} texts are left"

    def content(self, unit: np.ndarray) -> list[str]:
        return [text_hash(self.texts[place]) for place in unit]

    def note(self, unit: np.ndarray, reply: _Vectors) -> dict[str, object]:
        hashes = [text_hash(self.planned[place]) for place in unit[reply.places]]
        return arrival_note(hashes, reply.vectors, self._tokens_of(unit, reply))

    def send(self, unit: np.ndarray) -> tuple[_Vectors, Told]:
        try:
            answer = self.source.embed([self.texts[place] for place in unit])
        except BadAnswerError as error:
            if error.part is None:
                raise
            part: FoundVectors = error.part
            vectors = self._checked(VectorAnswer(part.vectors, part.tokens), len(part.places))
            return _Vectors(part.places, vectors, part.tokens), Told(part.tokens)
        told = Told(answer.tokens, answer.requests_per_minute, answer.tokens_per_minute)
        return _Vectors(np.arange(len(unit)), self._checked(answer, len(unit)), answer.tokens), told

    def _checked(self, answer: VectorAnswer, n_texts: int) -> np.ndarray:
        """The vectors if there is a valid one for each text. Raises BadAnswerError otherwise."""
        vectors = np.asarray(answer.vectors, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != n_texts:
            raise BadAnswerError(
                f"the server returned {len(vectors):,} vectors for {n_texts:,} texts", tokens=answer.tokens
            )
        if self.width is None and vectors.shape[1]:
            self.width = vectors.shape[1]
        if vectors.shape[1] != self.width:
            expected = "" if self.width is None else f" instead of {self.width}"
            raise BadAnswerError(
                f"the server returned vectors of width {vectors.shape[1]}{expected}", tokens=answer.tokens
            )
        if not np.isfinite(vectors).all():
            raise BadAnswerError(
                "the server returned vectors with numbers that are not finite", refuses=True, tokens=answer.tokens
            )
        return vectors

    def take(self, outcomes: Sequence[Outcome[np.ndarray, _Vectors]]) -> None:
        fetched = []
        for one in outcomes:
            if one.reply is not None:
                reply = one.reply
                tokens = self._tokens_of(one.unit, reply)
                fetched.append(Fetched(one.unit[reply.places], reply.vectors, tokens))
                if len(reply.places) < len(one.unit):  # fewer each time, so this ends
                    self.waiting.appendleft(np.delete(one.unit, reply.places))
        if fetched:
            self._keep(fetched)
        for one in outcomes:
            if isinstance(one.error, RefusedError):
                self._divide(one.unit, one.error)

    def _tokens_of(self, unit: np.ndarray, reply: _Vectors) -> int:
        return int(self.tokens(unit) * self.tokens_per_estimate()) if reply.tokens is None else reply.tokens

    def _keep(self, fetched: list[Fetched]) -> None:
        self.keep(fetched)
        for one in fetched:
            self.usage.requests += 1
            self.usage.texts += len(one.places)
            self.usage.tokens += one.tokens
            self.task.advance(len(one.places))
        self.task.describe(f"Embedding {len(self.texts):,} texts")

    def _divide(self, places: np.ndarray, refusal: RefusedError) -> None:
        """Split a refused request in half; a single text is cut, or set aside with the reason."""
        self.usage.requests += 1
        if len(places) > 1:
            middle = len(places) // 2
            self.waiting.extendleft([places[middle:], places[:middle]])
            return
        place = int(places[0])
        shorter = ""
        if refusal.too_long and self.estimated[place] > _LEAST_TOKENS:
            shorter = self.source.cut(self.texts[place], int(self.estimated[place] * _SHORTEN)).strip()
        if shorter and shorter != self.texts[place]:
            self.texts[place] = shorter
            self.estimated[place] = self.source.count_tokens([shorter])[0]
            self.usage.cut.add(place)
            self.waiting.appendleft(places)
            return
        self.usage.refused[place] = refusal.reason
        self.task.advance(1)
        proven = self.options.proven or self.usage.texts > 0
        if not proven and len(self.usage.refused) >= _REFUSALS_BEFORE_FIRST_ANSWER:
            raise FinalError(f"the server refuses every text: {refusal.reason}", "check --model and --dimensions")

    def release(self) -> None:
        self.keep = _keep_nothing

    def wasted(self, tokens: int) -> None:
        self.usage.requests += 1
        self.usage.tokens += tokens
        self.usage.wasted_tokens += tokens
