"""Nothing is lost or changed in silence, and nothing refused that a person would read: the smallest input of each."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import duckdb
import pytest
import zstandard
from support.reading import read_files, write

from llmseq_cli.errors import LlmseqError, UsageError

HEADER = "user,item,time\n"
INTER = "user_id:token\titem_id:token\ttimestamp:float\n"


def told(result, *words: str) -> bool:
    return any(all(word in text for word in words) for text in result.messages)


def test_parts_beside_the_whole_are_its_split_and_add_no_rows(tmp_path: Path) -> None:
    rows = [f"u{n // 3}\ti{n % 3}\t{1577836800 + n}\n" for n in range(9)]
    write(tmp_path, "x.inter", INTER + "".join(rows))
    write(tmp_path, "x.train.inter", INTER + "".join(rows[:6]))
    write(tmp_path, "x.test.inter", INTER + "".join(rows[6:]))
    result = read_files(tmp_path)
    assert len(result.rows) == 9
    assert result.report.rows_read == 9
    assert told(result, "x.train.inter, x.test.inter", "counted once")


def test_parts_alone_are_told_by_their_names(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", HEADER + "u,a,1577836800\n")
    write(tmp_path, "test.csv", HEADER + "u,b,1577836801\n")
    result = read_files(tmp_path)
    assert len(result.rows) == 2
    assert told(result, "train.csv = train", "test.csv = test")


def test_files_that_repeat_each_other_are_told(tmp_path: Path) -> None:
    rows = "".join(f"u,i{n},{1577836800 + n}\n" for n in range(4))
    write(tmp_path, "a.csv", HEADER + rows)
    write(tmp_path, "b.csv", HEADER + rows)
    result = read_files(tmp_path)
    assert told(result, "a.csv and b.csv have 4 rows in common, which count twice")
    result = read_files(tmp_path, drop_duplicates=True)
    assert (len(result.rows), result.report.duplicates) == (4, 4)


def test_an_unclosed_quote_costs_its_line_only(tmp_path: Path) -> None:
    lines = [f"u{n},i{n},{1577836800 + n}" for n in range(17)]
    lines[6] = 'u6,"i6,1577836806'
    result = read_files(write(tmp_path, "a.csv", HEADER + "\n".join(lines) + "\n"))
    assert len(result.rows) == 16
    assert result.rejected == [("a.csv", 8, "a quote opens and is never closed; reading continues at line 9")]
    lines[14] = 'u14,i14",1577836814'
    result = read_files(write(tmp_path, "b.csv", HEADER + "\n".join(lines) + "\n"))
    assert len(result.rows) == 16
    assert result.rejected == [
        ("b.csv", 8, "a quote opens and is not closed before line 16; reading continues at line 9")
    ]


def test_text_over_several_lines_stays_one_field(tmp_path: Path) -> None:
    text = 'user,item,time,title\nu1,i1,1577836800,"one, two\nthree\n\nfour"\nu2,i2,1577836801,five\n'
    result = read_files(write(tmp_path, "a.csv", text))
    assert len(result.rows) == 2
    assert result.rejected == []
    assert result.items[0][1] == "one, two three four"


def test_quotes_in_a_tsv_are_text_where_that_reads_better(tmp_path: Path) -> None:
    text = 'item\ttitle\n1\t"Great" book\n4\t5" x 7" frame\n'
    items = write(tmp_path, "items.tsv", text)
    clicks = write(tmp_path, "clicks.csv", HEADER + "u,1,1577836800\nu,4,1577836801\n")
    result = read_files(clicks, items=[items])
    assert [item[:2] for item in result.items] == [("1", '"Great" book'), ("4", '5" x 7" frame')]
    quoted = write(tmp_path, "quoted.tsv", 'item\ttitle\n1\t"Great\tbook"\n4\t"A ""B"" C"\n')
    assert [item[1] for item in read_files(clicks, items=[quoted]).items] == ["Great book", 'A "B" C']
    plain = read_files(clicks, items=[write(tmp_path, "q.tsv", 'item\ttitle\n1\t"Great"\n')], quote="none")
    assert plain.items[0][1] == '"Great"'


def test_a_field_over_131072_characters_is_read(tmp_path: Path) -> None:
    text = f'user,item,time,title\nu1,i1,1577836800,"{"x" * 200_000}\ny"\nu2,i2,1577836801,b\n'
    assert len(read_files(write(tmp_path, "a.csv", text)).rows) == 2


@pytest.mark.parametrize("factors", [(1, 1000), (1000, 1)])
def test_seconds_and_milliseconds_in_one_column_are_each_read_by_size(tmp_path: Path, factors: tuple[int, int]) -> None:
    times = [1577836800 * factors[0]] * 5 + [1577923200 * factors[1]] * 2
    result = read_files(write(tmp_path, "a.csv", HEADER + "".join(f"u,i{n},{t}\n" for n, t in enumerate(times))))
    assert {row[2] for row in result.rows} == {"2020-01-01T00:00:00", "2020-01-02T00:00:00"}
    assert told(result, "mixes units of time")
    assert (result.report.first_time, result.report.last_time) == ("2020-01-01T00:00:00", "2020-01-02T00:00:00")


def test_a_jump_in_time_that_cannot_be_is_told(tmp_path: Path) -> None:
    rows = "u,old,1972-01-01\n" + "u,i,2020-01-01\n" * 200
    assert told(read_files(write(tmp_path, "a.csv", HEADER + rows)), "1972-01-01", "far from all others")


@pytest.mark.parametrize("word", ["NA", "null", "None", "nan", "\\N", ""])
def test_words_for_no_value_are_no_user_and_no_item(tmp_path: Path, word: str) -> None:
    text = HEADER + f"{word},i1,1577836800\nu1,{word},1577836800\nu2,i2,1577836800\n"
    result = read_files(write(tmp_path, "a.csv", text))
    assert [row[:2] for row in result.rows] == [("u2", "i2")]
    shown = f": '{word}'" if word else ""
    assert [reason for _, _, reason in result.rejected] == [f"no user{shown}", f"no item{shown}"]


def test_user_and_session_in_one_file_are_told_and_make_one_key(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user_id,session_id,item,time\nu1,1,a,1\nu1,2,b,2\nu2,1,c,3\n")
    result = read_files(path)
    assert [row[0] for row in result.rows] == ["u1", "u1", "u2"]
    assert told(result, "identified by user_id, not by session_id")
    both = read_files(path, columns={"user": "user_id", "session": "session_id"})
    assert [row[0] for row in both.rows] == ["u1:1", "u1:2", "u2:1"]


@pytest.mark.parametrize(
    ("ids", "described", "why"),
    [
        (["b.0", "c.0"], ["b", "c"], "if .0 at the end did not count"),
        (["00001", "00002"], ["1", "2"], "if zeros at the start did not count"),
        (["AB", "CD"], ["ab", "cd"], "if capital letters did not count"),
        (["a b", "c d"], ["a-b", "c-d"], "if spaces and hyphens did not count"),
    ],
)
def test_metadata_that_matches_little_says_how_much_and_why(tmp_path: Path, ids, described, why: str) -> None:
    clicks = write(tmp_path, "a.csv", HEADER + "".join(f"u,{one},1577836800\n" for one in ids))
    items = write(tmp_path, "items.csv", "item,title\n" + "".join(f"{one},T\n" for one in described))
    result = read_files(clicks, items=[items])
    assert told(result, "the metadata describes 0 of 2 items; it would be 2", why)
    assert result.report.described_items == 0


def test_float_ids_are_integers_where_all_are(tmp_path: Path) -> None:
    clicks = write(tmp_path, "a.csv", HEADER + "7.0,1.0,1577836800\n8.0,2.0,1577836801\n")
    items = write(tmp_path, "items.csv", "item,title\n1,One\n2,Two\n")
    result = read_files(clicks, items=[items])
    assert [row[:2] for row in result.rows] == [("7", "1"), ("8", "2")]
    assert result.report.described_items == 2


def test_of_repeated_metadata_each_attribute_comes_from_the_first_that_has_it(tmp_path: Path) -> None:
    clicks = write(tmp_path, "a.csv", HEADER + "u,1,1577836800\n")
    items = write(tmp_path, "items.csv", "item,title,brand\n1,,B\n1,Title,\n1,Other,C\n")
    result = read_files(clicks, items=[items])
    assert result.items == [("1", "Title", None, {"brand": "B", "title": "Title"})]
    assert told(result, "2 descriptions repeat an item")


def test_both_unicode_forms_of_an_id_are_one_item(tmp_path: Path) -> None:
    clicks = write(tmp_path, "a.csv", HEADER + "u,caf\u00e9,1577836800\nu,cafe\u0301,1577836801\n")
    items = write(tmp_path, "items.csv", "item,title\ncafe\u0301,Cafe\u0301\n")
    result = read_files(clicks, items=[items])
    assert {row[1] for row in result.rows} == {"caf\u00e9"}
    assert result.items[0][:2] == ("caf\u00e9", "Caf\u00e9")


def test_equal_rows_are_told_and_dropped_when_asked_while_repeats_stay(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", HEADER + "u,i,1577836800\nu,i,1577836800\nu,i,1577836900\n")
    result = read_files(path)
    assert len(result.rows) == 3
    assert told(result, "1 row repeats the user, item and time of another")
    assert [row[2][-8:] for row in read_files(path, drop_duplicates=True).rows] == ["00:00:00", "00:01:40"]


@pytest.mark.parametrize("word", ["NaN", "null", "None", "N/A"])
def test_titles_that_are_words_for_nothing_are_none(tmp_path: Path, word: str) -> None:
    clicks = write(tmp_path, "a.csv", HEADER + "u,1,1577836800\n")
    result = read_files(clicks, items=[write(tmp_path, "items.csv", f"item,title,brand\n1,{word},B\n")])
    assert result.items == [("1", None, None, {"brand": "B"})]


@pytest.mark.parametrize(
    "meta",
    [
        "{'asin': '1', 'title': 'T', 'categories': [['C']]}\n",
        '{"parent_asin": "1", "title": "T", "main_category": "C", "store": ""}\n',
        "{'id': '1', 'app_name': 'T', 'genres': ['C']}\n",
        '[{"item": "1", "title": "T", "category": "C"}]\n',
        '[\n  {\n    "item": "1",\n    "title": "T",\n    "category": ["C"]\n  }\n]\n',
        '{\n  "item": "1",\n  "title": "T",\n  "category": "C"\n}\n',
        "{'item': '1', 'title': 'T', 'category': 'C'}\n",
        "item_id:token\ttitle:token_seq\tcategory:token_seq\n1\tT\tC\n",
    ],
)
def test_the_format_of_items_is_told_by_itself(tmp_path: Path, meta: str) -> None:
    clicks = write(tmp_path, "a.csv", HEADER + "u,1,1577836800\n")
    result = read_files(clicks, items=[write(tmp_path, "items.json", meta)])
    assert [item[:3] for item in result.items] == [("1", "T", "C")]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", ["array", "pretty"])
def test_interactions_in_a_json_array_or_over_many_lines(tmp_path: Path, name: str, ending: str) -> None:
    rows = [{"user": "u", "item": "a", "time": 1577836800}, {"user": "u", "item": "b", "time": 1577836801}]
    text = json.dumps(rows) if name == "array" else "\n".join(json.dumps(row, indent=2) for row in rows)
    packed = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[ending](text.encode())
    assert [row[1] for row in read_files(write(tmp_path, f"a.json{ending}", packed)).rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("3/1/2021 8:00", "2021-03-01T08:00:00"),
        ("01.03.2021 08:00", "2021-03-01T08:00:00"),
        ("3/1/2021 8:00:00 PM", "2021-03-01T20:00:00"),
        ("13-Sep-2020", "2020-09-13T00:00:00"),
        ("Sun, 13 Sep 2020 12:26:40 +0200", "2020-09-13T10:26:40"),
        ("Sun, 13 Sep 2020 12:26:40 GMT", "2020-09-13T12:26:40"),
        ("20140117230640", "2014-01-17T23:06:40"),
        ("3/29/21", "2021-03-29T00:00:00"),
    ],
)
def test_times_that_a_person_reads(tmp_path: Path, text: str, time: str) -> None:
    path = write(tmp_path, "a.tsv", f"user\titem\ttime\nu\ti\t{text}\nu\tj\t{text}\n")
    assert read_files(path).rows[0][2] == time


def test_numbers_below_zero_are_times_before_1970(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", HEADER + "u,i,-86400000\nu,j,946684800\nu,k,946684801\n")
    assert read_files(path).rows[0][2] == "1967-04-07T00:00:00"


def test_day_or_month_first_is_said_and_can_be_overruled(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", HEADER + "u,i,01/02/2021\nu,j,03/04/2021\n")
    result = read_files(path)
    assert result.rows[0][2] == "2021-01-02T00:00:00"
    assert told(result, "read as month first", "--time-format '%d/%m/%Y'")
    assert read_files(path, time_format="%d/%m/%Y").rows[0][2] == "2021-02-01T00:00:00"
    with pytest.raises(UsageError, match="--time-format 'soon' is not a valid pattern"):
        read_files(path, time_format="soon")


@pytest.mark.parametrize("sign", ["\t", ",", " "])
def test_recbole_with_other_separators_and_in_a_csv(tmp_path: Path, sign: str) -> None:
    text = (INTER + "u\ti\t1577836800\n").replace("\t", sign)
    assert read_files(write(tmp_path, "x.inter", text)).rows == [("u", "i", "2020-01-01T00:00:00")]
    if sign != " ":
        assert read_files(write(tmp_path, "x.csv", text)).rows == [("u", "i", "2020-01-01T00:00:00")]


def test_ratings_and_conditions_leave_rows_out_and_count_them(tmp_path: Path) -> None:
    text = "user,item,time,rating,country\nu,a,1,5,DE\nu,b,2,3,DE\nu,c,3,4.5,FR\nu,d,4,,DE\n"
    path = write(tmp_path, "a.csv", text)

    def items(**options: object) -> list[str]:
        result = read_files(path, **options)
        assert result.report.left_out == 4 - len(result.rows)
        assert result.report.rows_read == 4
        return [row[1] for row in result.rows]

    assert items(min_rating=4) == ["a", "c"]
    assert items(max_rating=4) == ["b"]
    assert items(where="rating >= 4 and country = 'DE'") == ["a"]
    assert items(where="lower(country) in ('fr')") == ["c"]


@pytest.mark.parametrize(
    "where",
    [
        "(select count(*) from read_csv('/etc/passwd')) > 0",
        "1) from read_text('/etc/passwd') where (1=1",
        "getenv('HOME') is not null",
        "rating >",
        "nothing = 1",
        "true); drop table x; select (true",
    ],
)
def test_a_condition_reaches_nothing_but_columns(tmp_path: Path, where: str) -> None:
    with pytest.raises(UsageError):
        read_files(write(tmp_path, "a.csv", "user,item,time,rating\nu,a,1,5\n"), where=where)


def test_a_gap_cuts_users_into_sessions(tmp_path: Path) -> None:
    times = [1577836800, 1577836860, 1577836800 + 3600, 1577836800 + 3660]
    path = write(tmp_path, "a.csv", HEADER + "".join(f"u,i{n},{t}\n" for n, t in enumerate(times)))
    result = read_files(path, session_gap="30m")
    assert [row[0] for row in result.rows] == ["u:1", "u:1", "u:2", "u:2"]
    assert told(result, "1 user cut into 2 sessions")
    assert told(read_files(path, session_gap="30"), "after pauses of 30 seconds")
    with pytest.raises(UsageError, match="--session-gap is 'soon'"):
        read_files(path, session_gap="soon")


def test_a_gap_needs_times(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user,item\nu,a\nu,b\n")
    with pytest.raises(LlmseqError, match=r"--session-gap needs times, and no column of .*a\.csv looks like one"):
        read_files(path, session_gap="30m")


def test_ratings_that_no_row_can_have(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user,item,time,rating\nu,a,1577836800,4\n")
    with pytest.raises(UsageError, match="--min-rating 5 is above --max-rating 3"):
        read_files(path, min_rating=5, max_rating=3)
    assert len(read_files(path, min_rating=4, max_rating=4).rows) == 1


def test_a_column_items_holds_the_items_of_a_session(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"user": "u", "items": ["a", "b"]}\n{"user": "v", "items": ["b"]}\n')
    assert [row[:2] for row in read_files(path).rows] == [("u", "a"), ("u", "b"), ("v", "b")]


def test_a_column_orders_equal_times(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user,item,time,place\nu,b,1577836800,2\nu,a,1577836800,1\n")
    result = read_files(path, columns={"order": "place"})
    assert told(result, "time = time (s), order = place")
    assert sorted((row[2], row[1]) for row in result.rows) == [
        ("2020-01-01T00:00:00", "a"),
        ("2020-01-01T00:00:00.000001", "b"),
    ]


def test_rows_without_times_count_as_they_stand(tmp_path: Path) -> None:
    result = read_files(write(tmp_path, "a.csv", "user,item\nu,b\nv,c\nu,a\n"))
    assert [row[1] for row in sorted(result.rows, key=lambda row: row[2])] == ["b", "c", "a"]
    assert told(result, "no column looks like a time")


@pytest.mark.parametrize("form", ["parquet", "json", "csv", "lines"])
def test_one_row_a_session_with_a_list_of_items(tmp_path: Path, form: str) -> None:
    if form == "parquet":
        path = tmp_path / "a.parquet"
        with duckdb.connect() as con:
            con.execute(f"copy (select * from (values (1, [5, 6, 7]), (2, [8, 9])) t(user, items)) to '{path}'")
        columns = {"item": "items"}
    elif form == "json":
        path = write(tmp_path, "a.jsonl", '{"user": 1, "items": [5, 6, 7]}\n{"user": 2, "items": [8, 9]}\n')
        columns = {"item": "items"}
    elif form == "csv":
        path = write(tmp_path, "a.csv", 'user,items\n1,"[5, 6, 7]"\n2,"[8, 9]"\n')
        columns = {"item": "items"}
    else:
        path, columns = write(tmp_path, "a.csv", "1 5 6 7\n2 8 9\n"), {}
    result = read_files(path, columns=columns)
    ordered = sorted(result.rows, key=lambda row: row[2])
    assert [row[:2] for row in ordered] == [("1", "5"), ("1", "6"), ("1", "7"), ("2", "8"), ("2", "9")]
    assert result.rejected == []


def test_a_folder_of_interactions_and_items_needs_no_option(tmp_path: Path) -> None:
    write(tmp_path, "clicks.csv", HEADER + "u,1,1577836800\n")
    write(tmp_path, "products.csv", "item,title\n1,Tea\n")
    result = read_files(tmp_path)
    assert (len(result.rows), result.items[0][1]) == (1, "Tea")
    assert told(result, "no column of users, so it describes items")


def test_a_map_without_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--map foo= names no column"):
        read_files(write(tmp_path, "a.csv", HEADER + "u,i,1\n"), columns={"foo": ""})


def test_deep_json_is_set_aside(tmp_path: Path) -> None:
    good = '{"user": "u", "item": "i", "time": 1577836800}\n'
    deep = '{"user": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
    assert len(read_files(write(tmp_path, "a.jsonl", good + deep + good)).rows) == 2


def test_column_names_with_braces_are_names(tmp_path: Path) -> None:
    clicks = write(tmp_path, "a.csv", HEADER + "u,1,1577836800\n")
    items = write(tmp_path, "items.csv", 'item,title,"a{b}",Brand,brand\n1,T,x,y,z\n')
    assert read_files(clicks, items=[items]).items[0][3]["a{b}"] == "x"


def test_a_lone_carriage_return_in_a_line_is_no_fault_of_the_program(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"user,item,time\nu,i,1577836800\nu,a\rb,1577836801\r\nu,j,1577836802\n")
    try:
        rows = read_files(path).rows
    except LlmseqError as refused:
        rows = [(refused.hint,)]
    assert rows


def test_a_column_without_a_name_is_no_reason_to_count_columns(tmp_path: Path) -> None:
    """pandas writes its index so; user and item were taken from the first two columns."""
    path = write(tmp_path, "a.csv", ",user_id,item_id,timestamp\n0,u,i,1600000000\n1,u,j,1600000001\n")
    assert [row[:2] for row in read_files(path).rows] == [("u", "i"), ("u", "j")]


def test_lists_beside_the_item_are_told(tmp_path: Path) -> None:
    head = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    result = read_files(write(tmp_path, "x.inter", head + "s\ta b\tc\nt\ta\tb\n"))
    assert told(result, "item_id_list", "not read")


def test_early_seconds_are_no_mixed_units(tmp_path: Path) -> None:
    lines = "".join(f"u,i{n},{1600000000 + n}\n" for n in range(9))
    result = read_files(write(tmp_path, "a.csv", HEADER + lines + "v,i,100\n"))
    assert not told(result, "mixes units")
    assert result.report.first_time == "1970-01-01T00:01:40"


def test_the_column_of_the_metadata_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    clicks = write(tmp_path, "a.csv", HEADER + "u,i,1600000000\n")
    items = write(tmp_path, "items.csv", "foo,title\ni,Tea\n")
    result = read_files(clicks, items=[items], columns={"item": "foo"})
    assert [item[:2] for item in result.items] == [("i", "Tea")]
    with pytest.raises(LlmseqError, match="looks like the item: foo, title") as caught:
        read_files(clicks, items=[items], columns={"item": "item"})
    assert "no column 'item'" in caught.value.hint


@pytest.mark.parametrize(
    ("rows", "options", "hint"),
    [
        ("u,i,x\n", {"time_format": "%d/%m/%Y"}, "--time-format"),
        ("NA,i,1600000000\n", {}, "--map user=COLUMN"),
    ],
)
def test_where_no_row_can_be_used_the_hint_is_about_the_reason(tmp_path: Path, rows: str, options, hint: str) -> None:
    with pytest.raises(LlmseqError, match="no row can be used") as caught:
        read_files(write(tmp_path, "a.csv", HEADER + rows), **options)
    assert hint in caught.value.hint


def test_a_session_without_a_user_is_set_aside_where_both_make_the_key(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user,session,item,time\nu,1,i,1600000000\nNA,2,i,1600000001\n")
    result = read_files(path, columns={"user": "user", "session": "session"})
    assert [row[0] for row in result.rows] == ["u:1"]
    assert [reason for _, _, reason in result.rejected] == ["no user"]
