"""CSV line by line: which lines form a record, and where a quote is never closed.

DuckDB reads from an unclosed quote to the next one, however far, and rejects everything between as one row. Here only
the line with the quote is lost.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

csv.field_size_limit(1 << 30)

_LONGEST_RECORD = 1000  # lines
_END = "\x00\x00"


@dataclass(frozen=True)
class Record:
    """A record of a CSV file: first and last line, from 1. torn: why it is not a valid record, or ''."""

    first: int
    last: int
    text: str
    torn: str = ""


def split_records(lines: Iterable[str], delimiter: str, quote: str, width: int) -> Iterator[Record]:
    """All records of a file with this many columns; blank lines are skipped. Lines come without line ends."""
    numbered = enumerate(lines, 1)
    ahead: deque[tuple[int, str]] = deque()
    rows = _Rows(delimiter, quote, width)
    while True:
        if not ahead:
            following = next(numbered, None)
            if following is None:
                return
            ahead.append(following)
        number, line = ahead.popleft()
        if not line:
            continue
        if quote not in line or not _is_open([line], delimiter, quote):
            rows.learn(line)
            yield Record(number, number, line)
            continue
        while len(ahead) < _LONGEST_RECORD and (following := next(numbered, None)) is not None:
            ahead.append(following)
        more = _lines_of_record([line, *(text for _, text in ahead)], delimiter, quote)
        joined = [line, *(text for _, text in list(ahead)[: more - 1])]
        if more and _is_whole(joined, delimiter, quote, width) and not rows.are_rows(joined):
            last = number
            for _ in joined[1:]:
                last, _text = ahead.popleft()
            yield Record(number, last, "\n".join(joined))
            continue
        yield Record(number, number, line, _reason(number, number + more - 1 if more else 0))


class _Rows:
    """Distinguishes lines that are rows from lines of text inside a quoted field."""

    def __init__(self, delimiter: str, quote: str, width: int) -> None:
        self._delimiter, self._quote, self._width = delimiter, quote, width
        self._numbers: tuple[int, ...] | None = None
        self._records = 0

    def learn(self, line: str) -> None:
        """Learn from the second record (the first may be a header) which columns contain numbers."""
        self._records += 1
        if self._numbers is None and self._records > 1:
            fields = self._fields(line)
            if len(fields) == self._width:
                self._numbers = tuple(at for at, text in enumerate(fields) if is_number(text))

    def are_rows(self, lines: list[str]) -> bool:
        """Whether most lines are rows if quotes count as text; then a quote that joins them is not a real one."""
        return 2 * sum(map(self._is_row, lines)) > len(lines)

    def _is_row(self, line: str) -> bool:
        fields = self._fields(line)
        if len(fields) != self._width:
            return False
        return all(is_number(fields[at]) for at in self._numbers) if self._numbers else self._width > 2

    def _fields(self, line: str) -> list[str]:
        return [text.strip().strip(self._quote) for text in line.split(self._delimiter)]


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reason(line: int, last: int) -> str:
    closed = f"is not closed before line {last}" if last > line else "is never closed"
    return f"a quote opens and {closed}; reading continues at line {line + 1}"


def _is_open(lines: list[str], delimiter: str, quote: str) -> bool:
    return _lines_of_record(lines, delimiter, quote) == 0


def _lines_of_record(lines: list[str], delimiter: str, quote: str) -> int:
    """How many lines the first record takes; 0 if a quote is still open after the last line."""
    reader = csv.reader(
        [*(line.replace("\r", " ").replace("\n", " ") + "\n" for line in lines), _END],
        delimiter=delimiter,
        quotechar=quote,
    )
    next(reader)
    return reader.line_num if reader.line_num <= len(lines) else 0


def _is_whole(lines: list[str], delimiter: str, quote: str, width: int) -> bool:
    """Whether the lines are one record and no text follows a closing quote."""
    reader = csv.reader(
        [line.replace("\r", " ").replace("\n", " ") + "\n" for line in lines],
        delimiter=delimiter,
        quotechar=quote,
        strict=True,
    )
    try:
        return len(next(reader)) == width
    except csv.Error:
        return False
