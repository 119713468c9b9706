"""Named queries: the files under `sql/`, and their results."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def sql_root() -> Path:
    """The folder of SQL files: inside the package if it was installed from a wheel, next to it in a clone."""
    packaged = _PACKAGE / "sql"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "sql"


@cache
def query(name: str) -> str:
    """Text of sql/<name>.sql, for example query("ingest/k_core")."""
    return (sql_root() / f"{name}.sql").read_text(encoding="utf-8")


def rows_of(
    con: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The result of a named query, one dict per row."""
    cursor = con.execute(query(name), parameters or {})
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def copy_to(
    con: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any], file: Path, options: str, columns: str = ""
) -> None:
    """Write the result of a named query to a file, with these options of `copy`. columns: SQL appended to its
    columns."""
    select = query(name).replace("\nfrom ", f"{columns}\nfrom ") if columns else query(name)
    path = str(file).replace("'", "''")
    con.execute(f"copy ({select}) to '{path}' ({options})", parameters)
