"""Progress reports without printing: the rooms below `cli` call these, `cli` shows them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One progress bar: advance it by amounts of its unit, or describe the current work."""

    def advance(self, amount: float = 1) -> None: ...

    def describe(self, text: str) -> None: ...


class Progress(Protocol):
    """The interface that `cli` implements with rich and everything else calls."""

    def task(self, description: str, total: float | None = None, unit: str = "") -> AbstractContextManager[Task]:
        """Context manager that yields a `Task`; `total` None means an unknown amount."""
        ...

    def message(self, text: str) -> None:
        """Show a permanent line: a guess, a count of rejected rows, the reason for waiting."""
        ...

    def warn(self, text: str) -> None:
        """Show a permanent warning."""
        ...


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        pass


class SilentProgress:
    """Shows nothing; the default from Python."""

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        yield _SilentTask()

    def message(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass
