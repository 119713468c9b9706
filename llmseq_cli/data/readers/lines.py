"""Text files as lines: JSON lines by DuckDB, Python literals by `ast.literal_eval`, never by eval."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.readers.files import LONGEST_LINE, address, quoted, unreadable
from llmseq_cli.data.readers.rejections import Rejection, take_rejects

if TYPE_CHECKING:
    import duckdb

_LINES_PER_BATCH = 20_000


def lines_of(file: str, encoding: str = "utf-8") -> str:
    """SQL of a table with one row a line: `line`, NULL where it is blank. Compression, BOM and CRLF are dealt with.

    A line that is not in the encoding is left out; take_rejects has it after the scan.

    encoding: "utf-8" or "latin-1". The rows come in the order of the file, so that `row_number() over ()` is the line's
    number.
    """
    return (
        f"read_csv({address(file)}, header = false, auto_detect = false, columns = {{'line': 'VARCHAR'}},"
        f" delim = chr(1), quote = '', escape = '', strict_mode = false, max_line_size = {LONGEST_LINE},"
        f" store_rejects = true, rejects_limit = 0, encoding = {quoted(encoding)})"
    )


def first_line(con: duckdb.DuckDBPyConnection, file: str) -> str:
    """The first line that is not blank; '' for binary files and files without one."""
    return next(iter(first_lines(con, file, 1)), "")


def first_lines(con: duckdb.DuckDBPyConnection, file: str, n: int) -> list[str]:
    """The first n lines that are not blank. Raises LlmseqError for a file that cannot be read."""
    import duckdb

    # A cursor of its own, so that a failure does not end the caller's transaction.
    with con.cursor() as cursor:
        try:
            rows = cursor.execute(f"select line from {lines_of(file)} where trim(line) <> '' limit {n}").fetchall()
        except duckdb.Error as error:
            raise unreadable(file, error) from error
    return [line for (line,) in rows]


def is_json(line: str) -> bool:
    """Whether a line is a JSON object (rather than a Python literal)."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def parse_record(line: str) -> dict[str, Any] | str:
    """The object that a line holds, as JSON or as a Python literal; or the reason why it holds none."""
    try:
        record = json.loads(line)
    except ValueError:
        try:
            record = ast.literal_eval(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return "the line is neither JSON nor a Python literal"
    return record if isinstance(record, dict) else "the line holds no object"


def storable(text: str) -> str:
    """A text that UTF-8 can hold: an escaped half of a surrogate pair becomes U+FFFD, two halves their character."""
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
    """Batches of all lines, '' for blank ones. Raises LlmseqError for an unreadable file.

    rejects: gets the lines that are not in the encoding, and in no batch, once all are read.
    """
    import duckdb

    # A cursor of its own: the caller writes what it reads through the connection.
    reader = con.cursor()
    try:
        reader.execute(f"select line from {lines_of(file, encoding)}")
        while batch := reader.fetchmany(_LINES_PER_BATCH):
            yield [line or "" for (line,) in batch]
        rejects += take_rejects(reader)
    except duckdb.Error as error:
        raise unreadable(file, error) from error
    finally:
        reader.close()
