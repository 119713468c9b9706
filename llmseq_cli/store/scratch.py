"""A DuckDB in memory for questions that concern no workspace."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def scratch() -> duckdb.DuckDBPyConnection:
    """A connection to it, for a `with`. Its temporary tables are its own; no setting may be changed."""
    return _memory().cursor()


@cache
def _memory() -> duckdb.DuckDBPyConnection:
    """Made once: making one takes more time than most questions."""
    import duckdb

    return duckdb.connect()
