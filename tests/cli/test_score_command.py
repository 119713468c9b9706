"""`llmseq recommend` and `score`: lists for sessions that are given."""

from __future__ import annotations

import json

import pytest


def test_recommend_by_id_and_title(llmseq, trained):
    rows = llmseq("recommend", "llmseqsim", "i00", "i01", "-k", "3", "--json").json
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all({"red", "green", "blue", "sock"} & set(row["title"].split()) for row in rows)
    assert {row["item"] for row in rows}.isdisjoint({"i00", "i01"})
    by_title = llmseq("recommend", "latest", rows[0]["title"], "-k", "2")
    assert by_title.status == 0
    assert len(by_title.out.splitlines()) == 3
    missing = llmseq("recommend", "latest", "purple trousers")
    assert missing.status == 1
    assert "no item has the id or title" in missing.err


def test_recommend_takes_runs_models_and_latest(llmseq, trained):
    by_run = llmseq("recommend", "v-sknn-1", "i00", "--json").json
    assert by_run == llmseq("recommend", "v-sknn", "i00", "--json").json
    assert llmseq("recommend", "v-sknn-9", "i00").status == 1


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_score_writes_what_recommend_says(llmseq, trained, tmp_path, ending):
    sessions, out = tmp_path / "today.csv", tmp_path / f"out.{ending}"
    sessions.write_text("session_id,item_id,timestamp\nb,i09,2\nb,i08,1\na,i00,5\na,unheard,6\n")
    done = llmseq("score", "v-sknn", "--sessions", sessions, "--out", out, "-k", "4", "--json").json
    assert (done["sessions"], done["unknown_items"]) == (2, 1)
    import duckdb

    rows = duckdb.sql(f"select session, item from '{out}' order by session, rank").fetchall()
    expected = llmseq("recommend", "v-sknn", "i08", "i09", "-k", "4", "--json").json
    assert [item for session, item in rows if session == "b"] == [row["item"] for row in expected]
    assert llmseq("score", "v-sknn", "--sessions", sessions, "--out", tmp_path / "out.xls").status == 2


def test_score_writes_no_formula_into_csv_unless_told(llmseq, trained, tmp_path):
    sessions, out = tmp_path / "today.csv", tmp_path / "out.csv"
    sessions.write_text('session_id,item_id\n"=1+2",i09\n-7,i08\n')
    words = ["score", "v-sknn", "--sessions", sessions, "--out", out, "-k", "1"]
    assert llmseq(*words).status == 0
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == ["'=1+2", "-7"]
    assert llmseq(*words, "--no-safe-cells").status == 0
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == ["=1+2", "-7"]
    assert llmseq(*words[:-4], "--out", tmp_path / "x.parquet", "--safe-cells").status == 2


def test_a_models_name_means_its_run_on_the_dataset(llmseq, trained, tmp_path):
    clicks = tmp_path / "other.csv"
    clicks.write_text(
        "user,item,time\n" + "".join(f"u{u},x{(u + i) % 7},{9 * u + i}\n" for u in range(20) for i in range(5))
    )
    assert llmseq("ingest", clicks, "--name", "other").status == 0
    assert llmseq("train", "v-sknn", "--dataset", "other").status == 0
    items = {
        dataset: {row["item"][0] for row in llmseq("recommend", "v-sknn", item, "--dataset", dataset, "--json").json}
        for dataset, item in [("shop", "i01"), ("other", "x1")]
    }
    assert items == {"shop": {"i"}, "other": {"x"}}
    sessions = tmp_path / "today.csv"
    sessions.write_text("session,item\na,i01\n")
    words = ["--sessions", sessions, "--out", tmp_path / "out.csv", "--json"]
    assert llmseq("score", "v-sknn", *words, "--dataset", "shop").json["unknown_items"] == 0
    assert llmseq("score", "v-sknn", *words, "--dataset", "other").json["unknown_items"] == 1
    missing = llmseq("recommend", "v-sknn", "i01", "--dataset", "shoop")
    assert missing.err.splitlines()[0] == "error: there is no dataset 'shoop'"


def test_score_takes_titles_as_recommend_does(llmseq, trained, tmp_path):
    shown = llmseq("sql", "select item, title from items where title is not null order by item limit 2", "--json").json
    by_id, by_title, out = tmp_path / "ids.jsonl", tmp_path / "titles.jsonl", tmp_path / "out.csv"
    lists = []
    for path, key in ((by_id, "item"), (by_title, "title")):
        path.write_text("".join(json.dumps({"session": "s", "item": row[key]}) + "\n" for row in shown))
        done = llmseq("score", "v-sknn", "--sessions", path, "--out", out, "--json").json
        assert done["unknown_items"] == 0
        lists.append(out.read_text())
    assert lists[0] == lists[1]


def test_score_spares_its_input_and_says_which_columns_it_wants(llmseq, trained, tmp_path):
    sessions = tmp_path / "today.csv"
    sessions.write_text("session,item\na,i01\n")
    refused = llmseq("score", "v-sknn", "--sessions", sessions, "--out", sessions)
    assert refused.status == 2
    assert sessions.read_text() == "session,item\na,i01\n"
    sessions.write_text("a,b\nx,i01\n")
    unclear = llmseq("score", "v-sknn", "--sessions", sessions, "--out", tmp_path / "out.csv")
    assert unclear.err.splitlines()[1] == "hint: name its columns session and item (and time)"


def test_score_counts_sessions_that_get_nothing(llmseq, trained, tmp_path):
    sessions, out = tmp_path / "today.csv", tmp_path / "out.csv"
    sessions.write_text("session,item\na,i01\nb,unheard-of\nb,unseen\nc,i02\n")
    words = ["score", "v-sknn", "--sessions", sessions, "--out", out]
    done = llmseq(*words, "--json").json
    written = {line.split(",")[0] for line in out.read_text().splitlines()[1:]}
    assert written == {"a", "c"}
    assert (done["sessions"], done["sessions_without_recommendations"], done["unknown_items"]) == (3, 1, 2)
    assert "without recommendations   1" in llmseq(*words).out


def test_a_fallback_serves_sessions_without_history(llmseq, trained, tmp_path):
    assert llmseq("train", "most-popular").status == 0
    popular = llmseq("recommend", "most-popular", "-k", 3, "--json").json
    assert [row["rank"] for row in popular] == [1, 2, 3]
    assert llmseq("recommend", "v-sknn", "--json").json == []
    assert "--fallback most-popular" in llmseq("recommend", "v-sknn").out
    assert llmseq("recommend", "v-sknn", "-k", 3, "--fallback", "most-popular", "--json").json == popular
    known = llmseq("recommend", "v-sknn", "i01", "--json").json
    assert llmseq("recommend", "v-sknn", "i01", "--fallback", "most-popular", "--json").json == known
    sessions, out, alone = tmp_path / "today.csv", tmp_path / "out.jsonl", tmp_path / "alone.jsonl"
    sessions.write_text("session,item\na,i01\nb,unheard-of\nc,i02\n")
    words = ["score", "v-sknn", "--sessions", sessions, "-k", 3, "--json"]
    done = llmseq(*words, "--out", out, "--fallback", "most-popular").json
    assert (done["sessions_from_fallback"], done["sessions_without_recommendations"]) == (1, 0)
    llmseq(*words, "--out", alone)
    rows, of_run = ([json.loads(line) for line in file.read_text().splitlines()] for file in (out, alone))
    assert [row["item"] for row in rows if row["session"] == "b"] == [row["item"] for row in popular]
    assert [row for row in rows if row["session"] != "b"] == of_run


def test_a_file_without_sessions_is_an_error(llmseq, trained, tmp_path):
    sessions, out = tmp_path / "today.csv", tmp_path / "out.csv"
    sessions.write_text("session,item\n")
    ended = llmseq("score", "v-sknn", "--sessions", sessions, "--out", out)
    assert (ended.status, ended.out) == (1, "")
    assert [line.split(": ")[0] for line in ended.err.splitlines()] == ["error", "hint"]
    assert "today.csv holds no session" in " ".join(ended.err.split())
    assert not out.exists()


def test_long_titles_are_cut_in_hints(llmseq, tmp_path):
    title = "dry shampoo " + "for very long hair " * 20
    (tmp_path / "i.csv").write_text("item,title\n" + "".join(f"i{u},{title}{u}\n" for u in range(9)))
    (tmp_path / "c.csv").write_text(
        "user,item,time\n" + "".join(f"u{u},i{i},{9 * u + i}\n" for u in range(9) for i in range(9))
    )
    done = llmseq("ingest", tmp_path / "c.csv", "--items", tmp_path / "i.csv", "--name", "hair")
    assert done.status == 0
    assert llmseq("train", "most-popular").status == 0
    said = llmseq("recommend", "latest", "shampoo").err.splitlines()
    assert said[0] == "error: 9 titles contain 'shampoo'"
    assert len(said[1]) < 300
