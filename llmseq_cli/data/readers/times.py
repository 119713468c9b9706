"""Times as they stand in files: seconds, milliseconds, microseconds, nanoseconds, dates."""

from __future__ import annotations

from dataclasses import dataclass

EARLIEST, LATEST = "1900-01-01", "2200-01-01"
"""What lies outside is taken for a mistake in the data."""

_UNITS = [("s", 1e11, 1e6), ("ms", 1e14, 1e3), ("µs", 1e17, 1.0), ("ns", float("inf"), 1e-3)]
_FORMATS = [
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%B %d, %Y",
    "%m %d, %Y",
    "%Y%m%d",
]
_OFFSET = r":\d\d(\.\d+)? ?([-+]\d|[A-Za-z])"  # what follows the minutes or seconds: +02:00, Z, UTC
_LARGEST_COUNTER = 1e8  # as seconds since 1970 this is 1973


@dataclass(frozen=True)
class TimeForm:
    """How a column's times are written: `name` for people, `sql` an expression over the text {0}."""

    name: str
    sql: str

    def expression(self, column: str) -> str:
        """SQL for the timestamp of a text column, NULL where the text is none."""
        return self.sql.format(column)


def date_form() -> TimeForm:
    """ISO dates and times. One without an offset is taken as UTC, one with an offset is converted to UTC."""
    # The plain cast reads an offset and ignores it; the cast that minds it would read the others as local time.
    return TimeForm(
        "date",
        f"case when regexp_matches({{0}}, '{_OFFSET}') then try_cast({{0}} as timestamptz) at time zone 'UTC'"
        " else try_cast({0} as timestamp) end",
    )


def typed_form(kind: str) -> TimeForm | None:
    """The form of a column that has a DuckDB type of its own; None where its values are to be looked at as text."""
    if kind == "TIMESTAMP WITH TIME ZONE":
        return TimeForm("timestamp with time zone", "{0} at time zone 'UTC'")
    if kind.startswith(("TIMESTAMP", "DATE")):
        return TimeForm(kind.lower(), "{0}::timestamp")
    return None


def rival(form: TimeForm) -> TimeForm | None:
    """The form that days up to the twelfth fit as well: month and day the other way round."""
    swapped = {"%m/%d": "%d/%m", "%d/%m": "%m/%d"}.get(form.name[:5])
    return _strptime(swapped + form.name[5:]) if swapped else None


def _strptime(form: str) -> TimeForm:
    return TimeForm(form, f"try_strptime({{0}}, '{form}')")


def numeric_form(usual: float) -> TimeForm:
    """Times that are numbers, the unit told by their usual size: 1.6e9 are seconds, 1.6e12 milliseconds, …

    Small numbers are counters, which may start at 0; among times since 1970 a 0 says that the time is missing.
    """
    name, factor = next((name, factor) for name, bound, factor in _UNITS if abs(usual) < bound)
    number = "try_cast({0} as double)"
    least = "> 0" if usual >= _LARGEST_COUNTER else ">= 0"
    # Numbers below 0 or beyond the calendar are no times; the cast would fail on them.
    within = f"{number} {least} and {number} * {factor:g} < 1e16"
    return TimeForm(name, f"case when {within} then make_timestamp(({number} * {factor:g})::bigint) end")


def guess_time_form(sample: list[str]) -> TimeForm | None:
    """How the times of a sample are written; None where most of them are no times."""
    texts = [text.strip() for text in sample if text and text.strip()]
    if not texts:
        return None
    numbers = [number for number in map(_number, texts) if number is not None]
    eight_digits = all(len(text) == 8 and text.isdigit() and text[:2] in ("19", "20") for text in texts)
    if len(numbers) * 2 > len(texts) and not eight_digits:
        return numeric_form(sorted(abs(number) for number in numbers)[len(numbers) // 2])
    import duckdb

    with duckdb.connect() as con:
        forms = [date_form()]
        forms += [_strptime(form) for form in _FORMATS]
        con.execute("create table sample as select unnest($texts) as text", {"texts": texts})
        # The form that most of the sample follows; of several the one that stands first.
        counts = [
            con.execute(f"select count({form.expression('text')}) from sample").fetchall()[0][0] for form in forms
        ]
    best = max(counts)
    return forms[counts.index(best)] if best * 2 > len(texts) else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
