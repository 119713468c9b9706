"""A journal of answers: each is on disk as soon as it arrives, whatever happens to the program or the store.

Answers move to the store some seconds later, many in one transaction; the next program takes over what a killed one
left in the journal. The journal is locked while it is in use, so that two programs never ask the same questions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from llmseq_cli.errors import LlmseqError
from llmseq_cli.files import forget_lock, take_lock
from llmseq_cli.store.connection import explained


class Journal:
    """JSON lines in a file. Raises WorkspaceBusyError from `open` while another program has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._lock: Any = None

    def open(self) -> None:
        """Makes the file where it is missing, and keeps others from it until `close`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = take_lock(self.path.with_suffix(".lock"), "is running this prompt job")
        if self.path.is_symlink():
            self._lock.release()
            raise LlmseqError(f"{self.path} is a link", "remove it: what is written there must stay in the workspace")
        self._file = self.path.open("a+b")

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        """Writes entries; they are with the operating system when this returns."""
        assert self._file is not None
        with explained(self.path.parent):
            self._file.write(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
            self._file.flush()

    def entries(self) -> list[Any]:
        """All entries, whatever they hold; None for a line that cannot be read, such as one that was written half."""
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        return [_read(line) for line in lines]

    def clear(self) -> None:
        """Forgets all entries, once they are elsewhere."""
        assert self._file is not None
        self._file.truncate(0)

    def close(self) -> None:
        """Lets go of the file, and removes it if it is empty."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        if self.path.stat().st_size:
            self._lock.release()
            return
        self.path.unlink()
        forget_lock(self._lock)


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
