"""The processes working on a study: those of this machine hold a lock, others are known by their last heartbeat."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmseq_cli.files import shared_lock

_BEAT_SECONDS = 20.0
_STALE_SECONDS = 600
"""A worker on another machine that has not been heard of for so long is taken to be gone."""


class Worker:
    """One process's part in a study. folder: of the study.

    name: of its own, even among processes that had the same number on the same machine before it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "workers"
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock: Any = None
        self._gone = threading.Event()

    def join(self) -> None:
        """Be known to be at work, until `leave` or until the process is gone, however it went."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_of(self.folder, self.name)
        self._lock.acquire()
        self._beat()
        threading.Thread(target=self._keep_beating, daemon=True).start()

    def leave(self) -> None:
        self._gone.set()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        for file in (self.folder / self.name, self.folder / f"{self.name}.lock"):
            file.unlink(missing_ok=True)

    def is_alive(self, other: str) -> bool:
        """Whether the worker of this name is at work."""
        if other == self.name:
            return self._lock is not None
        file = self.folder / other
        if not other or not file.exists():
            return False
        if other.rsplit("-", 2)[0] == socket.gethostname():
            return self._holds_its_lock(other)
        self._beat()  # both times by the clock of the shared folder
        with suppress(FileNotFoundError):
            return (self.folder / self.name).stat().st_mtime - file.stat().st_mtime < _STALE_SECONDS
        return False

    def _holds_its_lock(self, other: str) -> bool:
        from filelock import Timeout

        lock = _lock_of(self.folder, other)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def _beat(self) -> None:
        (self.folder / self.name).touch()

    def _keep_beating(self) -> None:
        while not self._gone.wait(_BEAT_SECONDS):
            with suppress(OSError):
                self._beat()


class JournalLock:
    """What Optuna's journal is written under: a lock that the system releases with the process, however that ends.

    Optuna's own locks are files, which stay where a process is killed while it writes: half a minute, or for ever where
    the path is a relative one.
    """

    def __init__(self, journal: Path) -> None:
        self._lock = shared_lock(journal.with_name("journal.lock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _lock_of(folder: Path, name: str) -> Any:
    return shared_lock(folder / f"{name}.lock")
