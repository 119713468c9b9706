"""The formats of public datasets: Amazon, Steam, MovieLens, RecBole; and Beauty itself."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path

import duckdb
import pytest
from support.beauty_split import FOLDER, needs_beauty
from support.reading import read_files, write

from llmseq_cli.data.ingest import Protocol, build_dataset
from llmseq_cli.data.readers.stage_items import stage_items
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import SilentProgress
from llmseq_cli.store.migrations import migrate
from llmseq_cli.store.queries import query

REVIEW_2014 = {"reviewerID": "A1", "asin": "B01", "unixReviewTime": 1365984000, "reviewTime": "04 15, 2013"}
META_2014 = {
    "asin": "B01",
    "title": "Shea &amp;amp; Butter\n Soap",
    "brand": "Nice",
    "price": 3.5,
    "categories": [["Beauty", "Hair Care"], ["Beauty", "Bath"]],
}


def jsonl(*records: dict) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def literals(*records: dict) -> str:
    return "".join(repr(record) + "\n" for record in records)


@pytest.mark.parametrize("dump", [jsonl, literals])
@pytest.mark.parametrize("packed", [False, True])
def test_amazon_2014(tmp_path: Path, dump, packed: bool) -> None:
    ending = ".json.gz" if packed else ".json"
    for name, record in (("reviews_X_5", REVIEW_2014), ("meta_X", META_2014)):
        content = dump(record).encode()
        write(tmp_path, name + ending, gzip.compress(content) if packed else content)
    result = read_files(tmp_path)
    assert result.report.format == "amazon"
    assert result.rows == [("A1", "B01", "2013-04-15T00:00:00")]
    fields = {
        "title": "Shea & Butter Soap",
        "categories": "Beauty, Hair Care, Bath",
        "brand": "Nice",
        "price": "3.5",
    }
    assert result.items == [("B01", "Shea & Butter Soap", "Bath_Beauty_Hair Care", fields)]
    assert [Path(file).name for file in result.report.item_files] == ["meta_X" + ending]


def test_amazon_2018_and_2023(tmp_path: Path) -> None:
    old = {"asin": "B01", "title": "T", "category": ["Beauty", "Soap"], "description": ["one", "two"]}
    result = read_files(write(tmp_path, "r.json", jsonl(REVIEW_2014)), items=[write(tmp_path, "m.json", jsonl(old))])
    assert result.items == [
        ("B01", "T", "Beauty_Soap", {"title": "T", "categories": "Beauty, Soap", "description": "one, two"})
    ]
    review = {"user_id": "U", "parent_asin": "P", "asin": "C", "timestamp": 1588687728923, "text": "x"}
    new = {"parent_asin": "P", "title": "T", "categories": [], "main_category": "All Beauty", "store": "S"}
    result = read_files(write(tmp_path, "r.jsonl", jsonl(review)), write(tmp_path, "m.jsonl", jsonl(new)))
    assert result.rows == [("U", "P", "2020-05-05T14:08:48.923000")]
    assert result.items == [("P", "T", "All Beauty", {"title": "T", "categories": "All Beauty", "brand": "S"})]


@pytest.mark.parametrize(
    "lines",
    ["A1B2C3D4E5F6G7,B000000001,5.0,1365984000", "B000000001,A1B2C3D4E5F6G7,5.0,1365984000"],
    ids=["2014", "2018"],
)
def test_amazon_ratings_without_a_header(tmp_path: Path, lines: str) -> None:
    result = read_files(write(tmp_path, "ratings_X.csv", lines + "\n"))
    assert result.rows == [("A1B2C3D4E5F6G7", "B000000001", "2013-04-15T00:00:00")]


def test_bad_records_are_set_aside(tmp_path: Path) -> None:
    good, no_time = repr(REVIEW_2014), repr(REVIEW_2014 | {"unixReviewTime": 0})
    bad = ["", "{'oops'", "[1, 2]", repr({"asin": "B"}), no_time, "__import__('os')", "{'reviewerID': 'A\\ud800'}"]
    content = "\n".join([good, *bad, good]).encode() + b"\n{'\xff'}\n" + good.encode()
    meta = "\n".join([repr(META_2014), "junk", repr({"title": "no id"}), repr(META_2014 | {"title": "second"})])
    reviews, metadata = write(tmp_path, "r.json", content), write(tmp_path, "m.json", meta)
    result = read_files(reviews, items=[metadata])
    assert len(result.rows) == 3
    assert [rejection[1:] for rejection in result.rejected if rejection[0] == "r.json"] == [
        (3, "the line is neither JSON nor a Python literal"),
        (4, "the line is not an object"),
        (5, "no user"),
        (6, "no time: '0'"),
        (7, "the line is neither JSON nor a Python literal"),
        (8, "no item"),
        (10, "the line is not UTF-8"),
    ]
    assert [rejection[1:] for rejection in result.rejected if rejection[0] == "m.json"] == [
        (2, "the line is neither JSON nor a Python literal"),
        (3, "the item has no asin"),
    ]
    assert (result.report.rows_read, result.report.rejected) == (10, 9)
    with pytest.raises(LlmseqError, match=r"r\.json:3: "):
        read_files(reviews, strict=True)
    with pytest.raises(LlmseqError, match=r"m\.json:2: "):
        read_files(write(tmp_path, "good.json", good), items=[metadata], strict=True)


def test_halves_of_surrogate_pairs_can_be_stored(tmp_path: Path) -> None:
    review = "{'reviewerID': 'A\\ud800', 'asin': 'B\\ud83d\\ude00', 'unixReviewTime': 1365984000}"
    meta = '{"asin": "B\\ud83d\\ude00", "title": "T\\ud800 \\ud83d\\ude00", "categories": ["\\udfff"]}'
    result = read_files(write(tmp_path, "r.json", review), items=[write(tmp_path, "m.json", meta)])
    assert result.rows == [("A\ufffd", "B😀", "2013-04-15T00:00:00")]
    assert result.items[0][:2] == ("B😀", "T 😀")


def test_a_folder_with_several_files_of_reviews_leaves_the_choice(tmp_path: Path) -> None:
    for name in ("reviews_X.json", "reviews_X_5.json"):
        write(tmp_path, name, jsonl(REVIEW_2014))
    with pytest.raises(LlmseqError, match=r"reviews_X\.json, reviews_X_5\.json"):
        read_files(tmp_path)
    assert len(read_files(tmp_path / "reviews_X.json", tmp_path / "reviews_X_5.json").rows) == 2


def test_metadata_alone_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(LlmseqError, match="no file has interactions"):
        read_files(write(tmp_path, "m.json", jsonl(META_2014)), format="amazon")


def test_a_table_as_amazon_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(LlmseqError, match="contains none of") as caught:
        read_files(write(tmp_path, "a.csv", "user,item,time\nu,i,1\n"), format="amazon")
    assert "--format table" in caught.value.hint


def test_steam(tmp_path: Path) -> None:
    reviews = [{"username": 'Zoë\'s, "Z"', "product_id": "10", "date": "2018-01-05", "hours": 1.5}] * 2
    games = [
        {"id": "10", "app_name": "Half", "genres": ["Indie", "Action"], "tags": ["Fun", "Old School"], "title": None},
        {"title": "no id"},
        {"id": "10", "title": "Again"},
    ]
    write(tmp_path, "steam_reviews.json", "".join("{u" + repr(one)[1:] + "\n" for one in reviews))
    write(tmp_path, "steam_games.json", literals(*games))
    result = read_files(tmp_path)
    assert result.report.format == "steam"
    assert result.rows == [('Zoë\'s, "Z"', "10", "2018-01-05T00:00:00")] * 2
    fields = {"title": "Half", "categories": "Indie, Action", "tags": "Fun, Old School", "genres": "Indie, Action"}
    assert result.items[0] == ("10", "Half", "Action_Indie", fields)
    assert result.rejected == [("steam_games.json", 2, "the item has no id")]


@pytest.mark.parametrize(
    ("ratings", "movies"),
    [
        (("u.data", "1\t7\t3\t881250949\n"), ("u.item", "7|Caf\xe9 (1995)|01-Jan-1995||http://x|0|1|0|0|0|1|0\n")),
        (("ratings.dat", "1::7::3::881250949\n"), ("movies.dat", "7::Caf\xe9 (1995)::Action|Comedy\n")),
        (
            ("ratings.csv", "userId,movieId,rating,timestamp\n1,7,3.0,881250949\n"),
            ("movies.csv", "movieId,title,genres\n7,Caf\xe9 (1995),Action|Comedy\n"),
        ),
    ],
)
@pytest.mark.parametrize("whole_folder", [False, True])
def test_movielens(tmp_path: Path, ratings: tuple[str, str], movies: tuple[str, str], whole_folder: bool) -> None:
    path = write(tmp_path, *ratings)
    write(tmp_path, movies[0], movies[1].encode("utf-8" if movies[0].endswith("csv") else "latin-1"))
    write(tmp_path, "tags.csv" if movies[0].endswith("csv") else "README", "not for reading\n")
    result = read_files(tmp_path if whole_folder else path)
    assert result.report.format == "movielens"
    assert result.rows == [("1", "7", "1997-12-04T15:55:49")]
    assert [item[:3] for item in result.items] == [("7", "Café (1995)", "Action_Comedy")]


def test_recbole(tmp_path: Path) -> None:
    write(tmp_path, "x.inter", 'user_id:token\titem_id:token\ttimestamp:float\n"u\t1\t881250949\nu\t\t881250949\n')
    write(tmp_path, "x.item", "item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tToy Story\tComedy Animation\n")
    for path in (tmp_path, tmp_path / "x.inter"):
        result = read_files(path)
        assert result.report.format == "recbole"
        assert result.rows == [('"u', "1", "1997-12-04T15:55:49")]
        assert [item[:3] for item in result.items] == [("1", "Toy Story", "Animation_Comedy")]
        assert result.rejected == [("x.inter", 3, "no item")]
    with pytest.raises(LlmseqError, match="has no types"):
        read_files(write(tmp_path, "y.inter", "user\titem\ttime\n"))


def test_the_first_description_of_an_item_counts() -> None:
    with duckdb.connect() as con:
        migrate(con)
        con.execute(query("ingest/staging"))
        con.execute(
            "insert into staged_interaction (user_id, item_id, time)"
            " select 'u' || (i % 50), 'i' || (i % 1000), make_timestamp(i) from range(20_000) as rows (i)"
        )
        described = ((f"i{n % 1000}", None if n < 10 else f"title {n}", [], {}) for n in range(200_000))
        stage_items(con, described)
        build_dataset(con, "d", Protocol(k_core=0), {}, SilentProgress())
        titles = dict(con.execute("select external_id, title from core.item").fetchall())
    assert titles == {f"i{n}": None if n < 10 else f"title {n}" for n in range(1000)}


@needs_beauty
def test_beauty() -> None:
    result = read_files(FOLDER)
    assert result.report.format == "amazon"
    assert (len(result.rows), result.rejected) == (198_502, [])
    assert (len({row[0] for row in result.rows}), len({row[1] for row in result.rows})) == (22_363, 12_101)
    described = {item: (title, category) for item, title, category, _ in result.items}
    used = [described[item] for item in {row[1] for row in result.rows}]
    assert sum(title is None for title, _ in used) == 7
    assert len({category for _, category in used}) == 224


def test_a_backslash_in_a_python_literal_warns_of_nothing():
    from llmseq_cli.data.readers.lines import parse_record

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_record(r"{'title': 'A\s cream'}") == {"title": r"A\s cream"}
