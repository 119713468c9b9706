"""Progress of work in another process: sent as events, and shown in the user's process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from llmseq_cli.progress import Progress, Task

Event = tuple[Any, ...]
"""A name and what goes with it: message, warn (text), open (description, total, unit), advance (amount), describe
(text), close, and restart, where what was begun is begun again."""

_SEND_SECONDS = 0.2


class Mouthpiece:
    """The `Progress` of the process that works. send: hands over events; not called more often than need be."""

    def __init__(self, send: Callable[[list[Event]], object]) -> None:
        self._send = send
        self._events: list[Event] = []
        self._advanced = 0.0
        self._sent = 0.0

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        self._tell("open", description, total, unit)
        try:
            yield self
        finally:
            self._tell("close")

    def message(self, text: str) -> None:
        self._tell("message", text)

    def warn(self, text: str) -> None:
        self._tell("warn", text)

    def advance(self, amount: float = 1) -> None:
        self._advanced += amount
        if time.monotonic() - self._sent > _SEND_SECONDS:
            self._flush()

    def describe(self, text: str) -> None:
        self._events.append(("describe", text))

    def _tell(self, *event: Any) -> None:
        self._events.append(event)
        self._flush()

    def _flush(self) -> None:
        if self._advanced:
            self._events.insert(0, ("advance", self._advanced))
        self._send(self._events)
        self._events, self._advanced, self._sent = [], 0.0, time.monotonic()


class Relay:
    """Tells a `Progress` what a mouthpiece sent, within `with`. told: whether anything was, but for restarts."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open = ExitStack()
        self._task: Task | None = None
        self.told = False

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def tell(self, events: list[Event]) -> None:
        for name, *given in events:
            self.told = True
            if name in ("message", "warn"):
                getattr(self._progress, name)(*given)
            elif name == "open":
                self._task = self._open.enter_context(self._progress.task(*given))
            elif name in ("close", "restart"):
                self._open.close()
                self._task = None
            elif self._task is not None:
                getattr(self._task, name)(*given)
