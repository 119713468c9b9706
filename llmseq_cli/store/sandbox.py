"""Users' SQL: what it may read and write.

Without --write, a query sees only the tables and views of its workspace. With it, a query can also read and write files
that it names as plain text, but never the workspace's own files.
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
"""Kinds of statements allowed without --write; MULTI is PIVOT, which creates a type for its own use."""

_NEVER = {
    "LOAD": "extensions cannot be installed or loaded here",
    "SET": "settings cannot be changed here",
    "PRAGMA": "pragmas and IMPORT DATABASE are not allowed here",
    "UPDATE_EXTENSIONS": "extensions cannot be installed or loaded here",
}
"""Kinds of statements that are not allowed even with --write."""

_TABLES = '`llmseq sql "show tables"` lists tables, "describe TABLE" columns'


def run_sql(
    con: duckdb.DuckDBPyConnection, text: str, *, workspace: Path | None = None, most: int | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """(column names, rows) of the last statement of a user's SQL.

    workspace: None for a read-only query; the workspace's folder for one that may change tables and use files outside
    the folder. most: number of rows to return, None for all. The connection cannot be used for anything else
    afterwards. Raises UsageError for an empty query, LlmseqError for an invalid or forbidden one.
    """
    import duckdb

    try:
        statements = split(text)
        if not statements:  # only spaces or comments
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
    """Limit the connection to reading the tables of its open databases, and nothing else.

    DuckDB lets a query overwrite the file of an open database even without external access, so we forbid opening any
    local file.
    """
    con.execute("set temp_directory = ''")  # a query that needs more memory then fails with an error
    _close_doors(con)
    con.execute("set disabled_filesystems = 'LocalFileSystem'")
    con.execute("set lock_configuration = true")


def read_only(con: duckdb.DuckDBPyConnection, statements: list[Statement]) -> duckdb.DuckDBPyConnection:
    """Run reading statements on a locked-down connection. Raises LlmseqError for other statements."""
    for statement in statements:
        if statement.kind not in _READING:
            never = _NEVER.get(statement.kind)
            raise LlmseqError(
                never or f"a query can only read: '{statement.verb}' is not allowed",
                "leave it out" if never else "use --write to change tables or to read and write files",
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
    """Forbid the network, files not allowed before, extensions, and variables of this program."""
    con.execute("set python_enable_replacements = false")
    con.execute("set autoinstall_known_extensions = false")
    con.execute("set autoload_known_extensions = false")
    con.execute("set enable_external_access = false")


def _refusal(error: Exception, *, writing: bool) -> LlmseqError:
    said = " ".join(str(error).partition("\n\nLINE")[0].split()).removeprefix("Permission Error: ")
    if writing:
        return LlmseqError(
            f"the query may not do this: {said}",
            "it can use local files that it names as plain text, outside the workspace's folder",
        )
    return LlmseqError(
        "a query can read the workspace's tables, but no files", "use --write to read and write files that it names"
    )
