"""Parse users' SQL: statements, their kinds and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from llmseq_cli.store.instance import scratch

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Token:
    """start: position of its first byte in the statement. kind: DuckDB's name, such as string_const."""

    start: int
    kind: str
    text: str

    @property
    def word(self) -> str:
        return self.text.lower()

    @property
    def string(self) -> str | None:
        """The content of a plain string in single or double quotes, None for anything else."""
        for quote in ("'", '"'):
            if len(self.text) > 1 and self.text[0] == self.text[-1] == quote:
                return self.text[1:-1].replace(quote * 2, quote)
        return None


@dataclass(frozen=True)
class Statement:
    """text: of this statement only. kind: DuckDB's name, such as SELECT, COPY or PRAGMA."""

    text: str
    kind: str

    @cached_property
    def tokens(self) -> list[Token]:
        """Its words, symbols and strings, without comments."""
        import duckdb

        content = self.text.encode()  # DuckDB counts bytes
        found = duckdb.tokenize(self.text)
        ends = [start for start, _ in found[1:]] + [len(content)]
        return [
            Token(start, str(kind).rpartition(".")[2], content[start:end].decode().strip())
            for (start, kind), end in zip(found, ends, strict=True)
            if not str(kind).endswith("comment")
        ]

    @property
    def verb(self) -> str:
        return self.tokens[0].word if self.tokens else ""

    @property
    def sets_variable(self) -> bool:
        return self.kind == "SET" and (self.verb == "use" or [token.word for token in self.tokens[1:2]] == ["variable"])

    @property
    def copies_database(self) -> bool:
        return self.kind == "PRAGMA" and self.verb == "copy"


def split(text: str) -> list[Statement]:
    """Split a text into statements. Raises DuckDB's error if it cannot be parsed."""
    with scratch() as con:
        return [Statement(found.query.strip(), _kind(found)) for found in con.extract_statements(text)]


def _kind(statement: duckdb.Statement) -> str:
    try:
        return str(statement.type).rpartition(".")[2]
    except ValueError:  # DuckDB's Python package has no enum value for UPDATE EXTENSIONS
        return "UPDATE_EXTENSIONS"
