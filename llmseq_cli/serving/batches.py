"""One thread computes; requests that arrive meanwhile form the next batch."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.errors import LlmseqError
from llmseq_cli.evaluation.small_blocks import MOST_HISTORIES
from llmseq_cli.serving.options import MOST_WAITING
from llmseq_cli.serving.served import Served


class BusyError(LlmseqError):
    """Too many sessions are waiting."""


@dataclass(frozen=True)
class _Asked:
    served: Served
    sessions: Sequence[Sequence[str]]
    times: Sequence[np.ndarray | None]
    k: int
    answer: asyncio.Future[list[dict[str, Any]]]


class Batches:
    """Computes answers of models in one thread. Call `start`, `await answers(…)`, then `stop`."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        self._waiting = 0  # sessions; only the event loop changes it

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after pending requests are answered."""
        self._asked.put(None)
        self._thread.join()

    async def answers(
        self,
        served: Served,
        sessions: Sequence[Sequence[str]],
        k: int,
        times: Sequence[np.ndarray | None] | None = None,
    ) -> list[dict[str, Any]]:
        """See `Served.answers`; times: None if no session has any. Raises BusyError if too many sessions are
        waiting."""
        if self._waiting >= MOST_WAITING:
            raise BusyError("too many requests are waiting", "ask again later, or serve with more --workers")
        answer: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
        self._waiting += len(sessions)
        try:
            self._asked.put(_Asked(served, sessions, times or [None] * len(sessions), k, answer))
            return await answer
        finally:
            self._waiting -= len(sessions)

    def _work(self) -> None:
        _one_thread()
        last = False
        while not last:
            batch = [self._asked.get()]
            size = len(batch[0].sessions) if batch[0] else 0
            while size < MOST_HISTORIES and batch[-1] is not None:
                try:
                    batch.append(self._asked.get_nowait())
                except queue.Empty:
                    break
                size += len(batch[-1].sessions) if batch[-1] else 0
            last = batch[-1] is None
            alike: dict[tuple[str, int], list[_Asked]] = {}
            for one in batch:
                if one is not None and not one.answer.cancelled():
                    alike.setdefault((one.served.run, one.k), []).append(one)
            for together in alike.values():
                _answer(together)


def _answer(together: list[_Asked]) -> None:
    """Compute answers for requests to the same model with the same list length."""
    first = together[0]
    try:
        sessions = [session for one in together for session in one.sessions]
        answers = first.served.answers(sessions, [times for one in together for times in one.times], first.k)
    except Exception as error:  # each caller gets the error
        for one in together:
            _settle(one, error=error)
        return
    start = 0
    for one in together:
        stop = start + len(one.sessions)
        _settle(one, answers=answers[start:stop])
        start = stop


def _settle(one: _Asked, *, answers: list[dict[str, Any]] | None = None, error: Exception | None = None) -> None:
    def settle() -> None:
        if one.answer.done():  # the caller has gone
            return
        if error is not None:
            one.answer.set_exception(error)
        else:
            one.answer.set_result(answers or [])

    one.answer.get_loop().call_soon_threadsafe(settle)


def _one_thread() -> None:
    """Use one thread, unless OMP_NUM_THREADS is set: for few histories it is faster than several that wait for each
    other."""
    from threadpoolctl import threadpool_limits

    asked = os.environ.get("OMP_NUM_THREADS", "")
    n = int(asked) if asked.isdigit() and int(asked) else 1
    threadpool_limits(n)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(n)
