"""`--where`: an SQL condition over the columns of the leaderboard."""

from __future__ import annotations

import json
import re
from typing import Any

from llmseq_cli.errors import UsageError
from llmseq_cli.store.queries import query
from llmseq_cli.store.sandbox import lock_down, read_only
from llmseq_cli.store.statements import split


def rows_where(rows: list[dict[str, Any]], condition: str) -> list[dict[str, Any]]:
    """The rows for which a condition holds, such as "dim = 64 and ndcg@20 > 0.05 and settings.k > 100".

    Settings that only some runs have are null for the others. Raises UsageError for an invalid condition.
    """
    import duckdb

    if not rows:
        return rows
    quoted = re.sub(r'(?<!["\w])(\w+@\d+)(?!["\w])', r'"\1"', condition)
    with duckdb.connect() as con:
        con.execute(query("report/rows_as_table"), {"rows": json.dumps(_with_all_settings(rows), default=str)})
        lock_down(con)
        try:
            condition_as_query = f"select row_number from leaderboard where (\n{quoted}\n) order by row_number"
            kept = read_only(con, split(condition_as_query)).fetchall()
        except duckdb.Error as error:
            said = " ".join(str(error).partition("\n\nLINE")[0].split())
            raise UsageError(
                f"--where '{condition}': {said}",
                "for example --where \"model = 'sasrec' and settings.epochs > 5 and ndcg@20 > 0.05\"",
            ) from error
    return [rows[number] for (number,) in kept]


def _with_all_settings(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add every setting to every row, so that all rows have the same type."""
    names = dict.fromkeys(name for row in rows for name in row["settings"])
    return [
        row | {"row_number": number, "settings": dict.fromkeys(names) | row["settings"]}
        for number, row in enumerate(rows)
    ]
