"""Text files as lines: DuckDB parses JSON lines, `ast.literal_eval` (never `eval`) Python literals."""

from __future__ import annotations

import ast
import gzip
import json
import os
import warnings
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.readers.files import LONGEST_LINE, address, is_remote, quoted, unreadable
from llmseq_cli.data.readers.rejections import Rejection, take_rejects

if TYPE_CHECKING:
    import duckdb

_LINES_PER_BATCH = 20_000
_SNIFFED_BYTES = 1 << 16
_SNIFFED_LINES = 200


def lines_of(file: str, encoding: str = "utf-8") -> str:
    """SQL of a table with one row per line: `line`, NULL if it is blank. Handles compression, BOM and CRLF.

    A line that is not in the encoding is left out; take_rejects returns it after the scan. In JSON that spans many
    lines (an array, or multi-line objects), each object counts as a line.

    encoding: "utf-8" or "latin-1". Rows are in file order, so `row_number() over ()` is the line number.
    """
    if is_document(file):
        form = "array" if _start_of(file).lstrip().startswith("[") else "unstructured"
        return f"(select json::varchar as line from {_objects(file, form)})"
    return _text_lines(file, encoding)


def _objects(file: str, form: str) -> str:
    return f"read_json_objects({address(file)}, format = '{form}', maximum_object_size = {LONGEST_LINE})"


def _text_lines(file: str, encoding: str) -> str:
    return (
        f"read_csv({address(file)}, header = false, auto_detect = false, columns = {{'line': 'VARCHAR'}},"
        f" delim = chr(1), quote = '', escape = '', strict_mode = false, max_line_size = {LONGEST_LINE},"
        f" store_rejects = true, rejects_limit = 0, encoding = {quoted(encoding)})"
    )


def is_document(file: str) -> bool:
    """Whether a file is one JSON array or has multi-line objects, rather than one object per line."""
    start = _start_of(file).lstrip()
    if not start.startswith(("{", "[")):
        return False
    first, end, rest = start.partition("\n")
    try:
        return isinstance(json.loads(first), list) and _holds_objects(first)
    except (ValueError, RecursionError):
        pass
    if start.startswith("["):
        return start[1:].lstrip()[:1] in ("{", "")
    # An object that continues on the next line; after Python literals and broken lines, another object follows.
    following = rest.lstrip()
    return bool(end) and following[:1] not in ("", "{") and first.rstrip()[-1] in "{[,:"


def _holds_objects(array: str) -> bool:
    return array.strip()[1:].lstrip().startswith("{")


def _start_of(file: str) -> str:
    """The first characters of a file; '' if they cannot be read."""
    if ".parquet" not in file and (is_remote(file) or file.lower().endswith(".zst")):
        changed = 0 if is_remote(file) else os.stat(file).st_mtime_ns
        return _start_by_duckdb(file, changed)
    return _first_bytes(file).decode("utf-8-sig", errors="replace")


@lru_cache(maxsize=64)
def _start_by_duckdb(file: str, changed: int) -> str:
    """The same for a file that only DuckDB opens. changed: modification time, so that a rewritten file is read
    again."""
    import duckdb

    with duckdb.connect() as con:
        try:
            select = f"select coalesce(line, '') from {_text_lines(file, 'utf-8')} limit {_SNIFFED_LINES}"
            lines = [line for (line,) in con.execute(select).fetchall()]
            if lines:
                return "\n".join(lines)[:_SNIFFED_BYTES]
            # An array on one line, which is too long to be read as a line.
            con.execute(f"select 1 from {_objects(file, 'array')} limit 1").fetchall()
            return "[{"
        except (duckdb.Error, UnicodeDecodeError):
            return ""


def _first_bytes(file: str) -> bytes:
    if is_remote(file) or ".parquet" in file or file.lower().endswith(".zst"):
        return b""
    try:
        with gzip.open(file) if file.lower().endswith(".gz") else open(file, "rb") as opened:
            return opened.read(_SNIFFED_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def first_line(con: duckdb.DuckDBPyConnection, file: str) -> str:
    """The first non-blank line; '' for binary files and files without one."""
    return next(iter(first_lines(con, file, 1)), "")


def first_lines(con: duckdb.DuckDBPyConnection, file: str, n: int) -> list[str]:
    """The first n non-blank lines. Raises LlmseqError for a file that cannot be read."""
    import duckdb

    plain = _plain_lines(file, n)
    if plain is not None:
        return plain
    # Use a separate cursor, so that a failure does not end the caller's transaction.
    with con.cursor() as cursor:
        try:
            rows = cursor.execute(f"select line from {lines_of(file)} where trim(line) <> '' limit {n}").fetchall()
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise unreadable(file, error) from error
    return [line for (line,) in rows]


def _plain_lines(file: str, n: int) -> list[str] | None:
    """The same without DuckDB, which reads megabytes; None if the start of the file is not plain text."""
    start = _first_bytes(file)
    whole = len(start) < _SNIFFED_BYTES
    if not whole:
        start = start[: start.rfind(b"\n") + 1]
    start = start.replace(b"\r\n", b"\n")
    if not start or any(sign in start for sign in b"\r\x00\x01") or is_document(file):
        return None
    try:
        lines = list(islice(filter(str.strip, start.decode("utf-8-sig").split("\n")), n))
    except UnicodeDecodeError:
        return None
    return lines if whole or len(lines) == n else None


def is_json(line: str) -> bool:
    """Whether a line is a JSON object (rather than a Python literal)."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def parse_record(line: str) -> dict[str, Any] | str:
    """The object on a line, as JSON or as a Python literal; or the reason why there is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        try:
            record = _literal(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return "the line is neither JSON nor a Python literal"
    return record if isinstance(record, dict) else "the line is not an object"


def _literal(line: str) -> Any:
    if "\\" not in line:
        return ast.literal_eval(line)
    with warnings.catch_warnings():  # Python warns of invalid escapes in the data
        warnings.simplefilter("ignore")
        return ast.literal_eval(line)


def storable(text: str) -> str:
    """The text as valid UTF-8: a lone surrogate becomes U+FFFD, a surrogate pair its character."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def batches_of_lines(
    con: duckdb.DuckDBPyConnection, file: str, rejects: list[Rejection], encoding: str = "utf-8"
) -> Iterator[list[str]]:
    """All lines in batches, '' for blank ones. Raises LlmseqError for an unreadable file.

    rejects: receives the lines that are not in the encoding (and in no batch) once all are read.
    """
    import duckdb

    # Use a separate cursor: the caller writes through the connection while reading.
    reader = con.cursor()
    try:
        reader.execute(f"select line from {lines_of(file, encoding)}")
        while batch := reader.fetchmany(_LINES_PER_BATCH):
            yield [line or "" for (line,) in batch]
        rejects += take_rejects(reader)
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise unreadable(file, error) from error
    finally:
        reader.close()
