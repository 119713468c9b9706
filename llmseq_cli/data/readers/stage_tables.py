"""Stage tables of interactions in staged_interaction."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import duckdb

from llmseq_cli.data.readers.columns import ROLES, guess, named_column, required_column, role_of, unknown_column
from llmseq_cli.data.readers.csv_files import CsvTable
from llmseq_cli.data.readers.files import unreadable
from llmseq_cli.data.readers.list_tables import ListTable, SequenceTable, holds_lists
from llmseq_cli.data.readers.missing import MISSING_WORDS, is_missing_sql
from llmseq_cli.data.readers.reading import Reading
from llmseq_cli.data.readers.rejections import LEFT_OUT, Rejection, finish_file, take_rejects, unstage_file
from llmseq_cli.data.readers.row_filter import Condition, parse_where
from llmseq_cli.data.readers.table_files import WHOLE_FLOAT, TableFile, first_rows
from llmseq_cli.data.readers.times import (
    EARLIEST,
    LATEST,
    TimeForm,
    given_form,
    guess_time_form,
    is_number_form,
    mixed_units_form,
    order_of,
    rival,
    typed_form,
)
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.store.queries import query

_ASIN, _AMAZON_USER = r"B0[0-9A-Z]{8}|\d{9}[\dX]", r"A[0-9A-Z]{9,}"
_ROW_ORDER = "order of the rows"
_USUAL_AFTER = 3e8  # seconds since 1970: mid 1979


@dataclass(frozen=True)
class _Layout:
    """How a table of interactions is read.

    columns: {alias: column} of the scan. form: of the times; None if the order of the rows is used instead.
    whole: aliases of ids that are written as floats but are integers. condition: which rows to keep.
    """

    columns: dict[str, str]
    form: TimeForm | None
    whole: frozenset[str]
    condition: Condition | None = None
    numbers: tuple[str, ...] = field(default=())
    part: str | None = None

    def statement(self, table: TableFile, rows_before: int) -> str:
        scan = table.scan(self.columns)
        if self.numbers:
            casts = ", ".join(f"try_cast({alias} as double) as {alias}" for alias in self.numbers)
            scan = f"(select * replace ({casts}) from {scan})"
        user = self._id("user_id")
        if "session_part" in self.columns:
            session = self._id("session_part")
            neither = f"{is_missing_sql(user)} or {is_missing_sql(session)}"
            user = f"case when {neither} then null else {user} || ':' || {session} end"
        in_order = f"make_timestamp(({rows_before} + row_number() over ()) * 1000000)"
        return query("ingest/read_table").format(
            scan=scan,
            user=user,
            item=self._id("item_id"),
            time_value="time_value" if self.form else "null::varchar",
            time=self.form.expression("time_value") if self.form else in_order,
            sort_key="try_cast(sort_value as double)" if "sort_value" in self.columns else "null::double",
            kept=f"coalesce({self.condition.sql}, false)" if self.condition else "true",
        )

    def _id(self, alias: str) -> str:
        """Normalise an id: one Unicode form, and integers where a program wrote 7.0 for 7."""
        text = f"{alias}::varchar"
        is_plain = f"strlen({text}) = length({text}) and not contains({text}, ' ')"  # most ids are
        plain = f"case when {is_plain} then {text} else nfc_normalize(trim({text})) end"
        return f"regexp_replace({plain}, '^(-?\\d+)\\.0+$', '\\1')" if alias in self.whole else plain


def check_map(given: dict[str, str], tables: list[TableFile]) -> None:
    """Any name may be an attribute, but a near miss of user, item, time, … is a typo."""
    for role, wanted in given.items():
        nearly = get_close_matches(role, ROLES, n=1, cutoff=0.7)
        if nearly and role not in ROLES:
            raise UsageError(f"--map has no role '{role}'", f"did you mean '{nearly[0]}'?")
        if tables and not any(named_column(table, wanted) for table in tables):
            raise unknown_column(tables[0], wanted)


def read_interactions(
    reading: Reading,
    table: TableFile,
    given: dict[str, str] | None = None,
    name: str | None = None,
    part: str | None = None,
) -> None:
    """Stage the interactions of a table. Raises LlmseqError if a column is missing.

    given: columns defined by the format; those of --map take precedence. name: of the format, for the note.
    part: train, validation or test if the file is one of these.
    """
    source = reading.source
    given = (given or {}) | dict(source.columns)
    if isinstance(table, CsvTable) and table.columns[0] == "1":
        given = _positions(reading, table) | given
    if isinstance(table, SequenceTable):
        given = {"user": "user_id", "item": "items"}
    columns = _columns(reading, table, given)
    sample = _sample(table, columns)
    lists = tuple(one for one in ("item_id", "time_value") if holds_lists(sample.get(one, [])))
    if "item_id" in lists:
        table = ListTable(table, lists)
        sample = _sample(table, columns)
    form = _time_form(reading, table, columns, sample)
    ids = ("user_id", "item_id", "session_part")
    whole = frozenset(one for one in ids if _are_whole_floats(sample.get(one, [])))
    layout = _Layout(columns, form, whole, part=part)
    layout = _with_condition(reading, table, layout, given)
    _say(reading, table, layout, name)
    _stage(reading, table, layout)


def _columns(reading: Reading, table: TableFile, given: dict[str, str]) -> dict[str, str]:
    """{alias: column} of user, item, time and other columns that the user named."""
    if "session" in given and "user" not in given:
        given = {"user": given["session"]} | {role: one for role, one in given.items() if role != "session"}
    columns = {"user_id": required_column(table, "user", given)}
    if "session" in given:
        columns["session_part"] = required_column(table, "session", given)
    elif "user" not in given:
        others = [one for one in table.columns if role_of(one) == "user" and one != columns["user_id"]]
        if others:
            reading.note(
                f"{table.file}: sessions are identified by {columns['user_id']}, not by {', '.join(others)};"
                f" --map user={others[0]} takes that, and --map user={columns['user_id']},session={others[0]} both"
            )
    if reading.source.items and guess(table.columns, "item") and not named_column(table, given.get("item", "1")):
        given = {role: one for role, one in given.items() if role != "item"}  # that is the column of the item metadata
    columns["item_id"] = required_column(table, "item", given)
    if "time" in given or guess(table.columns, "time"):
        columns["time_value"] = required_column(table, "time", given)
    if "order" in given:
        order = required_column(table, "order", given)
        columns["sort_value" if "time_value" in columns else "time_value"] = order
    return columns


def _sample(table: TableFile, columns: dict[str, str]) -> dict[str, list[str]]:
    """Non-empty values of the first rows, by alias."""
    rows = first_rows(table, columns)
    return {alias: [text for row in rows if (text := row[alias])] for alias in columns}


def _are_whole_floats(values: list[str]) -> bool:
    return bool(values) and all(WHOLE_FLOAT.fullmatch(value) for value in values)


def _time_form(
    reading: Reading, table: TableFile, columns: dict[str, str], sample: dict[str, list[str]]
) -> TimeForm | None:
    column = columns.get("time_value")
    if column is None and reading.source.session_gap:
        raise LlmseqError(
            f"--session-gap needs times, and no column of {table.file} looks like one",
            "name it with --map time=COLUMN, or leave out --session-gap",
        )
    if column is None:
        if not isinstance(table, ListTable) or not isinstance(table.inner, SequenceTable):
            reading.warn(
                f"{table.file}: no column looks like a time, so the rows are taken in file order, oldest"
                " first; --map time=COLUMN names one"
            )
        return None
    if reading.source.time_format:
        return given_form(reading.source.time_format)
    typed = typed_form(table.type_of(column))
    if typed:
        return typed
    values = sample["time_value"]
    if not any(sample.values()):
        raise LlmseqError(f"{table.file} has no rows", "check how it was made")
    form = guess_time_form(values)
    if form is None:
        shown = f" such as '{values[0]}'" if values else ""
        raise LlmseqError(
            f"the column {column} of {table.file} contains no times{shown}",
            "name another with --map time=COLUMN, or give their format: --time-format '%d/%m/%Y %H:%M'",
        )
    other = rival(form)
    return _day_or_month_first(reading, table, columns, form, other) if other else form


def _day_or_month_first(
    reading: Reading, table: TableFile, columns: dict[str, str], form: TimeForm, other: TimeForm
) -> TimeForm:
    """If the first rows fit two formats, choose the one that fits more of all rows."""
    counts = ", ".join(f"count({one.expression('time_value')})" for one in (form, other))
    scan = table.scan({alias: column for alias, column in columns.items() if alias in ("item_id", "time_value")})
    with reading.con.cursor() as cursor:
        try:
            [(ours, theirs)] = cursor.execute(f"select {counts} from {scan}").fetchall()
            take_rejects(cursor)
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise unreadable(table.file, error) from error
    if ours == theirs and not form.name.startswith("%d."):
        reading.warn(
            f"{table.file}: its dates fit month first and day first; read as {order_of(form)}"
            f" ({form.name}); --time-format '{other.name}' takes the other"
        )
    return form if ours >= theirs else other


def _positions(reading: Reading, table: CsvTable) -> dict[str, str]:
    """Columns of a table without a header: user and item first, time where the values look like times."""
    sample = _sample(table, {f"c{name}": name for name in table.columns})
    found = {"user": "1", "item": "2"}
    if _mostly(_ASIN, sample["c1"]) and _mostly(_AMAZON_USER, sample["c2"]):
        found = {"user": "2", "item": "1"}  # as in the ratings of Amazon's 2018 release
    for name in table.columns[2:]:
        values = sample[f"c{name}"]
        large = [value for value in values if value.replace(".", "", 1).isdigit() and float(value) >= 1e8]
        dates = values and not any(value.replace(".", "", 1).isdigit() for value in values) and guess_time_form(values)
        if values and (len(large) * 2 > len(values) or dates):
            return found | {"time": name}
    return found


def _mostly(pattern: str, values: list[str]) -> bool:
    return 2 * sum(re.fullmatch(pattern, value) is not None for value in values) > len(values)


def _with_condition(reading: Reading, table: TableFile, layout: _Layout, given: dict[str, str]) -> _Layout:
    """Add the conditions of --where, --min-rating and --max-rating to the layout."""
    source = reading.source
    columns: dict[str, str] = {}
    wanted = []
    if source.where is not None:
        condition = parse_where(reading.con, source.where, table)
        columns |= condition.columns
        wanted.append(f"({condition.sql})")
    for bound, sign in ((source.min_rating, ">="), (source.max_rating, "<=")):
        if bound is not None:
            columns["rating_value"] = required_column(table, "rating", given)
            wanted.append(f"rating_value {sign} {bound!r}")
    if not wanted:
        return layout
    sample = _sample(table, columns)
    numbers = tuple(alias for alias in columns if alias == "rating_value" or _are_numbers(sample[alias]))
    condition = Condition(columns, " and ".join(wanted))
    return replace(layout, columns=layout.columns | columns, condition=condition, numbers=numbers)


def _are_numbers(values: list[str]) -> bool:
    return bool(values) and all(re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", one) for one in values)


def _say(reading: Reading, table: TableFile, layout: _Layout, name: str | None) -> None:
    """Report how a file was interpreted."""
    roles = {
        "user_id": "user",
        "session_part": "session",
        "item_id": "item",
        "time_value": "time",
        "sort_value": "order",
    }
    inner = table.inner if isinstance(table, ListTable) else table
    if name:
        reading.note(f"{table.file}: {name}")
        return
    if isinstance(inner, SequenceTable):
        reading.note(f"{table.file}: each line is a user and the user's items, oldest first")
        return
    forms = {"time_value": f" ({layout.form.name})"} if layout.form else {}
    named = ", ".join(
        f"{role} = {layout.columns[alias]}{forms.get(alias, '')}"
        for alias, role in roles.items()
        if alias in layout.columns
    )
    details = [] if layout.form else [f" ({_ROW_ORDER})"]
    if isinstance(inner, CsvTable):
        shown = {"\t": "tab", ",": "comma", " ": "space"}.get(inner.delimiter, inner.delimiter)
        details.append(f", separated by {shown}")
        if not inner.quote and inner.delimiter == "\t":
            details.append(", quotes are text")
    if isinstance(table, ListTable):
        details.append(", one list of items per row")
    reading.note(f"{table.file}: {named}{''.join(details)}")


def _stage(reading: Reading, table: TableFile, layout: _Layout) -> None:
    rejects = _execute(reading, table, layout)
    scanned = reading.rows_since_last_file()
    if table.needs_mending(scanned, len(rejects)):
        unstage_file(reading)
        table.mend()
        rejects = _execute(reading, table, layout)
    is_guessed = layout.form is not None and is_number_form(layout.form) and not reading.source.time_format
    if layout.form and is_guessed and _mixes_units(reading, layout.form):
        unstage_file(reading)
        rejects = _execute(reading, table, replace(layout, form=mixed_units_form()))
        reading.warn(
            f"{table.file}: the column {layout.columns['time_value']} mixes units of time; each number was read by its"
            " own size; --time-format s (or ms, us, ns) takes one unit for all"
        )
    finish_file(reading, table.file, rejects, table.locate, table.torn)
    reading.report.files.append(table.file)


def _execute(reading: Reading, table: TableFile, layout: _Layout) -> list[Rejection]:
    given = {"earliest": EARLIEST, "latest": LATEST, "left_out": LEFT_OUT, "part": layout.part}
    try:
        with reading.progress.task(f"Reading {table.file}"):
            reading.con.execute(layout.statement(table, reading.rows_staged), given)
            _mark_missing(reading)
        return take_rejects(reading.con)
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise unreadable(table.file, error) from error


def _mark_missing(reading: Reading) -> None:
    """Set aside rows just staged whose user or item is a word for a missing value.

    Separate from reading, because a scan of the table skips blocks whose range excludes such words.
    """
    first = reading.first_row()
    for name in ("ingest/reject_missing_users", "ingest/reject_missing_items"):
        reading.con.execute(query(name), {"first": first, "words": sorted(MISSING_WORDS)})


def _mixes_units(reading: Reading, form: TimeForm) -> bool:
    """Whether times just staged in one unit include values that only make sense in another unit."""
    given = {"first": reading.first_row(), "earliest": EARLIEST, "latest": LATEST}
    [(early, late)] = reading.con.execute(query("ingest/find_mixed_units"), {"first": given["first"]}).fetchall()
    if not late and (not early or form.name == "s"):  # early times in seconds are really early
        return False
    [(usual,)] = reading.con.execute(query("ingest/usual_time"), given).fetchall()
    return usual is not None and usual > _USUAL_AFTER
