"""Open a file as a table, by its name, its first lines and the user's options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmseq_cli.data.readers.csv_files import sniff_csv
from llmseq_cli.data.readers.files import plain_name
from llmseq_cli.data.readers.lines import first_line, first_lines, is_document, is_json, parse_record
from llmseq_cli.data.readers.list_tables import SequenceTable, looks_like_sequences
from llmseq_cli.data.readers.table_files import JsonTable, LiteralTable, ParquetTable, TableFile
from llmseq_cli.errors import LlmseqError

if TYPE_CHECKING:
    import duckdb

_LOOKED_AT = 20


def open_table(con: duckdb.DuckDBPyConnection, file: str, quote: str | None = None) -> TableFile:
    """The table in a file. quote: of CSV, from the user. Raises LlmseqError if it is not a table."""
    if plain_name(file).endswith(".parquet"):
        return ParquetTable(con, file)
    lines = first_lines(con, file, _LOOKED_AT)
    if not lines or "\x00" in lines[0]:
        raise LlmseqError(f"{file} is not text", "give CSV, TSV, JSON or Parquet (named .parquet)")
    if is_document(file) or 2 * sum(map(is_json, lines)) > len(lines):
        return JsonTable(con, file)
    if 2 * sum(isinstance(parse_record(line), dict) for line in lines) > len(lines):
        return LiteralTable(con, file)
    if is_json(lines[0]) and lines[0].lstrip().startswith("{"):
        return JsonTable(con, file)
    if looks_like_sequences(con, file):
        return SequenceTable(con, file)
    return sniff_csv(con, file, quote)


def open_records(con: duckdb.DuckDBPyConnection, file: str) -> TableFile:
    """Open a file with one object per line, JSON or Python literals."""
    return JsonTable(con, file) if is_document(file) or is_json(first_line(con, file)) else LiteralTable(con, file)
