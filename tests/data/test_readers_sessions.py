"""Sessions to score: read_sessions."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from support.reading import write

from llmseq_cli.data.readers import read_sessions
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import SilentProgress


def sessions(path: Path) -> list[tuple]:
    with duckdb.connect() as con:
        read_sessions(con, str(path), SilentProgress())
        return con.execute(
            "select session_id, item_id, time::varchar, input_order from staged_session_item order by input_order"
        ).fetchall()


def test_items_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = sessions(write(tmp_path, "s.csv", 'session,item\ns1,b\ns1, a \n,x\ns2,\n"s2","c,d"\n'))
    assert [row[:3] for row in rows] == [("s1", "b", None), ("s1", "a", None), ("s2", "c,d", None)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.csv", "session,item,time\ns,i,1577836800\n"),
        ("s.jsonl", '{"session": "s", "item": "i", "time": "2020-01-01T02:00:00+02:00"}\n'),
    ],
)
def test_times_are_read_where_there_are_any(tmp_path: Path, name: str, content: str) -> None:
    assert sessions(write(tmp_path, name, content)) == [("s", "i", "2020-01-01 00:00:00", 1)]


def test_typed_times_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    with duckdb.connect() as con:
        con.execute(f"copy (select 7 as session_id, 8 as item_id, date '2020-01-01' as time) to '{path}'")
    assert sessions(path) == [("7", "8", "2020-01-01 00:00:00", 1)]


def test_a_file_without_sessions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LlmseqError, match="looks like the user") as caught:
        sessions(write(tmp_path, "s.csv", "a,item\n1,2\n"))
    assert caught.value.hint
    with pytest.raises(LlmseqError, match="does not exist"):
        sessions(tmp_path / "none.csv")


def test_a_quote_that_nothing_closes_costs_its_row_only(tmp_path: Path) -> None:
    rows = sessions(write(tmp_path, "s.csv", 'session,item,time\ns1,a,1\ns1,"b,2\ns1,c,3\ns2,d,4\n'))
    assert [row[1] for row in rows] == ["a", "c", "d"]
