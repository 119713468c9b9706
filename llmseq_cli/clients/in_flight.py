"""Requests that are under way, noted on the disk before they are sent.

After `kill -9` the next run knows which answers were lost, and can repeat those requests exactly: a server that knows
idempotency keys then answers what it had answered before, and charges it once.
"""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any


class InFlight:
    """A file of JSON lines: {"sent": number, "content": …} before a request, {"answered": [number, …]} once its answer
    is kept. Entering it takes over what an earlier program left; it is removed when nothing is under way at the end.
    Only one program may write it at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: set[int] = set()
        self._left: defaultdict[str, list[int]] = defaultdict(list)
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None

    def left(self) -> list[Any]:
        """Contents of the requests that an earlier program sent and kept no answer of; skips unreadable lines."""
        open_requests: dict[int, Any] = {}
        for line in self.path.read_bytes().splitlines() if self.path.exists() else ():
            with suppress(ValueError, TypeError, AttributeError, RecursionError, OverflowError):
                entry = json.loads(line)
                if "sent" in entry:
                    open_requests[int(entry["sent"])] = entry.get("content")
                for number in entry.get("answered", ()):
                    open_requests.pop(int(number), None)
        return list(open_requests.values())

    def __enter__(self) -> InFlight:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        entries = [{"sent": -place, "content": content} for place, content in enumerate(self.left(), start=1)]
        for entry in entries:
            self._left[_name(entry["content"])].append(entry["sent"])
        aside = self.path.with_name(f"{self.path.name}.new")
        self._file = aside.open("wb")
        for entry in entries:
            self._write(entry)
        os.replace(aside, self.path)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            assert self._file is not None
            self._file.close()
            self._file = None
            if not self._open and (error is None or not self._left):
                self.path.unlink(missing_ok=True)

    def sent(self, number: int, content: Any) -> None:
        """Notes a request; it is with the operating system when this returns. Sending one again that an earlier program
        lost takes its place.
        """
        with self._lock:
            if number not in self._open:
                self._open.add(number)
                self._write({"sent": number, "content": content})
            numbers = self._left.pop(_name(content), None) if self._left else None
            if numbers:
                self._write({"answered": numbers})

    def answered(self, numbers: Iterable[int]) -> None:
        """Notes that the answers of these requests are kept, or that there will be none."""
        with self._lock:
            done = self._open.intersection(numbers)
            if done:
                self._open -= done
                self._write({"answered": sorted(done)})

    def _write(self, entry: dict[str, Any]) -> None:
        if self._file is None:  # closed: a thread that hung came back after all
            return
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()


def _name(content: Any) -> str:
    return json.dumps(content, sort_keys=True)
