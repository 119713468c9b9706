"""The processes of a service: this one, or several that share one socket."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from socket import socket
from typing import TYPE_CHECKING

from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import Progress

if TYPE_CHECKING:
    from llmseq_cli.serving.guards import Application

_ENDING_SECONDS = 30  # for pending requests
_LOOK_SECONDS = 0.2  # between checks for signals


def run_here(app: Callable[[], Application], listening: socket, ready: Callable[[], None]) -> None:
    """Serve in this process until SIGTERM; Ctrl-C raises KeyboardInterrupt. Both answer pending requests first.

    app: makes the service. ready: called once it accepts requests.
    """
    from uvicorn import Config, Server

    class Telling(Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = Config(
        app,
        factory=True,
        log_config=None,  # logs go to stderr
        log_level="error",  # clients' invalid requests need no log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_ENDING_SECONDS,
    )
    with _signals():
        Telling(config).run([listening])


@contextmanager
def _signals() -> Iterator[None]:
    """Handle the signal that stopped uvicorn, which uvicorn raises again: SIGTERM is a normal end, SIGINT (even if it
    was ignored, as in a shell's background) is Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGTERM: lambda *_: None, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_workers(
    app: Callable[[], Application], n: int, listening: socket, ready: Callable[[], None], progress: Progress
) -> None:
    """Serve in n processes. A worker that dies is replaced. Raises LlmseqError if one cannot start."""
    workers = [_Worker(app, listening) for _ in range(n)]
    told: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: told.append(number)) for number in numbers}
    waiting = True
    try:
        while not told:
            wait([worker.process.sentinel for worker in workers], _LOOK_SECONDS)
            for place, worker in enumerate(workers):
                if worker.process.is_alive() or told:
                    continue
                if not worker.began.is_set():
                    raise LlmseqError("a worker could not start", "--workers 1 shows why")
                progress.warn(f"a worker ended with status {worker.process.exitcode} and is replaced")
                workers[place] = _Worker(app, listening)
            if waiting and all(worker.began.is_set() for worker in workers):
                waiting = False
                ready()
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(_ENDING_SECONDS + 1)
            worker.process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
    if told[0] == signal.SIGINT:
        raise KeyboardInterrupt


class _Worker:
    process: SpawnProcess
    began: Event

    def __init__(self, app: Callable[[], Application], listening: socket) -> None:
        context = multiprocessing.get_context("spawn")
        self.began = context.Event()
        self.process = context.Process(target=_work, args=(app, listening, self.began), daemon=True)
        self.process.start()


def _work(app: Callable[[], Application], listening: socket, began: Event) -> None:
    with suppress(KeyboardInterrupt):
        run_here(app, listening, began.set)
