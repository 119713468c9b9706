"""Locks between programs: what must not be paid for twice is done by one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from llmseq_cli.errors import WorkspaceBusyError


def lock(file: IO[bytes], doing: str) -> None:
    """Locks an open file until it is closed, or its program ends. Raises WorkspaceBusyError where another has it."""
    with suppress(ImportError):  # Windows has no flock
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise WorkspaceBusyError(f"another llmseq {doing} just now", "wait until it is done") from None


@contextmanager
def exclusive(path: Path, doing: str) -> Iterator[None]:
    """While this is entered, no other program enters it with the same file, which is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        lock(file, doing)
        yield
