"""Let Ctrl-C stop a long query.

Python runs signal handlers only between its own instructions, so a query inside DuckDB would run to its end. The C part
of Python's handler writes to a file descriptor at once; a thread that waits on it interrupts the query.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


@contextmanager
def interruptible(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Inside this context, SIGINT stops the connection's query at once. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting, written = socket.socketpair()
    written.setblocking(False)
    before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        while number := waiting.recv(1):
            if number[0] == signal.SIGINT:
                con.interrupt()

    watcher = threading.Thread(target=watch, name="llmseq-interrupt", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        written.close()
        watcher.join()
        waiting.close()
