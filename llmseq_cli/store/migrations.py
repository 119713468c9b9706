"""Numbered, append-only migrations of the store: each file of sql/schema is applied once, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.queries import query, sql_root

if TYPE_CHECKING:
    import duckdb

_FIRST_DRAFT = "schema/0001_foundation"
"""The first draft of the schema: its migrations had the same numbers but created other tables."""


def known_migrations() -> list[tuple[int, str]]:
    """(number, query name) of every known migration, in order."""
    files = sorted((sql_root() / "schema").glob("[0-9]*.sql"))
    return [(int(file.name.split("_")[0]), f"schema/{file.stem}") for file in files]


def schema_version(con: duckdb.DuckDBPyConnection) -> int:
    """Number of the last migration applied, 0 for an empty file.

    Raises LlmseqError if the workspace was written by a newer llmseq, or the file is another database.
    """
    import duckdb

    try:
        applied = con.execute("select version, name from migration").fetchall()
    except duckdb.CatalogException as error:
        if con.execute("select 1 from duckdb_tables() where database_name = current_database() limit 1").fetchall():
            raise LlmseqError(
                "this DuckDB file was not made by llmseq", "give another folder with --workspace"
            ) from error
        return 0
    version: int = max((version for version, _ in applied), default=0)
    oldest, newest = known_migrations()[0][0], known_migrations()[-1][0]
    if version < oldest or any(name == _FIRST_DRAFT for _, name in applied):
        raise LlmseqError(
            "this workspace is from before the first release and can no longer be read",
            "give another folder with --workspace and ingest the data again",
        )
    if version > newest:
        raise LlmseqError(
            f"the workspace was written by a newer llmseq (schema {version}, this one knows {newest})",
            "upgrade with `pip install -U llmseq`, or give another folder with --workspace",
        )
    return version


def migrate(con: duckdb.DuckDBPyConnection) -> None:
    """Apply missing migrations. Each migration and its record are one transaction, so a kill leaves all or nothing of
    it."""
    done = schema_version(con)
    for number, name in known_migrations():
        if number <= done:
            continue
        con.execute("begin transaction")
        try:
            con.execute(
                "create table if not exists migration (version integer primary key, name varchar, applied_at timestamp)"
            )
            con.execute(query(name))
            con.execute("insert into migration values (?, ?, current_localtimestamp())", [number, name])
            con.execute("commit")
        except BaseException:
            con.execute("rollback")
            raise
