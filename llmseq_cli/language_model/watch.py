"""Limits on time and memory of a model's chat template.

transformers renders templates in a sandbox without access to files or code. A template that loops forever or builds
endless text is stopped here.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from types import TracebackType
from typing import Self

from llmseq_cli.errors import LlmseqError

_SECONDS = 10.0
_MEMORY = 4 << 30
_GLANCE = 0.2


class _TooLongError(BaseException):
    """Raised inside the template by the watching thread; no `except Exception` of a library swallows it."""


class Watch:
    """Inside this context, each piece of work that `begin` starts must end in time and within a memory limit.

    Raises LlmseqError if it does not, or for any other error of a template. what: for the message.
    """

    def __init__(self, what: str, seconds: float = _SECONDS) -> None:
        self.what, self.seconds = what, seconds
        self._deadline = time.monotonic() + seconds
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def begin(self) -> None:
        self._deadline = time.monotonic() + self.seconds

    def __enter__(self) -> Self:
        self.begin()
        self._thread.start()
        self._limits = _limit_memory()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            _set_limits(self._limits)
            with self._lock:
                self._over.set()
            self._thread.join()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._watched), None)
        except _TooLongError as late:  # it arrived while leaving
            error = error or late
        if isinstance(error, _TooLongError):
            raise LlmseqError(
                f"{self.what} takes more than {self.seconds:g} seconds for one question", "choose another model"
            ) from None
        if isinstance(error, MemoryError):
            raise LlmseqError(f"{self.what} takes too much memory", "choose another model") from None
        if isinstance(error, RecursionError) or type(error).__module__.startswith("jinja2"):
            said = " ".join(str(error).split())[:200]
            raise LlmseqError(f"{self.what} fails: {said}", "choose another model, or fix its template") from None

    def _watch(self) -> None:
        while not self._over.wait(_GLANCE):
            if time.monotonic() > self._deadline:
                with self._lock:
                    if not self._over.is_set():
                        thrown = ctypes.py_object(_TooLongError)
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._watched), thrown)
                return


def _limit_memory() -> tuple[int, int] | None:
    """Limit the additional address space of this process; return the previous limits."""
    if sys.platform != "linux":
        return None
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    most = used + _MEMORY
    _set_limits((most if before[0] == resource.RLIM_INFINITY else min(most, before[0]), before[1]))
    return before


def _set_limits(limits: tuple[int, int] | None) -> None:
    if limits is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, limits)
