"""How long work reports on itself without printing: the rooms below `cli` call these, `cli` draws them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One bar: advance it by amounts of its unit, or describe what it is at."""

    def advance(self, amount: float = 1) -> None: ...

    def describe(self, text: str) -> None: ...


class Progress(Protocol):
    """What `cli` implements with rich and everything else only calls."""

    def task(self, description: str, total: float | None = None, unit: str = "") -> AbstractContextManager[Task]:
        """Context manager that yields a `Task`; `total` None means that the end is not known."""
        ...

    def message(self, text: str) -> None:
        """A line that stays: a guess made, a count of what was set aside, what is waited for."""
        ...

    def warn(self, text: str) -> None:
        """A line that stays and asks for attention."""
        ...


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        pass


class SilentProgress:
    """The default from Python: nothing is shown."""

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        yield _SilentTask()

    def message(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass
