"""`--where`: an SQL condition on a file's columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmseq_cli.data.readers.columns import NamedColumns, named_column
from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.store.conditions import plain_condition

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Condition:
    """columns: {alias: column of the file}. sql: a condition over the aliases."""

    columns: dict[str, str]
    sql: str


def parse_where(con: duckdb.DuckDBPyConnection, text: str, table: NamedColumns) -> Condition:
    """The condition over aliases of a table's columns. Raises UsageError if it is not a plain condition on them."""
    aliases: dict[str, str] = {}

    def alias(wanted: str) -> str:
        column = named_column(table, wanted)
        if column is None:
            raise UsageError(f"{table.file} has no column '{wanted}' for --where", did_you_mean(wanted, table.columns))
        return aliases.setdefault(column, f"where_{len(aliases)}")

    sql = plain_condition(con, text, alias)
    return Condition({alias: column for column, alias in aliases.items()}, sql)
