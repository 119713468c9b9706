"""Checks after all files are read: repeated rows, sessions to cut, times and items that look wrong."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from llmseq_cli.data.moments import NUMBERS_UNTIL
from llmseq_cli.data.read_options import gap_seconds
from llmseq_cli.data.readers.dataset_parts import DatasetParts
from llmseq_cli.data.readers.files import count
from llmseq_cli.data.readers.reading import Reading
from llmseq_cli.store.queries import query

_COUNTED_WHOLE = 100_000  # rows; of more, only a sample is checked
_LONGEST_SPAN = timedelta(days=40 * 365)
_LONGEST_JUMP = timedelta(days=10 * 365)


def put_parts_aside(reading: Reading) -> None:
    """Move the rows of the parts to staged_part, before the whole file is read."""
    con, report = reading.con, reading.report
    con.execute(query("ingest/put_parts_aside"))
    forget_rows(reading)
    report.files.clear()


def forget_rows(reading: Reading) -> None:
    """Empty the staging tables of interactions, as if nothing had been read."""
    con, report = reading.con, reading.report
    con.execute("create or replace temp table staged_interaction as select * from staged_interaction limit 0")
    con.execute("delete from staged_rejection")
    reading.rows_staged = report.rows_read = report.left_out = 0
    reading.staged_files.clear()


def mark_parts(reading: Reading, parts: DatasetParts) -> None:
    """Mark each row of the whole file with the part that also contains it."""
    [(lacking, unmarked)] = reading.con.execute(query("ingest/compare_parts")).fetchall()
    reading.con.execute(query("ingest/mark_parts"))
    names = ", ".join(os.path.basename(file) for file in parts.files)
    whole = os.path.basename(parts.whole or "")
    reading.note(f"{names}: the parts of {whole}, counted once")
    if lacking:
        reading.warn(
            f"{names}: {count(lacking, 'row is', 'rows are')} not in {whole} and not read; name the parts alone,"
            f" without {whole}, to read them"
        )
    if unmarked:
        reading.note(f"{whole}: {count(unmarked, 'row is', 'rows are')} in none of its parts")


def tell_overlaps(reading: Reading) -> None:
    """Report which files of one folder repeat each other's rows."""
    files = reading.staged_files
    folders = [os.path.dirname(file) for file, _, _ in files]
    if len(set(folders)) == len(folders):
        return
    base = _base(reading)
    reading.con.execute("create or replace temp table row_hash (file integer, code ubigint)")
    for number, (_, first, end) in enumerate(files):
        reading.con.execute(
            query("ingest/hash_rows"),
            {"file": number, "first": base + first, "past_last": base + end, "step": _step(reading)},
        )
    for one, other, shared, rows in reading.con.execute(query("ingest/find_overlaps")).fetchall():
        if folders[one] != folders[other]:
            continue
        names = f"{files[one][0]} and {os.path.basename(files[other][0])}"
        about = "about " if _step(reading) > 1 else ""
        told = reading.warn if shared * 10 >= rows else reading.note
        shown = count(shared * _step(reading), "row", "rows")
        told(f"{names} have {about}{shown} in common, which count twice; name only one, or --drop-duplicates")
    reading.con.execute("drop table row_hash")


def _base(reading: Reading) -> int:
    return reading.first_row() - reading.rows_staged


def _step(reading: Reading) -> int:
    """Check one of this many rows."""
    return max(1, reading.rows_staged // _COUNTED_WHOLE)


def drop_duplicates(reading: Reading) -> None:
    """Keep the first of several rows with the same user, item and time if the user wants that; otherwise report
    them."""
    con, step = reading.con, _step(reading)
    if reading.source.drop_duplicates:
        [(before,)] = con.execute("select count(*) from staged_interaction").fetchall()
        con.execute(query("ingest/drop_duplicates"))
        [(after,)] = con.execute("select count(*) from staged_interaction").fetchall()
        reading.report.duplicates = before - after
        if before > after:
            reading.note(f"{count(before - after, 'row was', 'rows were')} dropped as equal to an earlier one")
        return
    [(repeated,)] = con.execute(query("ingest/count_duplicates"), {"step": step}).fetchall()
    if repeated:
        about = "about " if step > 1 else ""
        shown = count(repeated * step, "row repeats", "rows repeat")
        reading.note(f"{about}{shown} the user, item and time of another; --drop-duplicates keeps one of each")


def cut_sessions(reading: Reading) -> None:
    """Cut users into sessions after pauses of --session-gap."""
    gap = reading.source.session_gap
    if gap is None:
        return
    seconds = gap_seconds(gap)
    reading.con.execute(query("ingest/cut_sessions"), {"gap": seconds})
    [(sessions, users)] = reading.con.execute(query("ingest/count_sessions")).fetchall()
    shown, shown_gap = count(users, "user", "users"), f"{gap} seconds" if gap.replace(".", "").isdigit() else gap
    reading.note(f"{shown} cut into {count(sessions, 'session', 'sessions')} after pauses of {shown_gap}")


def put_in_order(reading: Reading) -> None:
    """If a column orders equal times, add microseconds to the times in that order."""
    [(ordered,)] = reading.con.execute("select count(sort_key) from staged_interaction").fetchall()
    if ordered:
        reading.con.execute(query("ingest/put_in_order"))


def tell_times(reading: Reading) -> None:
    """Report the first and last time, and warn of implausible spans and gaps."""
    con = reading.con
    [(first, last)] = con.execute("select min(time), max(time) from staged_interaction").fetchall()
    reading.report.first_time, reading.report.last_time = first.isoformat(), last.isoformat()
    if last < NUMBERS_UNTIL and first >= datetime(1970, 1, 1):
        return  # counters, not times
    shown = f"the times run from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    hint = "check the unit and format of the times (--time-format), or leave out rows with --where"
    if last > datetime.now() + timedelta(days=2):
        reading.warn(f"{shown}, which is in the future; {hint}")
        return
    if last - first <= _LONGEST_JUMP:
        return
    [(early, late)] = con.execute(query("ingest/time_quantiles"), {"step": _step(reading)}).fetchall()
    if early - first > _LONGEST_JUMP or last - late > _LONGEST_JUMP:
        few = "the earliest" if early - first > _LONGEST_JUMP else "the latest"
        reading.warn(f"{shown}, and a few of {few} are far from all others; {hint}")
    elif last - first > _LONGEST_SPAN:
        reading.warn(f"{shown}, which is long for one dataset; {hint}")


def tell_described(reading: Reading) -> None:
    """Report how many items the metadata describes, and why it may miss the others."""
    if not reading.report.item_files:
        return
    [row] = reading.con.execute(query("ingest/count_described")).fetchall()
    items, described, without_fraction, without_zeros, without_case, without_space = row
    reading.report.described_items = described
    text = f"the metadata describes {described:,} of {count(items, 'item', 'items')}"
    reasons = {
        "if .0 at the end did not count (1.0 and 1)": without_fraction,
        "if zeros at the start did not count (00001 and 1)": without_zeros,
        "if capital letters did not count": without_case,
        "if spaces and hyphens did not count": without_space,
    }
    why = max(reasons, key=lambda reason: reasons[reason])
    if described < items and reasons[why] > described:
        reading.warn(f"{text}; it would be {reasons[why]:,} {why}: make the ids of both files alike")
    elif described * 2 < items:
        reading.warn(f"{text}; check that both files mean the same ids (--map item=COLUMN)")
    else:
        reading.note(text)
