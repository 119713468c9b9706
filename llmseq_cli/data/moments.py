"""The times that somebody gives with a session: dates and times as ISO 8601 has them, or numbers since 1970."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from llmseq_cli.errors import UsageError

Moment = str | float | datetime

NUMBERS_UNTIL = datetime(1973, 1, 1)
"""Times from 1970 on that end before this are no times: they number the interactions."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (math.inf, 1e-3))
"""Numbers below the first are of a unit with so many microseconds: seconds, milliseconds, micro- and nanoseconds."""
_WITHIN = 1e16  # microseconds: 300 years around 1970
_DATE = re.compile(r"(19|20)\d{6}")  # 20240501 is a date, no number
_HINT = "for example 2024-05-01, 2024-05-01T12:30, or seconds since 1970"


def moments(times: Sequence[Moment], n: int) -> np.ndarray:
    """int64[n], microseconds since 1970.

    Numbers are seconds, milliseconds, microseconds or nanoseconds, by their size, as `ingest` reads them. A time
    without an offset is UTC. Raises UsageError unless there is a time for each of n items, none before the one it
    follows.
    """
    if len(times) != n:
        raise UsageError(f"{_count(len(times), 'time')} for {_count(n, 'item')}", "give one time for each item")
    found = np.array([_microseconds(one) for one in times], dtype=np.int64)
    falls = np.flatnonzero(np.diff(found) < 0)
    if len(falls):
        place = int(falls[0]) + 1
        raise UsageError(f"the time {times[place - 1]} is followed by {times[place]}", "give the oldest item first")
    return found


def are_numbers(times: np.ndarray) -> bool:
    """Whether microseconds since 1970 number the interactions of a dataset that has no times."""
    until = _microseconds(NUMBERS_UNTIL)
    return bool(len(times)) and int(times.min()) >= 0 and int(times.max()) < until


def _microseconds(moment: Moment) -> int:
    shown = str(moment)[:40]
    if isinstance(moment, str):
        moment = _parsed(moment.strip())
    if isinstance(moment, datetime):
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    factor = next((factor for bound, factor in _UNITS if abs(moment) < bound), 0.0)
    if not factor or abs(moment) * factor >= _WITHIN:
        raise UsageError(f"'{shown}' is no time", _HINT)
    return round(moment * factor)


def _parsed(text: str) -> float | datetime:
    if not _DATE.fullmatch(text):
        try:
            return float(text)
        except ValueError:
            pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"'{text[:40]}' is no time", _HINT) from None


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
