"""Formats of times in files: seconds, milliseconds, microseconds, nanoseconds, and many date formats."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmseq_cli.errors import UsageError
from llmseq_cli.store.instance import scratch

EARLIEST, LATEST = "1900-01-01", "2200-01-01"
"""Times outside this range count as errors in the data."""

_UNITS = [("s", 1e11, 1e6), ("ms", 1e14, 1e3), ("µs", 1e17, 1.0), ("ns", float("inf"), 1e-3)]
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f", "T%H:%M:%S")
_DATES = [
    *("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%m-%d-%Y", "%d-%m-%Y", "%d.%m.%y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%m %d, %Y"),
]
_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_MAIL = ("%a, %d %b %Y %H:%M:%S %z", "%d %b %Y %H:%M:%S %z")  # RFC 2822
_OFFSET = r":\d\d(\.\d+)? ?([-+]\d|[A-Za-z])"  # what follows the minutes or seconds: +02:00, Z, UTC
_LARGEST_COUNTER = 1e8  # as seconds since 1970 this is 1973


@dataclass(frozen=True)
class TimeForm:
    """The format of a column of times: `name` for people, `sql` an expression over the text {0}."""

    name: str
    sql: str

    def expression(self, column: str) -> str:
        """SQL for the timestamp of a text column, NULL if the text is not a time."""
        return self.sql.format(column)


def date_form() -> TimeForm:
    """ISO dates and times. Without an offset they count as UTC; with an offset they are converted to UTC."""
    # The plain cast ignores an offset; the cast that respects it would read the others as local time.
    return TimeForm(
        "date",
        f"case when regexp_matches({{0}}, '{_OFFSET}') then try_cast({{0}} as timestamptz) at time zone 'UTC'"
        " else try_cast({0} as timestamp) end",
    )


def typed_form(kind: str) -> TimeForm | None:
    """The format of a column with a DuckDB time type; None if its values must be parsed as text."""
    if kind == "TIMESTAMP WITH TIME ZONE":
        return TimeForm("timestamp with time zone", "{0} at time zone 'UTC'")
    if kind.startswith(("TIMESTAMP", "DATE")) and not kind.endswith("[]"):
        return TimeForm(kind.lower(), "{0}::timestamp")
    return None


def given_form(text: str) -> TimeForm:
    """The format that the user gave: s, ms, us, ns, iso, or a strptime pattern. Raises UsageError."""
    units = {name.replace("µ", "u"): factor for name, _, factor in _UNITS}
    if text in units:
        return _number_form(text, units[text], "<> 0")
    if text == "iso":
        return date_form()
    form = _strptime(text, (text,))
    import duckdb

    with scratch() as con:
        try:
            if "%" not in text:
                raise duckdb.InvalidInputException("it contains no %")
            con.execute(f"select ({form.expression('x')})::varchar from (select '2020'::varchar as x)").fetchall()
        except duckdb.Error as error:
            said = str(error).partition("\n")[0]
            raise UsageError(
                f"--time-format '{text}' is not a valid pattern: {said}",
                "for example '%d/%m/%Y %H:%M', or s, ms, us, ns, iso",
            ) from error
    return form


def rival(form: TimeForm) -> TimeForm | None:
    """The same format with day and month swapped, which also fits days up to the 12th."""
    first, sign, second = form.name[:2], form.name[2:3], form.name[3:5]
    swaps = {first, second} == {"%m", "%d"} and sign in ("/", "-", ".")
    return _dated(second + sign + first + form.name[5:]) if swaps else None


def order_of(form: TimeForm) -> str:
    return "month first" if form.name.startswith("%m") else "day first"


def _dated(date: str) -> TimeForm:
    return _strptime(date, [date + clock for clock in _CLOCKS])


def _strptime(name: str, patterns: tuple[str, ...] | list[str]) -> TimeForm:
    listed = ", ".join("'" + one.replace("'", "''").replace("{", "{{").replace("}", "}}") + "'" for one in patterns)
    if any("%z" in one or "%Z" in one for one in patterns):
        text = r"regexp_replace(trim({0}), ' ?(GMT|UTC|Z)$', ' +0000')"
        return TimeForm(name, f"try_strptime({text}, [{listed}]) at time zone 'UTC'")
    return TimeForm(name, f"try_strptime(trim({{0}}), [{listed}])")


def numeric_form(usual: float) -> TimeForm:
    """Numeric times; their usual size shows the unit: 1.6e9 means seconds, 1.6e12 milliseconds, …

    Small numbers are counters, which may start at 0. Otherwise 0 or -1 means a missing time, and other negative numbers
    are times before 1970.
    """
    name, factor = next((name, factor) for name, bound, factor in _UNITS if abs(usual) < bound)
    return _number_form(name, factor, "not in (0, -1)" if abs(usual) >= _LARGEST_COUNTER else ">= 0")


def _number_form(name: str, factor: float, usable: str) -> TimeForm:
    number = "try_cast({0} as double)"
    # The cast would fail on numbers beyond the calendar, which are not times.
    within = f"{number} {usable} and abs({number}) * {factor:g} < 1e16"
    return TimeForm(name, f"case when {within} then make_timestamp(({number} * {factor:g})::bigint) end")


def mixed_units_form() -> TimeForm:
    """Numbers of several units in one column: the size of each shows its unit."""
    number = "try_cast({0} as double)"
    cases = " ".join(
        f"when abs({number}) < {bound:g} then make_timestamp(({number} * {factor:g})::bigint)"
        for _, bound, factor in _UNITS[:3]
    )
    last = f"when abs({number}) < 1e19 then make_timestamp(({number} * 1e-3)::bigint)"
    return TimeForm("mixed units", f"case when {number} in (0, -1) then null {cases} {last} end")


def is_number_form(form: TimeForm) -> bool:
    return form.name in [name for name, _, _ in _UNITS]


def guess_time_form(sample: list[str]) -> TimeForm | None:
    """The format of a sample of times; None if most values are not times."""
    texts = [text.strip() for text in sample if text and text.strip()]
    if not texts:
        return None
    numbers = [number for number in map(_number, texts) if number is not None]
    digits = _date_of_digits(texts)
    if len(numbers) * 2 > len(texts) and not digits:
        return numeric_form(sorted(numbers, key=abs)[len(numbers) // 2])
    with scratch() as con:
        forms = [_strptime(digits, (digits,))] if digits else []
        forms += [date_form(), *(_dated(date) for date in _DATES), _strptime("RFC 2822", _MAIL)]
        con.execute("create temp table sample as select unnest($texts) as text", {"texts": texts})
        # The format that fits most of the sample; the first one if several do.
        within = f"between '{EARLIEST}'::timestamp and '{LATEST}'::timestamp"
        counts = []
        for form in forms:
            time = form.expression("text")
            select = f"select count(*) filter ({time} {within}), count({time}) from sample"
            counts.append(con.execute(select).fetchall()[0])
    best = max(counts)
    return forms[counts.index(best)] if best[1] * 2 > len(texts) else None


def _date_of_digits(texts: list[str]) -> str | None:
    """The pattern of dates such as 20200131 or 20200131235900, if all of the sample fit."""
    lengths = {len(text) for text in texts}
    if len(lengths) == 1 and all(text.isdigit() and text[:2] in ("19", "20") for text in texts):
        pattern = _DIGITS.get(lengths.pop())
        # 12 digits may also be milliseconds of the 2030s or before 2001, so check for valid months and days.
        if pattern and all("01" <= text[4:6] <= "12" and "01" <= text[6:8] <= "31" for text in texts):
            return pattern
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
