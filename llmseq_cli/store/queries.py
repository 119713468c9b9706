"""Named queries: the text of the files under `sql/`."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def sql_root() -> Path:
    """The folder of SQL files: inside the package where it was installed from a wheel, beside it in a clone."""
    packaged = _PACKAGE / "sql"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "sql"


@cache
def query(name: str) -> str:
    """Text of sql/<name>.sql, for example query("ingest/k_core")."""
    return (sql_root() / f"{name}.sql").read_text(encoding="utf-8")
