"""The one engine that sends paid requests: threads, slots, budgets, one retry policy, a cost limit.

Threads only send; the calling thread does everything else (storing, showing progress), answer by answer. A `Workload`
defines what a request is, and what to do with its answer or refusal.
"""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from llmseq_cli.clients.errors import (
    BadAnswerError,
    CalledOffError,
    FinalError,
    RefusedError,
    TransientError,
    UnreachableError,
)
from llmseq_cli.clients.idempotency import bad_answers_before
from llmseq_cli.clients.in_flight import InFlight
from llmseq_cli.clients.rates import RateBudget
from llmseq_cli.clients.retries import Patience, patiently
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import Progress, Task

Unit = TypeVar("Unit")
Reply = TypeVar("Reply")

_FAREWELL_SECONDS = 1.0
"""How long to wait for idle threads to end; they need almost no time."""

_LONG_WAIT_SECONDS = 1.0
_MESSAGE_EVERY_SECONDS = 10.0
_ROUNDING = 1e-12


@dataclass(frozen=True)
class DispatchOptions:
    """How to send requests.

    concurrency: requests in flight at a time. waiting_threads: use twice as many threads, so that a free slot is taken
    at once while others wait to retry. requests_per_minute, tokens_per_minute: budgets; None sets no limit.
    fixed_requests, fixed_tokens: the user chose the budget, so the server's limits do not replace it.
    max_cost: upper limit in US dollars. grace_seconds: how long to wait, after a failure or Ctrl-C, for answers in
    flight: they are paid for.
    """

    concurrency: int = 8
    waiting_threads: bool = True
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    fixed_requests: bool = False
    fixed_tokens: bool = False
    max_cost: float | None = None
    grace_seconds: float = 15.0
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Told:
    """What an answer says besides its content: tokens that the provider counted, limits of the account; None if
    missing."""

    tokens: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@dataclass(frozen=True)
class Outcome(Generic[Unit, Reply]):
    """The result of a request: a reply or an error."""

    unit: Unit
    reply: Reply | None = None
    error: BaseException | None = None


class Workload(ABC, Generic[Unit, Reply]):
    """What to send, and what to do with the replies. Threads only call `send`, `content` and `note`."""

    @abstractmethod
    def next(self) -> Unit | None:
        """The next request; None if there is none now (answers in flight may still lead to more)."""

    @abstractmethod
    def tokens(self, unit: Unit) -> float:
        """An upper estimate of the tokens that a request takes."""

    def cost(self, unit: Unit) -> float:
        """The expected cost of a request in US dollars, 0 if no price is known."""
        return 0.0

    def spent(self) -> float:
        """US dollars spent so far."""
        return 0.0

    def left(self) -> str:
        """What remains when the money runs out, for the error: "12 texts are left", or empty."""
        return ""

    def content(self, unit: Unit) -> Any:
        """What to record of a request before it is sent (JSON), so that it can be repeated exactly. Called by
        threads."""
        return None

    def note(self, unit: Unit, reply: Reply) -> Any:
        """What to record of a reply as soon as it arrives (JSON), so that a kill does not lose it. Called by
        threads."""
        return None

    @abstractmethod
    def send(self, unit: Unit) -> tuple[Reply, Told]:
        """Send one request. Raises TransientError, BadAnswerError, RefusedError or FinalError."""

    @abstractmethod
    def take(self, outcomes: Sequence[Outcome[Unit, Reply]]) -> None:
        """Store replies and handle refusals (errors that are RefusedError)."""

    def wasted(self, tokens: int) -> None:
        """Count an answer that was paid for but is useless."""

    def release(self) -> None:
        """Drop the connection that stores answers: a thread that hangs in `send` may outlive the interpreter."""


class _Order(Generic[Unit]):
    """A unit in flight, with the estimates made when it was handed out."""

    def __init__(self, number: int, unit: Unit, tokens: float, cost: float) -> None:
        self.number, self.unit, self.tokens, self.cost = number, unit, tokens, cost
        self.bad_answers = 0


@dataclass(frozen=True)
class _Ended(Generic[Unit, Reply]):
    order: _Order[Unit]
    outcome: Outcome[Unit, Reply]


@dataclass(frozen=True)
class _Note:
    """What a thread is waiting for, and for how many seconds."""

    text: str
    seconds: float


@dataclass(frozen=True)
class _Wasted:
    tokens: int


class _Slot:
    """The right of one thread to have a request in flight."""

    def __init__(self, slots: threading.Semaphore) -> None:
        self.slots, self.taken = slots, False

    def take(self) -> None:
        self.slots.acquire()
        self.taken = True

    def release(self) -> None:
        if self.taken:
            self.taken = False
            self.slots.release()


class Dispatcher(Generic[Unit, Reply]):
    """Sends the requests of a workload.

    retries: number of waits so far. in_flight: where requests are recorded before they are sent.
    """

    def __init__(
        self,
        workload: Workload[Unit, Reply],
        options: DispatchOptions,
        progress: Progress,
        task: Task,
        in_flight: InFlight | None = None,
    ) -> None:
        self.workload = workload
        self.options, self.progress, self.task, self.in_flight = options, progress, task, in_flight
        self.budget = RateBudget(options.requests_per_minute, options.tokens_per_minute)
        self.retries = 0
        self.reserved = 0.0
        self.under_way = 0
        self.reached = threading.Event()
        self.failure: BaseException | None = None
        self.stop = threading.Event()
        self.slots = threading.Semaphore(options.concurrency)
        self.most_threads = options.concurrency * (2 if options.waiting_threads else 1)
        self.threads: list[threading.Thread] = []
        self.work: queue.SimpleQueue[_Order[Unit] | None] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[_Ended[Unit, Reply] | _Note | _Wasted] = queue.SimpleQueue()
        self.numbers = 0
        self.last_message = -float("inf")

    def run(self) -> None:
        """Send until the workload has nothing left. Raises the error that stopped it; answers until then are stored."""
        try:
            self._run()
        except BaseException:
            self._save_what_comes()
            raise
        finally:
            self.stop.set()
            for _ in self.threads:
                self.work.put(None)
            self._dismiss()

    def _run(self) -> None:
        waiting = self.workload.next()
        while waiting is not None or self.under_way:
            # Twice as many requests as threads, so that threads never wait while the calling thread writes.
            while waiting is not None and self.under_way < 2 * self.most_threads and self._may_spend(waiting):
                self._hand_out(waiting)
                waiting = self.workload.next()
            self._collect()
            if waiting is None:
                waiting = self.workload.next()

    def _dismiss(self) -> None:
        """Wait for the threads to end. One that hangs in a request may outlive the interpreter, with everything it
        references; that must not include the connection that stores answers.
        """
        self.workload.release()
        self.failure = None
        deadline = time.monotonic() + _FAREWELL_SECONDS
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _hand_out(self, unit: Unit) -> None:
        self.numbers += 1
        order = _Order(self.numbers, unit, self.workload.tokens(unit), self.workload.cost(unit))
        self.under_way += 1
        self.reserved += order.cost
        self.work.put(order)
        if len(self.threads) < min(self.under_way, self.most_threads):
            self.threads.append(threading.Thread(target=self._serve, daemon=True))
            self.threads[-1].start()

    def _may_spend(self, unit: Unit) -> bool:
        """Whether a request stays below --max-cost, even if everything in flight costs as much as estimated."""
        most = self.options.max_cost
        expected = self.workload.spent() + self.reserved + self.workload.cost(unit)
        if most is None or expected <= most * (1 + _ROUNDING):
            return True
        if self.under_way:
            return False  # answers may turn out cheaper than estimated
        spent, left = f"{self.workload.spent():.4g} USD spent", self.workload.left()
        raise LlmseqError(
            f"stopped before --max-cost {most:g}: {spent}{', ' if left else ''}{left}",
            "answers so far are kept; run the same command again with a larger --max-cost",
        )

    def _collect(self) -> None:
        """Wait for reports from the threads; store all answers that have arrived at once."""
        events = [self.events.get()]
        with suppress(queue.Empty):
            while True:
                events.append(self.events.get_nowait())
        ended: list[_Ended[Unit, Reply]] = []
        for event in events:
            if isinstance(event, _Note):
                self._show(event)
            elif isinstance(event, _Wasted):
                self.workload.wasted(event.tokens)
            else:
                ended.append(event)
        self._take(ended)
        for one in ended:
            if one.outcome.error is not None and not isinstance(one.outcome.error, RefusedError):
                raise self.failure or one.outcome.error

    def _take(self, ended: list[_Ended[Unit, Reply]]) -> None:
        for one in ended:
            self.under_way -= 1
            self.reserved = self.reserved - one.order.cost if self.under_way else 0.0
        outcomes = [one.outcome for one in ended]
        usable = [one for one in outcomes if one.error is None or isinstance(one.error, RefusedError)]
        if usable:
            self.workload.take(usable)
        if self.in_flight:
            self.in_flight.answered([one.order.number for one in ended if one.outcome.error is None])

    def _save_what_comes(self) -> None:
        """Store the answers in flight, which are paid for. The first error is the one to report."""
        self.stop.set()
        deadline = time.monotonic() + self.options.grace_seconds
        while self.under_way and (left := deadline - time.monotonic()) > 0:
            try:
                event = self.events.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(event, _Ended):
                with suppress(Exception):
                    self._take([event])

    def _show(self, note: _Note) -> None:
        """Show a wait in the progress bar; for long waits, also print a line now and then."""
        self.retries += 1
        self.task.describe(note.text)
        now = time.monotonic()
        if note.seconds >= _LONG_WAIT_SECONDS and now - self.last_message >= _MESSAGE_EVERY_SECONDS:
            self.last_message = now
            self.progress.message(note.text)

    # The methods below run in the threads.

    def _serve(self) -> None:
        while (order := self.work.get()) is not None:
            slot = _Slot(self.slots)
            outcome: Outcome[Unit, Reply]
            try:
                attempt, wait = partial(self._attempt, order, slot), partial(self._wait, slot)
                reply = patiently(attempt, self.options.patience, wait, self._tell, self.reached.is_set)
                outcome = Outcome(order.unit, reply)
            except RefusedError as refusal:
                outcome = Outcome(order.unit, error=refusal)
            except BaseException as error:
                self.failure = self.failure or error  # the first error is the one to report
                self.stop.set()
                outcome = Outcome(order.unit, error=error)
            finally:
                slot.release()  # only now: the next holder then sees that work was called off
            self.events.put(_Ended(order, outcome))

    def _attempt(self, order: _Order[Unit], slot: _Slot) -> Reply:
        """Send one request, in a slot, when the budgets allow it. After a failure the slot is kept until it is clear
        whether anything may be sent at all; a thread that waits to retry has no slot.
        """
        slot.take()
        self._pause(self.budget.take(order.tokens))
        while (held := self.budget.held()) > 0:
            self._pause(held)
        if self.in_flight:
            self.in_flight.sent(order.number, self.workload.content(order.unit))
        try:
            with bad_answers_before(order.bad_answers):
                reply, told = self.workload.send(order.unit)
        except (TransientError, RefusedError, FinalError) as error:
            self._learn(order, error)
            raise
        slot.release()
        if self.in_flight:
            self.in_flight.arrived(order.number, self.workload.note(order.unit, reply))
        self.reached.set()
        self.budget.settle(order.tokens, told.tokens)
        self.budget.set_limits(
            None if self.options.fixed_requests else told.requests_per_minute,
            None if self.options.fixed_tokens else told.tokens_per_minute,
        )
        return reply

    def _learn(self, order: _Order[Unit], error: TransientError | RefusedError | FinalError) -> None:
        """Let other threads know what a failure means for them."""
        if self.in_flight and not (isinstance(error, TransientError) and error.lost):
            self.in_flight.answered([order.number])
        if not isinstance(error, UnreachableError):
            self.reached.set()
        if isinstance(error, BadAnswerError):
            order.bad_answers += 1
            self.events.put(_Wasted(round(order.tokens) if error.tokens is None else error.tokens))
        elif isinstance(error, TransientError) and error.wait is not None:
            self.budget.hold(error.wait)

    def _wait(self, slot: _Slot, seconds: float) -> None:
        slot.release()
        self._pause(seconds)

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)):
            raise CalledOffError

    def _tell(self, note: str, seconds: float) -> None:
        self.events.put(_Note(note, seconds))
