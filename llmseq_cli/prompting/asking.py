"""Ask a chat model: one question per session with several answers; refusals are held back until a question is
answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from llmseq_cli.clients.dispatcher import Dispatcher, DispatchOptions, Outcome, Told, Workload
from llmseq_cli.clients.errors import FinalError, RefusedError
from llmseq_cli.clients.in_flight import InFlight
from llmseq_cli.clients.retries import Patience
from llmseq_cli.language_model.messages import ChatRequest, Completions
from llmseq_cli.progress import Progress, Task
from llmseq_cli.providers.provider import FineTuneProvider

_GRACE_SECONDS = 30.0
"""How long to wait after a failure or Ctrl-C for answers in flight, which are paid for."""

_REFUSALS_BEFORE_FIRST_ANSWER = 10
_QUESTIONS_PER_BLOCK = 8192  # of a model on this machine
REFUSED = "refused"
MOST_TOKENS = 10**12
"""Of one request; more is no count."""


@dataclass(frozen=True)
class Question:
    """The question for one session. first: number of the first missing sample. prompt_tokens: estimated.

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

    input_usd, output_usd: price of a token, None if not known. max_cost: US dollars that are not passed, those that
    were spent before among them. answer_tokens: what an answer is taken to need when a request is planned.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    input_usd: float | None = None
    output_usd: float | None = None
    max_cost: float | None = None
    answer_tokens: int = 64
    spent_before: float = 0.0
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Answered:
    """The answers to a question: texts, why each ended, tokens (estimated if not counted), US dollars if known."""

    question: Question
    texts: list[str]
    finishes: list[str]
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None

    def entry(self) -> dict[str, Any]:
        """As it is written down (JSON)."""
        return {
            "session_id": self.question.session_id,
            "prompt_hash": self.question.prompt_hash,
            "first": self.question.first,
            "texts": [storable(text) for text in self.texts],
            "finishes": [storable(finish) for finish in self.finishes],
            "prompt_tokens": min(max(self.prompt_tokens, 0), MOST_TOKENS - 1),
            "completion_tokens": min(max(self.completion_tokens, 0), MOST_TOKENS - 1),
            "cost_usd": self.cost_usd,
        }


def storable(text: str) -> str:
    """The text without what no UTF-8 column holds: lone surrogates and zero characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


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


def _keep_nothing(answered: list[Answered]) -> None:
    """Stands in for `keep` once nothing is kept any more."""


def ask(
    provider: FineTuneProvider,
    questions: Iterable[Question],
    total: int,
    keep: Keep,
    options: AskOptions,
    progress: Progress,
    in_flight: InFlight | None = None,
) -> AskUsage:
    """Ask all questions and pass answers to `keep` as they arrive, several at a time if they arrive fast.

    total: number of missing answers, for the progress bar. in_flight: where requests are recorded before they are sent.
    Questions are taken from their iterable one by one as there is room. A question that the provider refuses gets empty
    answers of the finish "refused". Raises FinalError or LlmseqError if it cannot continue; answers until then are
    stored.
    """
    with progress.task(f"Asking for {total:,} answers", total=total, unit="answers") as task:
        if not provider.remote:
            return _answer_here(provider, iter(questions), keep, task)
        work = _Questions(provider, iter(questions), keep, options, progress, task)
        sending = DispatchOptions(
            concurrency=options.concurrency,
            requests_per_minute=options.requests_per_minute or provider.limits.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute or provider.limits.tokens_per_minute,
            fixed_requests=options.requests_per_minute is not None,
            fixed_tokens=options.tokens_per_minute is not None,
            max_cost=options.max_cost,
            grace_seconds=_GRACE_SECONDS,
            patience=options.patience,
        )
        if in_flight is None:
            return work.sent_by(Dispatcher(work, sending, progress, task))
        lost = len(in_flight.left())
        if lost:
            progress.message(f"{lost:,} questions were under way when the last run ended; they are asked again")
        with in_flight:
            return work.sent_by(Dispatcher(work, sending, progress, task, in_flight))


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


class _Questions(Workload[Question, Completions]):
    """Requests are questions, replies their answers."""

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
        self.again: deque[Question] = deque()  # what is asked for the rest of its answers
        self.held_back: list[Answered] = []  # refusals, until an answer proves that the prompts are to blame
        self.proven = False
        self.usage = AskUsage()

    def release(self) -> None:
        self.keep = _keep_nothing

    def sent_by(self, dispatcher: Dispatcher[Question, Completions]) -> AskUsage:
        keep = self.keep
        dispatcher.run()
        self.keep = keep
        self._hand_on(self.held_back)
        self.usage.retries = dispatcher.retries
        return self.usage

    def next(self) -> Question | None:
        return self.again.popleft() if self.again else next(self.questions, None)

    def tokens(self, unit: Question) -> float:
        return float(unit.prompt_tokens + unit.request.n * self.options.answer_tokens)

    def cost(self, unit: Question) -> float:
        answers = unit.request.n * self.options.answer_tokens
        return unit.prompt_tokens * (self.options.input_usd or 0) + answers * (self.options.output_usd or 0)

    def spent(self) -> float:
        return self.options.spent_before + self.usage.cost_usd

    def content(self, unit: Question) -> list[object]:
        return [unit.session_id, unit.prompt_hash, unit.first, unit.request.n]

    def note(self, unit: Question, reply: Completions) -> dict[str, Any]:
        return self._answered(unit, reply).entry()

    def send(self, unit: Question) -> tuple[Completions, Told]:
        answer = self.provider.complete(unit.request)
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        counted = None if prompt is None or completion is None else prompt + completion
        return answer, Told(counted, answer.requests_per_minute, answer.tokens_per_minute)

    def take(self, outcomes: Sequence[Outcome[Question, Completions]]) -> None:
        answered = []
        for one in outcomes:
            if one.reply is not None:
                self.proven = True
                self._ask_for_the_rest(one.unit, len(one.reply.texts))
                answered.append(self._answered(one.unit, one.reply))
            elif isinstance(one.error, RefusedError):
                answered.append(self._refused(one.unit, one.error))
        if self.proven:
            answered, self.held_back = [*self.held_back, *answered], []
            self._hand_on(answered)
        else:
            self.held_back += answered

    def wasted(self, tokens: int) -> None:
        self.usage.wasted_requests += 1

    def _hand_on(self, answered: list[Answered]) -> None:
        if not answered:
            return
        self.keep(answered)
        for one in answered:
            self.usage.requests += 1
            self.usage.replies += len(one.texts)
            self.usage.cost_usd += one.cost_usd or 0.0
            self.task.advance(len(one.texts))

    def _ask_for_the_rest(self, question: Question, n: int) -> None:
        """A server that gave n answers, fewer than it was asked for, is asked again."""
        request = question.request
        if n < request.n:
            rest = replace(request, n=request.n - n, first=request.first + n)
            self.again.append(replace(question, first=question.first + n, request=rest))

    def _answered(self, question: Question, completions: Completions) -> Answered:
        n, request = len(completions.texts), question.request
        prompt, completion = completions.prompt_tokens, completions.completion_tokens
        prompt = question.prompt_tokens if prompt is None else prompt
        completion = n * self.options.answer_tokens if completion is None else completion
        texts, finishes = completions.texts[: request.n], completions.finishes[: request.n]
        return Answered(question, texts, finishes, prompt, completion, self._cost(prompt, completion))

    def _refused(self, question: Question, refusal: RefusedError) -> Answered:
        """Empty answers, so that what is refused is not asked again and again. Raises FinalError if all is."""
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
