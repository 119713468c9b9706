"""The engine that gets vectors for texts from a source: batches, threads, budgets, one retry policy, bisecting.

Threads ask the source; everything else (what is kept, what is shown) happens in the calling thread, answer by answer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from llmseq_cli.clients.errors import (
    BadAnswerError,
    CalledOffError,
    FinalError,
    RefusedError,
    TransientError,
    UnreachableError,
)
from llmseq_cli.clients.rates import RateBudget
from llmseq_cli.clients.retries import Patience, patiently
from llmseq_cli.embeddings.sources.source import Answer, EmbeddingSource
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import Progress, Task

_GRACE_SECONDS = 15.0
"""How long answers that are under way are waited for after a failure or Ctrl-C: they are paid for."""

_FAREWELL_SECONDS = 1.0
"""How long threads that have nothing left to do are waited for: ending takes them no time."""

_LONG_WAIT_SECONDS = 1.0
_MESSAGE_EVERY_SECONDS = 10.0
_REFUSALS_BEFORE_FIRST_ANSWER = 10
_SHORTEN = 0.75
_LEAST_TOKENS = 16


@dataclass(frozen=True)
class FetchOptions:
    """How to ask a source.

    concurrency: requests under way at a time. requests_per_minute, tokens_per_minute: None keeps to the source's
    limits, which the server's own word replaces. usd_per_token: price of a token, None where it is not known.
    max_cost: US dollars that are not passed. dimensions: width that vectors must have, None takes the first answer's.
    proven: the model has answered before, so that texts which it refuses are the texts' fault.
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
    """What came back for one request: places of the texts, float32[n, dim], tokens (estimated where not counted)."""

    places: np.ndarray
    vectors: np.ndarray
    tokens: int


@dataclass
class Usage:
    """What fetching took. tokens are those that the provider counted, or estimates where it does not say;
    wasted_tokens are the part of them whose answers were of no use.
    """

    texts: int = 0
    requests: int = 0
    retries: int = 0
    tokens: int = 0
    wasted_tokens: int = 0
    cut: set[int] = field(default_factory=set)
    """Places of the texts that were cut after a refusal."""
    refused: dict[int, str] = field(default_factory=dict)
    """Reason by the place of the text."""


Keep = Callable[[list[Fetched]], None]


def _keep_nothing(fetched: list[Fetched]) -> None:
    """Stands in for `keep` once nothing is kept any more."""


def fill(tokens: np.ndarray, texts_per_request: int, tokens_per_request: int | None) -> Iterator[np.ndarray]:
    """Splits texts, in their order, into requests that are as full as the limits allow: places int64[n] of each."""
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
) -> Usage:
    """Vectors of all texts, handed to `keep` as answers come in (several at a time where they come faster than that).

    texts: not empty, within the source's limit of tokens a text. tokens: int64[n], what the source
    estimates for each. Texts that the server refuses are left out and listed.
    Raises FinalError or LlmseqError where it cannot go on; what was answered until then has been kept.
    """
    with progress.task(f"Embedding {len(texts):,} texts", total=len(texts), unit="texts") as task:
        return _Fetcher(source, texts, tokens, keep, options, progress, task).run()


@dataclass(frozen=True)
class _Outcome:
    """What a thread reports: an answer, or why there is none."""

    places: np.ndarray
    answer: Answer | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class _Note:
    """What a thread waits for, and for how many seconds."""

    text: str
    seconds: float


class _Fetcher:
    def __init__(
        self,
        source: EmbeddingSource,
        texts: list[str],
        tokens: np.ndarray,
        keep: Keep,
        options: FetchOptions,
        progress: Progress,
        task: Task,
    ) -> None:
        self.source, self.texts, self.keep = source, list(texts), keep
        self.options, self.progress, self.task = options, progress, task
        limits = source.limits
        self.budget = RateBudget(
            options.requests_per_minute or limits.requests_per_minute,
            options.tokens_per_minute or limits.tokens_per_minute,
        )
        self.tokens = np.array(tokens, dtype=np.int64)  # a copy: it changes for texts that are cut
        self.waiting = deque(self._batches())
        self.width = options.dimensions
        self.usage = Usage()
        self.reserved = 0
        self.under_way = 0
        self.reached = threading.Event()
        self.failure: BaseException | None = None
        self.stop = threading.Event()
        self.slots = threading.Semaphore(options.concurrency if source.remote else source.parallel)
        self.work: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[_Outcome | _Note | int] = queue.SimpleQueue()
        self.last_message = -float("inf")

    def _batches(self) -> list[np.ndarray]:
        """Requests in the order of the texts; a local model gets texts of like length together, longest first."""
        limits = self.source.limits
        order = np.arange(len(self.texts)) if self.source.remote else np.argsort(-self.tokens, kind="stable")
        parts = fill(self.tokens[order], limits.texts_per_request, limits.tokens_per_request)
        return [order[places] for places in parts]

    def run(self) -> Usage:
        # Remote sources get twice as many threads as slots, with a request each: a slot that gets free is taken at
        # once, even while others wait to try again and the calling thread writes a whole wave of answers.
        threads = min(2 * self.options.concurrency if self.source.remote else self.source.parallel, len(self.waiting))
        serving = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]
        for thread in serving:
            thread.start()
        try:
            while self.waiting or self.under_way:
                # Twice as many as there are threads: they never wait for what the calling thread is writing.
                while self.waiting and self.under_way < 2 * threads and self._may_spend(self.waiting[0]):
                    self._send(self.waiting.popleft())
                self._collect()
        except BaseException:
            with suppress(Exception):  # what went wrong first is what is told
                self._save_what_comes()
            raise
        finally:
            self.stop.set()
            for _ in serving:
                self.work.put(None)
            self._dismiss(serving)
        return self.usage

    def _dismiss(self, serving: list[threading.Thread]) -> None:
        """Waits for the threads to end. One that hangs in a request may outlive the interpreter, with all it refers to:
        the connection that answers were kept on is not to be among that.
        """
        self.keep, self.failure = _keep_nothing, None
        deadline = time.monotonic() + _FAREWELL_SECONDS
        for thread in serving:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _send(self, places: np.ndarray) -> None:
        self.under_way += 1
        self.reserved += int(self.tokens[places].sum())
        self.work.put(places)

    def _may_spend(self, places: np.ndarray) -> bool:
        """Whether a request stays below --max-cost, even if all that is under way costs what was estimated."""
        price, most = self.options.usd_per_token, self.options.max_cost
        if price is None or most is None:
            return True
        if (self.usage.tokens + self.reserved + int(self.tokens[places].sum())) * price <= most:
            return True
        if self.under_way:
            return False  # answers may turn out cheaper than estimated
        raise LlmseqError(
            f"stopped before --max-cost {most:g}: {self.usage.tokens * price:.4g} USD are spent, "
            f"{sum(len(batch) for batch in self.waiting):,} texts are left",
            "what was answered is kept; run the same command again with a larger --max-cost",
        )

    def _collect(self) -> None:
        """Takes what the threads report, waiting for something: all answers that are there are kept in one go."""
        events = [self.events.get()]
        with suppress(queue.Empty):
            while True:
                events.append(self.events.get_nowait())
        for note in [event for event in events if isinstance(event, _Note)]:
            self._show(note)
        for wasted in [event for event in events if isinstance(event, int)]:
            self._pay(wasted)
        outcomes = [event for event in events if isinstance(event, _Outcome)]
        for outcome in outcomes:
            self.under_way -= 1
            self.reserved -= int(self.tokens[outcome.places].sum())
        self._keep([outcome for outcome in outcomes if outcome.answer is not None])
        for outcome in outcomes:
            if isinstance(outcome.error, RefusedError):
                self._divide(outcome.places, outcome.error)
        for outcome in outcomes:
            if outcome.error is not None and not isinstance(outcome.error, RefusedError):
                raise self.failure or outcome.error

    def _keep(self, outcomes: list[_Outcome]) -> None:
        fetched = []
        for outcome in outcomes:
            assert outcome.answer is not None
            estimated = int(self.tokens[outcome.places].sum() * self.budget.tokens_per_estimate)
            tokens = estimated if outcome.answer.tokens is None else outcome.answer.tokens
            fetched.append(Fetched(outcome.places, outcome.answer.vectors, tokens))
        if not fetched:
            return
        self.keep(fetched)
        for one in fetched:
            self.usage.requests += 1
            self.usage.texts += len(one.places)
            self.usage.tokens += one.tokens
            self.task.advance(len(one.places))
        self.task.describe(f"Embedding {len(self.texts):,} texts")

    def _divide(self, places: np.ndarray, refusal: RefusedError) -> None:
        """Halves a request that was refused; a single text is cut, or set aside with the reason."""
        self.usage.requests += 1
        if len(places) > 1:
            middle = len(places) // 2
            self.waiting.extendleft([places[middle:], places[:middle]])
            return
        place = int(places[0])
        shorter = ""
        if refusal.too_long and self.tokens[place] > _LEAST_TOKENS:
            shorter = self.source.cut(self.texts[place], int(self.tokens[place] * _SHORTEN)).strip()
        if shorter and shorter != self.texts[place]:
            self.texts[place] = shorter
            self.tokens[place] = self.source.count_tokens([shorter])[0]
            self.usage.cut.add(place)
            self.waiting.appendleft(places)
            return
        self.usage.refused[place] = refusal.reason
        self.task.advance(1)
        proven = self.options.proven or self.usage.texts > 0
        if not proven and len(self.usage.refused) >= _REFUSALS_BEFORE_FIRST_ANSWER:
            raise FinalError(f"the server refuses every text: {refusal.reason}", "check --model and --dimensions")

    def _pay(self, tokens: int) -> None:
        """Counts an answer that was paid for and of no use."""
        self.usage.requests += 1
        self.usage.tokens += tokens
        self.usage.wasted_tokens += tokens

    def _save_what_comes(self) -> None:
        """Keeps the answers that are under way: they are paid for."""
        self.stop.set()
        deadline = time.monotonic() + _GRACE_SECONDS
        while self.under_way and (left := deadline - time.monotonic()) > 0:
            try:
                event = self.events.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(event, _Outcome):
                self.under_way -= 1
                self._keep([event] if event.answer is not None else [])

    def _show(self, note: _Note) -> None:
        """The bar says at once what is waited for; a line that stays tells of long waits, now and then."""
        self.usage.retries += 1
        self.task.describe(note.text)
        now = time.monotonic()
        if note.seconds >= _LONG_WAIT_SECONDS and now - self.last_message >= _MESSAGE_EVERY_SECONDS:
            self.last_message = now
            self.progress.message(note.text)

    # What follows runs in the threads.

    def _serve(self) -> None:
        while (places := self.work.get()) is not None:
            try:
                ask, patience = partial(self._ask, places), self.options.patience
                outcome = _Outcome(places, patiently(ask, patience, self._pause, self._tell, self.reached.is_set))
            except RefusedError as refusal:
                outcome = _Outcome(places, error=refusal)
            except BaseException as error:
                self._call_off(error)
                outcome = _Outcome(places, error=error)
            self.events.put(outcome)

    def _call_off(self, error: BaseException) -> None:
        """Nobody sends anything more, not even who gets the next slot. What went wrong first is what is told."""
        self.failure = self.failure or error
        self.stop.set()

    def _ask(self, places: np.ndarray) -> Answer:
        """One request, in a slot, when the budgets allow it. Who waits to try again has no slot: others use it."""
        estimated = float(self.tokens[places].sum())
        with self.slots:
            self._pause(self.budget.take(estimated))
            while (held := self.budget.held()) > 0:
                self._pause(held)
            answer = self._answer(places)
        self.budget.settle(estimated, answer.tokens)
        self.budget.set_limits(
            None if self.options.requests_per_minute else answer.requests_per_minute,
            None if self.options.tokens_per_minute else answer.tokens_per_minute,
        )
        try:
            return self._checked(answer, len(places))
        except BadAnswerError:
            self.events.put(round(estimated) if answer.tokens is None else answer.tokens)
            raise

    def _answer(self, places: np.ndarray) -> Answer:
        """What the source answers; what others have to know of a failure is told while the slot is held."""
        try:
            answer = self.source.embed([self.texts[place] for place in places])
        except (TransientError, RefusedError) as error:
            if not isinstance(error, UnreachableError):
                self.reached.set()
            if isinstance(error, TransientError) and error.wait is not None:
                self.budget.hold(error.wait)
            raise
        except BaseException as error:
            self._call_off(error)
            raise
        self.reached.set()
        return answer

    def _checked(self, answer: Answer, n_texts: int) -> Answer:
        """The answer where it holds a sound vector for each text. Raises BadAnswerError where it does not."""
        vectors = np.asarray(answer.vectors, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != n_texts:
            raise BadAnswerError(f"the server answered {len(vectors):,} vectors for {n_texts:,} texts")
        if self.width is None:
            self.width = vectors.shape[1]
        if vectors.shape[1] != self.width:
            raise BadAnswerError(f"the server answered vectors of width {vectors.shape[1]} where {self.width} belong")
        if not np.isfinite(vectors).all():
            raise BadAnswerError("the server answered vectors with numbers that are not finite", refuses=True)
        return Answer(vectors, answer.tokens)

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)):
            raise CalledOffError

    def _tell(self, note: str, seconds: float) -> None:
        self.events.put(_Note(note, seconds))
