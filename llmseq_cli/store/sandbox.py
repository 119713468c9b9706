"""SQL that a user gives: what it may read and what it may write.

Without --write a query sees the tables and views of its own workspace and nothing else. With it, files are read and
written where the query names them as plain text; the workspace's own files are never among them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.store.named_files import named_files
from llmseq_cli.store.statements import Statement, split

if TYPE_CHECKING:
    import duckdb

_READING = frozenset({"SELECT", "EXPLAIN", "MULTI", "RELATION"})
"""Kinds of statements that a query without --write may have; MULTI is PIVOT, which makes a type for its own use."""

_NEVER = {
    "LOAD": "extensions cannot be installed or loaded here",
    "SET": "settings cannot be changed here",
    "PRAGMA": "pragmas and IMPORT DATABASE are not allowed here",
    "UPDATE_EXTENSIONS": "extensions cannot be installed or loaded here",
}
"""Kinds of statements that even --write has no use for."""

_TABLES = '`llmseq sql "show tables"` lists tables, "describe TABLE" columns'


def run_sql(
    con: duckdb.DuckDBPyConnection, text: str, *, workspace: Path | None = None, most: int | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """(column names, rows) of the last statement of a user's SQL.

    workspace: None for a query that only reads; the workspace's folder for one that may change tables and use files
    outside of the folder. most: rows to return, the first ones; None for all.
    The connection is of no use for anything else afterwards.
    Raises UsageError for an empty query, LlmseqError for one that has a mistake or goes where it may not.
    """
    import duckdb

    try:
        statements = split(text)
        if not statements:  # nothing but spaces or comments
            raise UsageError("the query is empty", 'for example llmseq sql "show tables"')
        if workspace is None:
            lock_down(con)
            cursor = read_only(con, statements)
        else:
            cursor = _read_and_write(con, statements, workspace)
        columns = [column[0] for column in cursor.description or []]
        if not columns:
            return [], []
        return columns, cursor.fetchall() if most is None else cursor.fetchmany(most)
    except duckdb.PermissionException as error:
        raise _refusal(error, writing=workspace is not None) from error
    except duckdb.Error as error:
        if "requires the extension" in str(error):
            raise _refusal(error, writing=workspace is not None) from error
        if not isinstance(error, (duckdb.ProgrammingError, duckdb.ConversionException)):
            raise
        raise LlmseqError(" ".join(str(error).partition("\n\nLINE")[0].split()), _TABLES) from error


def lock_down(con: duckdb.DuckDBPyConnection) -> None:
    """From now on the connection reads the tables of the databases that it has open, and reaches nothing else.

    DuckDB lets a query overwrite the file of an open database even without external access: so no file of this machine
    can be opened at all any more.
    """
    con.execute("set temp_directory = ''")  # a query that needs more than the memory says so
    _close_doors(con)
    con.execute("set disabled_filesystems = 'LocalFileSystem'")
    con.execute("set lock_configuration = true")


def read_only(con: duckdb.DuckDBPyConnection, statements: list[Statement]) -> duckdb.DuckDBPyConnection:
    """Runs statements that read, on a connection that is locked down. Raises LlmseqError for other statements."""
    for statement in statements:
        if statement.kind not in _READING:
            never = _NEVER.get(statement.kind)
            raise LlmseqError(
                never or f"a query only reads: '{statement.verb}' is not allowed",
                "leave it out" if never else "use --write to change tables, or to read and write files",
            )
    for statement in statements:
        con.execute(statement.text)
    return con


def _read_and_write(
    con: duckdb.DuckDBPyConnection, statements: list[Statement], workspace: Path
) -> duckdb.DuckDBPyConnection:
    for statement in statements:
        if statement.kind in _NEVER and not statement.sets_variable and not statement.copies_database:
            raise LlmseqError(_NEVER[statement.kind], "leave it out")
    named = named_files(statements, workspace)
    con.execute("set allowed_paths = ?", [named.files])
    con.execute("set allowed_directories = ?", [named.folders])
    _close_doors(con)
    con.execute("set lock_configuration = true")
    for text in named.statements:
        con.execute(text)
    return con


def _close_doors(con: duckdb.DuckDBPyConnection) -> None:
    """No network, no files but those allowed before, no extensions, no variables of this program."""
    con.execute("set python_enable_replacements = false")
    con.execute("set autoinstall_known_extensions = false")
    con.execute("set autoload_known_extensions = false")
    con.execute("set enable_external_access = false")


def _refusal(error: Exception, *, writing: bool) -> LlmseqError:
    said = " ".join(str(error).partition("\n\nLINE")[0].split()).removeprefix("Permission Error: ")
    if writing:
        return LlmseqError(
            f"the query may not do this: {said}",
            "it can use files of this machine that it names as plain text, outside of the workspace's folder",
        )
    return LlmseqError(
        "a query reads the workspace's tables and no files", "use --write to read and write files that it names"
    )
