"""Tables: CSV and its kin, JSON lines, Parquet; their columns, times and bad rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest
import zstandard
from support.reading import read_files, write

from llmseq_cli.errors import LlmseqError

ROWS = [("u1", "i1", "2020-01-01T00:00:00"), ("u2", "i2", "2020-01-02T00:00:00")]
TIMES = ["1577836800", "1577923200"]
CSV = f"user_id,item_id,timestamp\nu1,i1,{TIMES[0]}\nu2,i2,{TIMES[1]}\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.tsv", CSV.replace(",", "\t")),
        ("semicolon.csv", CSV.replace(",", ";")),
        ("pipe.csv", CSV.replace(",", "|")),
        ("crlf.csv", CSV.replace("\n", "\r\n")),
        ("cr.csv", CSV.replace("\n", "\r")),
        ("mixed.csv", CSV.replace("\n", "\r\n", 1)),
        ("mixed2.csv", CSV[:-1].replace("\nu2", "\r\nu2") + "\n"),
        ("no_end.csv", CSV.rstrip()),
        ("bom.csv", "\ufeff" + CSV),
        ("headerless.csv", CSV.partition("\n")[2]),
        ("quoted.csv", '"user_id","item_id","timestamp"\n"u1","i1","1577836800"\n"u2","i2","1577923200"\n'),
        ("rated.csv", f"userId,movieId,rating,timestamp\nu1,i1,4.5,{TIMES[0]}\nu2,i2,3,{TIMES[1]}\n"),
        ("amazon2014.csv", f"u1,i1,5.0,{TIMES[0]}\nu2,i2,1.0,{TIMES[1]}\n"),
        ("amazon2023.csv", f"user_id,parent_asin,rating,timestamp\nu1,i1,5.0,{TIMES[0]}000\nu2,i2,1.0,{TIMES[1]}000\n"),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.csv.zst", zstandard.compress(CSV.encode())),
        (
            "a.jsonl",
            '{"user": "u1", "item": "i1", "time": 1577836800}\n{"user": "u2", "item": "i2", "time": 1577923200}',
        ),
        (
            "blank.jsonl",
            '\n{"user": "u1", "item": "i1", "ts": "2020-01-01"}\n\n{"ts": "2020-01-02", "user": "u2", "item": "i2"}\n',
        ),
        ("dates.csv", "session,product,date\nu1,i1,2020-01-01\nu2,i2,2020-01-02\n"),
        ("german.csv", "session,product,date\nu1,i1,01.01.2020\nu2,i2,02.01.2020\n"),
        ("words.csv", 'customer,sku,when\nu1,i1,"January 1, 2020"\nu2,i2,"January 2, 2020"\n'),
    ],
)
def test_a_table_reads_whatever_its_form(tmp_path: Path, name: str, content: str | bytes) -> None:
    result = read_files(write(tmp_path, name, content))
    assert result.rows == ROWS or (name == "german.csv" and result.rows == ROWS[:1])
    assert result.report.format == "table"
    assert result.report.files == [str(tmp_path / name)]


@pytest.mark.parametrize(
    ("kind", "value", "time"),
    [
        ("timestamp", "2020-01-01 10:00", "2020-01-01T10:00:00"),
        ("timestamptz", "2020-01-01 10:00+02:00", "2020-01-01T08:00:00"),
        ("date", "2020-01-01", "2020-01-01T00:00:00"),
        ("timestamp_ns", "2020-01-01 10:00", "2020-01-01T10:00:00"),
        ("bigint", "1577836800", "2020-01-01T00:00:00"),
        ("double", "1577836800.5", "2020-01-01T00:00:00.500000"),
        ("varchar", "2020-01-01T10:00:00Z", "2020-01-01T10:00:00"),
    ],
)
def test_parquet_with_typed_times(tmp_path: Path, kind: str, value: str, time: str) -> None:
    path = tmp_path / "a.parquet"
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        con.execute(f"copy (select 1 as user_id, 12 as item_id, '{value}'::{kind} as t) to '{path}'")
    result = read_files(path, columns={"time": "t"})
    assert result.rows == [("1", "12", time)]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2020-01-01T00:00:00+02:00", "2019-12-31T22:00:00"),
        ("2020-01-01T00:00:00.5-0530", "2020-01-01T05:30:00.500000"),
        ("2020-01-01 00:00+02", "2019-12-31T22:00:00"),
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00"),
        ("2020-01-01 00:00:00 UTC", "2020-01-01T00:00:00"),
        ("2020-01-01T00:00:00", "2020-01-01T00:00:00"),
        ("20200101", "2020-01-01T00:00:00"),
        ("1577836800", "2020-01-01T00:00:00"),
        ("1577836800000", "2020-01-01T00:00:00"),
        ("1577836800000000", "2020-01-01T00:00:00"),
        ("1577836800000000000", "2020-01-01T00:00:00"),
        ("1.5778368e9", "2020-01-01T00:00:00"),
        ("0", "1970-01-01T00:00:00"),
        ("7", "1970-01-01T00:00:07"),
    ],
)
def test_a_time_is_understood(tmp_path: Path, text: str, time: str) -> None:
    assert read_files(write(tmp_path, "a.csv", f"user,item,time\nu,i,{text}\n")).rows == [("u", "i", time)]


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        ("2020-01-01", "infinity", "time out of range: 'infinity'"),
        ("2020-01-01", "0001-01-01", "time out of range: '0001-01-01'"),
        ("2020-01-01", "yesterday", "no time: 'yesterday'"),
        ("2020-01-01", "", "no time: ''"),
        ("1577836800", "0", "no time: '0'"),
        ("1577836800", "-1", "no time: '-1'"),
        ("1577836800", "1577836800000000000000", "no time: '1577836800000000000000'"),
        ("1577836800", "nan", "no time: 'nan'"),
        ("3", "-1", "no time: '-1'"),
    ],
)
def test_a_time_that_is_none_costs_its_row(tmp_path: Path, good: str, bad: str, reason: str) -> None:
    lines = [f"u,i,{good}"] * 3 + [f"u,i,{bad}"]
    result = read_files(write(tmp_path, "a.csv", "user,item,time\n" + "\n".join(lines)))
    assert len(result.rows) == 3
    assert result.rejected == [("a.csv", 5, reason)]
    assert (result.report.rows_read, result.report.rejected) == (4, 1)


def test_bad_rows_are_set_aside_with_their_lines(tmp_path: Path) -> None:
    lines = [
        b"user,item,time",
        b"u1,i1,1577836800",
        b"u2,i2",
        b"u3,i3,1577836800,x",
        b"u\xff,i4,1577836800",
        b",i5,1577836800",
        b"u6, ,1577836800",
        b'"u"7,i7,1577836800',
        b"u8,i8,1577836801",
    ]
    result = read_files(write(tmp_path, "a.csv", b"\n".join(lines)))
    assert [row[0] for row in result.rows] == ["u1", "u8"]
    assert [(line, reason) for _, line, reason in result.rejected] == [
        (3, "3 columns expected, 2 found"),
        (4, "3 columns expected, 4 found"),
        (5, "the line is not UTF-8"),
        (6, "no user"),
        (7, "no item"),
        (8, "a quote is never closed, or text follows it"),
    ]
    assert (result.report.rows_read, result.report.rejected) == (8, 6)
    assert any("iconv" in text for text in result.messages)
    assert any(text.startswith("6 bad rows were set aside, the first: ") for text in result.messages)


def test_lines_are_right_after_blank_lines_and_quoted_line_ends(tmp_path: Path) -> None:
    text = (
        'user,item,time\n"u\n1",i1,1577836800\n\nu2,i2\nu3,i3,never\n"u\n4",i4,1577836800\nu5,i5,x,y\n,i6,1577836800\n'
    )
    result = read_files(write(tmp_path, "a.csv", text))
    assert [row[0] for row in result.rows] == ["u\n1", "u\n4"]
    assert [(line, reason[:7]) for _, line, reason in result.rejected] == [
        (5, "3 colum"),
        (6, "no time"),
        (9, "3 colum"),
        (10, "no user"),
    ]


def test_a_quote_that_never_ends_is_told(tmp_path: Path) -> None:
    result = read_files(
        write(tmp_path, "a.csv", 'user,item,time\nu1,i1,1577836800\n"u2,i2,1577836800\nu3,i3,1577836800\n')
    )
    assert [row[0] for row in result.rows] == ["u1", "u3"]
    assert result.rejected == [("a.csv", 3, "a quote opens and is never closed; reading continues at line 4")]


def test_bad_lines_of_json_are_set_aside(tmp_path: Path) -> None:
    lines = [
        b'{"user": "u", "item": 3, "time": 1577836800}',
        b"",
        b"{oops",
        b'{"user": "\xff"}',
        b'{"item": 1}',
        b"[1]",
    ]
    result = read_files(write(tmp_path, "a.jsonl", b"\r\n".join(lines)))
    assert result.rows == [("u", "3", "2020-01-01T00:00:00")]
    assert [rejection[1:] for rejection in result.rejected] == [
        (3, "the line is not JSON"),
        (4, "the line is not UTF-8"),
        (5, "no user"),
        (6, "the line is not an object"),
    ]


def test_numbers_of_lines_start_anew_in_each_file(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", CSV + "u3,i3,never\n")
    write(tmp_path, "b.csv", "user_id,item_id,timestamp\nu4,,1577836800\n" + CSV.partition("\n")[2])
    result = read_files(tmp_path / "*.csv")
    assert result.rows == ROWS * 2
    assert [rejection[:2] for rejection in result.rejected] == [("a.csv", 4), ("b.csv", 2)]
    assert read_files(tmp_path).rows == result.rows


@pytest.mark.parametrize("bad", ["u3,i3,never", "u3,i3", ",i3,1577836800"])
def test_strict_fails_at_the_first_bad_row(tmp_path: Path, bad: str) -> None:
    path = write(tmp_path, "a.csv", CSV + bad + "\n")
    with pytest.raises(LlmseqError, match=r"a\.csv:4: ") as caught:
        read_files(path, strict=True)
    assert "--strict" in caught.value.hint


def test_ids_are_texts_of_any_kind(tmp_path: Path) -> None:
    text = 'user,item,time\n"Zoë, ""Z""",日本 茶,1\n007,1e5,2\n  padded ,😀,3\n'
    assert [row[:2] for row in read_files(write(tmp_path, "a.csv", text)).rows] == [
        ('Zoë, "Z"', "日本 茶"),
        ("007", "1e5"),
        ("padded", "😀"),
    ]


def test_columns_can_be_named_or_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "when,who,what\n1,u,i\n2,u,j\n")
    for columns in ({"user": "who", "item": "what", "time": "when"}, {"user": "2", "item": "3", "time": "1"}):
        assert [row[:2] for row in read_files(path, columns=columns).rows] == [("u", "i"), ("u", "j")]


def test_titles_and_categories_in_the_interactions_describe_items(tmp_path: Path) -> None:
    rows = ["u,b,1,Bread &amp; Butter,Bakery", "u,a,2,,Fruit", "v,b,3,Other,Other", "v,a,4,Apple,Fruit"]
    text = "\n".join(["user,item,time,title,category", *rows])
    result = read_files(write(tmp_path, "a.csv", text))
    assert [item[:3] for item in result.items] == [("b", "Bread & Butter", "Bakery"), ("a", "Apple", "Fruit")]


def test_a_table_of_items_keeps_every_attribute(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", CSV)
    items = write(
        tmp_path, "items.csv", "id,name,category,price\ni1,Tea,Drinks,2.50\n,Lost,X,1\ni2,,,\ni1,Again,Y,3\nbad\n"
    )
    result = read_files(path, items=[items])
    assert result.items[0] == ("i1", "Tea", "Drinks", {"title": "Tea", "categories": "Drinks", "price": "2.50"})
    assert [item[0] for item in result.items] == ["i1", "i2"]
    assert result.rejected == [("items.csv", 3, "no item"), ("items.csv", 6, "4 columns expected, 1 found")]
    assert result.report.item_files == [str(items)]
    assert result.report.rows_read == 2
    with pytest.raises(LlmseqError, match=r"items\.csv:3: no item"):
        read_files(path, items=[items], strict=True)


@pytest.mark.parametrize(("last", "time"), [("13/02/2020", "2020-02-13"), ("02/13/2020", "2020-02-13")])
def test_day_and_month_are_told_by_all_rows(tmp_path: Path, last: str, time: str) -> None:
    rows = "u,i,01/02/2020\n" * 1500 + f"u,i,{last}\n" * 2
    result = read_files(write(tmp_path, "a.csv", "user,item,time\n" + rows))
    assert result.rows[-1][2] == time + "T00:00:00"
    assert result.rows[0][2] == ("2020-02-01" if last.startswith("13") else "2020-01-02") + "T00:00:00"
    assert result.rejected == []


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_line_of_megabytes_is_set_aside(tmp_path: Path, ending: str) -> None:
    row = '{{"user": "{}", "item": "i", "time": 1}}\n' if ending == "jsonl" else "{},i,1\n"
    text = (
        ("" if ending == "jsonl" else "user,item,time\n")
        + row.format("u")
        + row.format("x" * 5_000_000)
        + row.format("v")
    )
    result = read_files(write(tmp_path, f"a.{ending}", text))
    assert [user for user, _, _ in result.rows] == ["u", "v"]
    assert result.rejected == [(f"a.{ending}", 2 + (ending == "csv"), "the line is too long")]


def test_ids_of_parquet_that_became_floats_are_integers_again(tmp_path: Path) -> None:
    path, items = tmp_path / "a.parquet", tmp_path / "items.parquet"
    with duckdb.connect() as con:
        values = "(12.0::double, 7::bigint, 1), (1.5, 8, 2), ('nan'::double, 9, 3), (null, 9, 4), (1e300, 9, 5)"
        con.execute(f"copy (select * from (values {values}) as t(user_id, item_id, time)) to '{path}'")
        con.execute(f"copy (select 7.0::double as item_id, 'T' as title, ['b', 'a'] as category) to '{items}'")
    result = read_files(path, items=[items])
    assert [row[:2] for row in result.rows] == [("12", "7"), ("1.5", "8"), ("1e+300", "9")]
    assert [rejection[1:] for rejection in result.rejected] == [(3, "no user"), (4, "no user")]
    assert result.items == [("7", "T", "a_b", {"title": "T", "categories": "b, a"})]


def test_a_table_of_items_may_lie_beside_the_interactions(tmp_path: Path) -> None:
    write(tmp_path, "clicks.csv", CSV)
    items = write(tmp_path, "items.jsonl", '{"item": "i1", "title": "T", "category": ["y", "x"]}\n')
    result = read_files(tmp_path, items=[items])
    assert result.rows == ROWS
    assert [item[:3] for item in result.items] == [("i1", "T", "x_y")]


@pytest.mark.parametrize("name", ["clicks[1].csv", "clicks*.csv", "it's one.csv", "clicks?.jsonl", "clicks[1].parquet"])
def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path, name: str) -> None:
    write(tmp_path, "clicks1.csv", CSV.replace("u1", "other"))
    write(tmp_path, "clicks1.jsonl", '{"user": "other", "item": "i", "time": 1}')
    if name.endswith("parquet"):
        with duckdb.connect() as con:
            con.execute(f"copy (select 'u1' as user, 'i1' as item, 1 as time) to '{tmp_path / name}'")
    else:
        write(tmp_path, name, CSV if name.endswith("csv") else '{"user": "u1", "item": "i", "time": 1}')
    assert read_files(tmp_path / name).rows[0][0] == "u1"
    assert "other" not in [row[0] for row in read_files(tmp_path / name).rows]
