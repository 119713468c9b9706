"""The engine that asks a model: threads, a rate budget, one retry policy; every answer is handed on as it comes.

Threads ask the provider; everything else (what is kept, what is shown) happens in the calling thread.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice

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
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import Progress, Task
from llmseq_cli.providers.provider import ChatRequest, Completions, FineTuneProvider

_GRACE_SECONDS = 30.0
"""How long answers that are under way are waited for after a failure or Ctrl-C: they are paid for."""

_LONG_WAIT_SECONDS = 1.0
_MESSAGE_EVERY_SECONDS = 10.0
_REFUSALS_BEFORE_FIRST_ANSWER = 10
_QUESTIONS_PER_BLOCK = 8192  # of a model on this machine
REFUSED = "refused"


@dataclass(frozen=True)
class Question:
    """What one session is asked. first: number of the first sample that is missing. prompt_tokens: estimated.

    prompt_hash: of what is asked, kept with the answers.
    """

    session_id: int
    prompt_hash: str
    first: int
    request: ChatRequest
    prompt_tokens: int


@dataclass(frozen=True)
class AskOptions:
    """How to ask. concurrency: requests under way at a time. Rates: None keeps to what the provider says.

    input_usd, output_usd: price of a token, None where not known. max_cost: US dollars that are not passed.
    answer_tokens: what an answer is taken to need when a request is planned.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    input_usd: float | None = None
    output_usd: float | None = None
    max_cost: float | None = None
    answer_tokens: int = 64
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Answered:
    """What came of a question: texts, why each ended, tokens (estimated where not counted), US dollars if known."""

    question: Question
    texts: list[str]
    finishes: list[str]
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass
class AskUsage:
    """What asking took."""

    requests: int = 0
    replies: int = 0
    retries: int = 0
    refused: int = 0
    wasted_requests: int = 0
    cost_usd: float = 0.0


Keep = Callable[[list[Answered]], None]


def ask(
    provider: FineTuneProvider,
    questions: Iterable[Question],
    total: int,
    keep: Keep,
    options: AskOptions,
    progress: Progress,
) -> AskUsage:
    """Asks all questions and hands answers to `keep` as they come, several at a time where they come fast.

    total: answers that are missing, for the progress bar. Questions are taken from their iterable one by one as there
    is room. A question that the provider refuses gets empty answers of the finish "refused".
    Raises FinalError or LlmseqError where it cannot go on; what was answered until then has been kept.
    """
    with progress.task(f"Asking for {total:,} answers", total=total, unit="answers") as task:
        if not provider.remote:
            return _answer_here(provider, iter(questions), keep, task)
        return _Asker(provider, iter(questions), keep, options, progress, task).run()


def _answer_here(provider: FineTuneProvider, questions: Iterator[Question], keep: Keep, task: Task) -> AskUsage:
    """Asks a model on this machine, many questions at a time, so that it can form batches of those of like length."""
    usage = AskUsage()
    while block := list(islice(questions, _QUESTIONS_PER_BLOCK)):
        for batch in provider.complete_many([question.request for question in block]):
            answered = [
                Answered(block[place], one.texts, one.finishes, one.prompt_tokens or 0, one.completion_tokens or 0, 0.0)
                for place, one in batch
            ]
            keep(answered)
            usage.requests += len(answered)
            usage.replies += sum(len(one.texts) for one in answered)
            task.advance(sum(len(one.texts) for one in answered))
    return usage


@dataclass(frozen=True)
class _Outcome:
    question: Question
    completions: Completions | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class _Note:
    text: str
    seconds: float


class _Wasted:
    """An answer that was paid for and of no use."""


class _Asker:
    def __init__(
        self,
        provider: FineTuneProvider,
        questions: Iterator[Question],
        keep: Keep,
        options: AskOptions,
        progress: Progress,
        task: Task,
    ) -> None:
        self.provider, self.questions, self.keep = provider, questions, keep
        self.options, self.progress, self.task = options, progress, task
        limits = provider.limits
        self.budget = RateBudget(
            options.requests_per_minute or limits.requests_per_minute,
            options.tokens_per_minute or limits.tokens_per_minute,
        )
        self.again: deque[Question] = deque()  # what is asked for the rest of its answers
        self.held_back: list[Answered] = []  # refusals, until an answer proves that the prompts are to blame
        self.proven = False
        self.reached = False  # the server has said something, be it a refusal
        self.usage = AskUsage()
        self.reserved = 0.0
        self.under_way = 0
        self.failure: BaseException | None = None
        self.threads = 2 * options.concurrency
        self.slots = threading.Semaphore(options.concurrency)
        self.stop = threading.Event()
        self.work: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[_Outcome | _Note | _Wasted] = queue.SimpleQueue()
        self.last_message = -float("inf")

    def run(self) -> AskUsage:
        # Twice as many threads as slots, and questions as threads: a slot that gets free is taken at once, even while
        # others wait to try again and the calling thread writes answers.
        for _ in range(self.threads):
            threading.Thread(target=self._serve, daemon=True).start()
        try:
            waiting: Question | None = self._next()
            while waiting is not None or self.under_way:
                while waiting is not None and self._has_room(waiting):
                    self._send(waiting)
                    waiting = self._next()
                self._collect()
                waiting = waiting or self._next()
            self._hand_on(self.held_back)
        except BaseException:
            with suppress(Exception):  # what went wrong first is what is told
                self._save_what_comes()
            raise
        finally:
            self.stop.set()
            self.failure = None
            for _ in range(self.threads):
                self.work.put(None)
        return self.usage

    def _next(self) -> Question | None:
        return self.again.popleft() if self.again else next(self.questions, None)

    def _has_room(self, question: Question) -> bool:
        return self.under_way < 2 * self.threads and self._may_spend(question)

    def _estimate(self, question: Question) -> float:
        """US dollars, 0 where no price is known."""
        given = self.options
        answers = question.request.n * given.answer_tokens
        return question.prompt_tokens * (given.input_usd or 0) + answers * (given.output_usd or 0)

    def _may_spend(self, question: Question) -> bool:
        """Whether a request stays below --max-cost, even if all that is under way costs what was estimated."""
        most = self.options.max_cost
        if most is None or self.usage.cost_usd + self.reserved + self._estimate(question) <= most:
            return True
        if self.under_way:
            return False  # answers may turn out cheaper than estimated
        raise LlmseqError(
            f"stopped before --max-cost {most:g}: {self.usage.cost_usd:.4g} USD are spent",
            "what was answered is kept; run the same command again with a larger --max-cost",
        )

    def _send(self, question: Question) -> None:
        self.under_way += 1
        self.reserved += self._estimate(question)
        self.work.put(question)

    def _collect(self) -> None:
        """Takes what the threads report, waiting for something: all answers that are there are kept in one go."""
        events = [self.events.get()]
        with suppress(queue.Empty):
            while True:
                events.append(self.events.get_nowait())
        for event in events:
            if isinstance(event, _Note):
                self._show(event)
            elif isinstance(event, _Wasted):
                self.usage.wasted_requests += 1
        outcomes = [event for event in events if isinstance(event, _Outcome)]
        self._keep(outcomes)
        for outcome in outcomes:
            if outcome.error is not None and not isinstance(outcome.error, RefusedError):
                raise self.failure or outcome.error

    def _keep(self, outcomes: list[_Outcome]) -> None:
        answered = []
        for outcome in outcomes:
            self.under_way -= 1
            self.reserved -= self._estimate(outcome.question)
            if outcome.completions is not None:
                answered.append(self._answered(outcome.question, outcome.completions))
            elif isinstance(outcome.error, RefusedError):
                answered.append(self._refused(outcome.question, outcome.error))
        if self.proven:
            answered, self.held_back = [*self.held_back, *answered], []
            self._hand_on(answered)
        else:
            self.held_back += answered

    def _hand_on(self, answered: list[Answered]) -> None:
        if not answered:
            return
        self.keep(answered)
        for one in answered:
            self.usage.requests += 1
            self.usage.replies += len(one.texts)
            self.usage.cost_usd += one.cost_usd or 0.0
            self.task.advance(len(one.texts))

    def _answered(self, question: Question, completions: Completions) -> Answered:
        self.proven = True
        n, request = len(completions.texts), question.request
        if n < request.n:  # a server that gives fewer answers at a time is asked again
            self.again.append(replace(question, first=question.first + n, request=replace(request, n=request.n - n)))
        prompt, completion = completions.prompt_tokens, completions.completion_tokens
        prompt = question.prompt_tokens if prompt is None else prompt
        completion = n * self.options.answer_tokens if completion is None else completion
        texts, finishes = completions.texts[: request.n], completions.finishes[: request.n]
        return Answered(question, texts, finishes, prompt, completion, self._cost(prompt, completion))

    def _refused(self, question: Question, refusal: RefusedError) -> Answered:
        """Empty answers, so that what is refused is not asked again and again. Raises FinalError where all is."""
        self.usage.refused += 1
        if self.usage.refused == 1:
            self.progress.warn(f"the model's server refuses a prompt: {refusal.reason}")
        if not self.proven and self.usage.refused >= _REFUSALS_BEFORE_FIRST_ANSWER:
            raise FinalError(f"the server refuses every prompt: {refusal.reason}", "check the model and its context")
        n = question.request.n
        return Answered(question, [""] * n, [REFUSED] * n, 0, 0, 0.0)

    def _cost(self, prompt: int, completion: int) -> float | None:
        given = self.options
        if given.input_usd is None or given.output_usd is None:
            return None
        return prompt * given.input_usd + completion * given.output_usd

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
                self._keep([event])

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
        while (question := self.work.get()) is not None:
            try:
                outcome = _Outcome(question, self._ask_patiently(question))
            except RefusedError as refusal:
                outcome = _Outcome(question, error=refusal)
            except BaseException as error:
                outcome = _Outcome(question, error=error)
                self.failure = self.failure or error  # what went wrong first is what is told
                self.stop.set()  # nobody sends anything more
            self.events.put(outcome)

    def _ask_patiently(self, question: Question) -> Completions:
        return patiently(
            lambda: self._ask(question), self.options.patience, self._pause, self._tell, lambda: self.reached
        )

    def _ask(self, question: Question) -> Completions:
        """One request, in a slot, when the budgets allow it. Who waits to try again has no slot: others use it."""
        estimated = float(question.prompt_tokens + question.request.n * self.options.answer_tokens)
        with self.slots:
            self._pause(self.budget.take(estimated))
            while (held := self.budget.held()) > 0:
                self._pause(held)
            answer = self._complete(question)
        if answer.prompt_tokens is not None and answer.completion_tokens is not None:
            self.budget.settle(estimated, answer.prompt_tokens + answer.completion_tokens)
        self.budget.set_limits(
            None if self.options.requests_per_minute else answer.requests_per_minute,
            None if self.options.tokens_per_minute else answer.tokens_per_minute,
        )
        return answer

    def _complete(self, question: Question) -> Completions:
        """What the provider answers; what others have to know of a failure is told while the slot is held."""
        try:
            answer = self.provider.complete(question.request)
        except (TransientError, RefusedError) as error:
            self.reached |= not isinstance(error, UnreachableError)
            if isinstance(error, BadAnswerError):
                self.events.put(_Wasted())
            elif isinstance(error, TransientError) and error.wait is not None:
                self.budget.hold(error.wait)
            raise
        self.reached = True
        return answer

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)):
            raise CalledOffError

    def _tell(self, note: str, seconds: float) -> None:
        self.events.put(_Note(note, seconds))
