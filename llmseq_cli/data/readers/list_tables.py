"""Files with one row per session: a column of lists, or lines with a user and the items, separated by spaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import duckdb
import numpy as np

from llmseq_cli.data.readers.files import identifier, unreadable
from llmseq_cli.data.readers.lines import first_lines, lines_of
from llmseq_cli.data.readers.rejections import Rejection, rows_are_lines
from llmseq_cli.data.readers.table_files import SNIFFED_LINES, TableFile

_LIST = '["VARCHAR"]'


@dataclass
class ListTable(TableFile):
    """Expands a table whose rows contain lists of items (and perhaps times) to one row per item.

    lists: the aliases whose columns contain lists.
    """

    inner: TableFile
    lists: tuple[str, ...]

    def __post_init__(self) -> None:
        self.con, self.file, self.columns = self.inner.con, self.inner.file, self.inner.columns

    @property
    def torn(self) -> list[Rejection]:
        return self.inner.torn

    def needs_mending(self, scanned: int, set_aside: int) -> bool:
        return self.inner.needs_mending(len(self._lengths), set_aside)

    def mend(self) -> None:
        self.inner.mend()
        self.__dict__.pop("_lengths", None)

    def scan(self, columns: dict[str, str]) -> str:
        self._columns = columns
        lists = {alias: _as_list(identifier(alias)) for alias in self.lists if alias in columns}
        longest = ", ".join(f"coalesce(len({one}), 0)" for one in lists.values())
        places = f"unnest(range(1, greatest(1, {longest}) + 1))"
        chosen = ", ".join(
            f"{lists[alias]}[place] as {identifier(alias)}" if alias in lists else identifier(alias)
            for alias in columns
        )
        return f"(select problem, {chosen} from (select *, {places} as place from {self.inner.scan(columns)}))"

    @cached_property
    def _lengths(self) -> np.ndarray:
        """The number of expanded rows for each row of the inner table."""
        columns = self._columns
        longest = ", ".join(f"coalesce(len({_as_list(identifier(one))}), 0)" for one in self.lists if one in columns)
        with self.con.cursor() as cursor:
            try:
                rows = cursor.execute(
                    f"select greatest(1, {longest}) as n from {self.inner.scan(columns)}"
                ).fetchnumpy()
            except (duckdb.Error, UnicodeDecodeError) as error:
                raise unreadable(self.file, error) from error
        return np.ma.getdata(rows["n"]).astype(np.int64)

    def locate(self, numbers: np.ndarray, rejects: list[Rejection], scanned: int) -> tuple[np.ndarray, list[Rejection]]:
        rows = np.searchsorted(np.cumsum(self._lengths), numbers - 1, side="right") + 1
        return self.inner.locate(rows, rejects, len(self._lengths))


def _as_list(text: str) -> str:
    """SQL for a list from JSON text; NULL if the text is not a list."""
    valid = f"json_valid({text}) and json_type({text}) = 'ARRAY'"
    return f"(case when {valid} then from_json({text}, '{_LIST}') end)"


@dataclass
class SequenceTable(TableFile):
    """Lines with a user and the user's items, separated by spaces, as in S3-Rec's files."""

    con: duckdb.DuckDBPyConnection
    file: str

    def __post_init__(self) -> None:
        self.columns = ["user_id", "items"]

    def scan(self, columns: dict[str, str]) -> str:
        texts = {
            "user_id": "string_split(trim(line), ' ')[1]",
            "items": "to_json(list_filter(string_split(trim(line), ' ')[2:], lambda x: x <> ''))::varchar",
        }
        chosen = ", ".join(f"{texts[column]} as {identifier(alias)}" for alias, column in columns.items())
        blank = "case when coalesce(trim(line), '') = '' then '' end"
        return f"(select {blank} as problem, {chosen} from {lines_of(self.file)})"

    def locate(self, numbers: np.ndarray, rejects: list[Rejection], scanned: int) -> tuple[np.ndarray, list[Rejection]]:
        return rows_are_lines(numbers, rejects, scanned)


def looks_like_sequences(con: duckdb.DuckDBPyConnection, file: str) -> bool:
    """Whether a file's lines are integers separated by spaces, not equally many in all of them."""
    lines = [words for line in first_lines(con, file, SNIFFED_LINES) if (words := line.split())]
    whole = all(word.isdigit() for words in lines for word in words)
    several = sum(len(words) > 1 for words in lines)  # a user may come without items
    return whole and len(lines) > 1 and len({len(words) for words in lines}) > 1 and 2 * several > len(lines)


def holds_lists(values: list[str]) -> bool:
    """Whether most values of a sample are JSON lists."""
    return bool(values) and 2 * sum(one.startswith("[") and one.endswith("]") for one in values) > len(values)
