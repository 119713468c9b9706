"""Requests in flight: each is recorded on disk before it is sent, and its answer as soon as it arrives.

After `kill -9` the next run uses the answers that had arrived. It knows which others were lost and can repeat those
requests exactly: a server that supports idempotency keys then returns its earlier answer and charges once.
"""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Any

_LARGE = 2**25
"""Size of the file in bytes above which finished requests are removed from it."""


class InFlight:
    """A file of JSON lines: {"sent": number, "content": …} before a request, {"arrived": number, "reply": …} when its
    answer is there, {"answered": [number, …]} once the answer is stored elsewhere. Entering the context takes over
    unfinished requests of an earlier program; at the end, the file is removed if nothing is in flight. Only one program
    may write it at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[int, list[tuple[int, int]]] = {}
        """(start, length) of the lines of unfinished requests, by number; numbers of an earlier program are
        negative."""
        self._left: defaultdict[str, list[int]] = defaultdict(list)
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        self._size = 0

    def left(self) -> list[Any]:
        """Contents of the requests that an earlier program sent without getting an answer."""
        return self._read()[0]

    def hand_over(self, keep: Callable[[list[Any]], None]) -> None:
        """Pass replies that an earlier program received but did not store to `keep`, then forget them."""
        left, replies = self._read()
        if not replies:
            return
        keep(replies)
        with self._begun(left):
            if not left:
                self.path.unlink()

    def __enter__(self) -> InFlight:
        self._begun(self.left())
        return self

    def _begun(self, left: list[Any]) -> FileIO:
        """A new file that contains only the lost requests of an earlier program."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._left.clear()
        entries = {-place: content for place, content in enumerate(left, start=1)}
        for number, content in entries.items():
            self._left[_name(content)].append(number)
        lines = {number: [_line({"sent": number, "content": content})] for number, content in entries.items()}
        return self._start_file(lines.items())

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            assert self._file is not None
            self._file.close()
            self._file = None
            if (error is None or not self._left) and all(number < 0 for number in self._lines):
                self.path.unlink(missing_ok=True)

    def sent(self, number: int, content: Any) -> None:
        """Record a request; the operating system has it when this returns. Resending a lost request of an earlier
        program replaces its record.
        """
        with self._lock:
            if number not in self._lines:
                self._lines[number] = []
                self._write(_line({"sent": number, "content": content}), number)
            if self._left:
                self._done(self._left.pop(_name(content), ()))

    def arrived(self, number: int, reply: Any) -> None:
        """Record the answer to a request. A failed write is no error: the answer is about to be stored anyway."""
        line = _line({"arrived": number, "reply": reply})
        with self._lock, suppress(OSError):
            self._write(line, number)

    def answered(self, numbers: Iterable[int]) -> None:
        """Record that the answers to these requests are stored, or that there will be none."""
        with self._lock:
            self._done(numbers)
            if self._size > _LARGE and self._size > 2 * sum(length for _, length in chain(*self._lines.values())):
                with suppress(OSError):  # then the file stays large
                    self._forget_what_is_done()

    def _done(self, numbers: Iterable[int]) -> None:
        done = [number for number in numbers if self._lines.pop(number, None) is not None]
        if done:
            self._write(_line({"answered": done}))

    def _read(self) -> tuple[list[Any], list[Any]]:
        """(contents without a reply, replies) of unfinished requests; skips unreadable lines."""
        contents: dict[int, Any] = {}
        replies: dict[int, Any] = {}
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            for line in file:
                with suppress(ValueError, TypeError, AttributeError, RecursionError, OverflowError):
                    entry = json.loads(line)
                    if "sent" in entry:
                        contents[int(entry["sent"])] = entry.get("content")
                    if "arrived" in entry:
                        replies[int(entry["arrived"])] = entry.get("reply")
                    for number in entry.get("answered", ()):
                        contents.pop(int(number), None)
                        replies.pop(int(number), None)
        return [content for number, content in contents.items() if number not in replies], [*replies.values()]

    def _write(self, line: bytes, number: int | None = None) -> None:
        """Append a line for an unfinished request. A partly written line is removed again."""
        if self._file is None:  # closed: a hanging thread has come back
            return
        left = memoryview(line)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise
        if number in self._lines:
            self._lines[number].append((self._size, len(line)))
        self._size += len(line)

    def _forget_what_is_done(self) -> None:
        with self.path.open("rb") as old:

            def lines_of(number: int) -> Iterator[bytes]:
                for start, length in self._lines[number]:
                    old.seek(start)
                    yield old.read(length)

            self._start_file((number, lines_of(number)) for number in self._lines)

    def _start_file(self, entries: Iterable[tuple[int, Iterable[bytes]]]) -> FileIO:
        """Replace the file with a new one that contains the lines of these requests."""
        aside = self.path.with_name(f"{self.path.name}.new")
        places: dict[int, list[tuple[int, int]]] = {}
        size = 0
        aside.unlink(missing_ok=True)
        with aside.open("xb") as new:  # never through a link
            for number, lines in entries:
                places[number] = []
                for line in lines:
                    new.write(line)
                    places[number].append((size, len(line)))
                    size += len(line)
        if self._file:
            self._file.close()  # some systems cannot replace open files
        os.replace(aside, self.path)
        self._file, self._lines, self._size = FileIO(self.path, "a"), places, size
        return self._file


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _name(content: Any) -> str:
    return json.dumps(content, sort_keys=True)
