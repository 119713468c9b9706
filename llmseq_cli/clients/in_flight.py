"""Requests that are under way, noted on the disk before they are sent, and their answers as soon as they arrive.

After `kill -9` the next run takes over the answers that had arrived. It knows which others were lost and can repeat
those requests exactly: a server that knows idempotency keys then answers what it had answered before, and charges it
once.
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
"""Bytes of a file from which on what is done is taken out of it."""


class InFlight:
    """A file of JSON lines: {"sent": number, "content": …} before a request, {"arrived": number, "reply": …} when its
    answer is there, {"answered": [number, …]} once the answer is kept elsewhere. Entering it takes over what an earlier
    program left unanswered; the file is removed when nothing is under way at the end. Only one program may write it at
    a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[int, list[tuple[int, int]]] = {}
        """(start, length) of the lines of what is not done, by number; those of an earlier program are below 0."""
        self._left: defaultdict[str, list[int]] = defaultdict(list)
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        self._size = 0

    def left(self) -> list[Any]:
        """Contents of the requests that an earlier program sent and got no answer of."""
        return self._read()[0]

    def hand_over(self, keep: Callable[[list[Any]], None]) -> None:
        """Gives `keep` the replies that an earlier program got and kept nowhere else, and forgets them then."""
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
        """The file, with nothing in it but what an earlier program lost."""
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
        """Notes a request; it is with the operating system when this returns. Sending one again that an earlier program
        lost takes its place.
        """
        with self._lock:
            if number not in self._lines:
                self._lines[number] = []
                self._write(_line({"sent": number, "content": content}), number)
            if self._left:
                self._done(self._left.pop(_name(content), ()))

    def arrived(self, number: int, reply: Any) -> None:
        """Notes the answer of a request. A disk that does not take it is no error: the answer is about to be kept."""
        line = _line({"arrived": number, "reply": reply})
        with self._lock, suppress(OSError):
            self._write(line, number)

    def answered(self, numbers: Iterable[int]) -> None:
        """Notes that the answers of these requests are kept, or that there will be none."""
        with self._lock:
            self._done(numbers)
            if self._size > _LARGE and self._size > 2 * sum(length for _, length in chain(*self._lines.values())):
                with suppress(OSError):  # then it stays large
                    self._forget_what_is_done()

    def _done(self, numbers: Iterable[int]) -> None:
        done = [number for number in numbers if self._lines.pop(number, None) is not None]
        if done:
            self._write(_line({"answered": done}))

    def _read(self) -> tuple[list[Any], list[Any]]:
        """(contents without a reply, replies) of requests that are not done; skips unreadable lines."""
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
        """Adds a line, which belongs to a request that is not done. One that the disk takes half is taken back."""
        if self._file is None:  # closed: a thread that hung came back after all
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
        """Puts a new file with the lines of these requests in the place of the old one."""
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
            self._file.close()  # some systems rename no open files
        os.replace(aside, self.path)
        self._file, self._lines, self._size = FileIO(self.path, "a"), places, size
        return self._file


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _name(content: Any) -> str:
    return json.dumps(content, sort_keys=True)
