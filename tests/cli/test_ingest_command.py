"""What `ingest`, `datasets` and `describe` show of the data that was read."""

from __future__ import annotations

from pathlib import Path

from support.reading import write

ROWS = "user,item,time\nu,a,1600000000\nu,b,1600086400\nv,a,1600000000\nv,b,1600172800\n"


def test_first_and_last_time_are_shown_everywhere(llmseq, tmp_path: Path) -> None:
    done = llmseq("ingest", write(tmp_path, "a.csv", ROWS), "--name", "few", "--k-core", 0)
    assert "2020-09-13 12:26:40 to 2020-09-15 12:26:40" in done.out
    assert "2020-09-13 12:26:40 to 2020-09-15 12:26:40" in llmseq("describe").out
    assert llmseq("datasets").out.splitlines()[1].split()[4:6] == ["2020-09-13", "2020-09-15"]
    for shown in (llmseq("describe", "--json").json, llmseq("datasets", "--json").json[0]):
        assert (shown["first_time"], shown["last_time"]) == ("2020-09-13T12:26:40", "2020-09-15T12:26:40")


def test_rows_without_times_have_no_first_and_last_day(llmseq, tmp_path: Path) -> None:
    done = llmseq("ingest", write(tmp_path, "a.csv", "user,item\nu,a\nu,b\nv,a\nv,b\n"), "--name", "few", "--k-core", 0)
    assert "none, the interactions are numbered" in done.out
    assert llmseq("datasets").out.splitlines()[1].split()[4:6] == ["–", "–"]


def test_one_of_a_thing_is_named_as_one(llmseq, tmp_path: Path) -> None:
    done = llmseq("ingest", write(tmp_path, "a.csv", ROWS + "w,a,never\n"), "--name", "few", "--k-core", 0)
    assert "1 bad row was set aside" in done.err
    assert "1 bad row set aside" in done.out
    assert "1 session, 1 item to predict" in done.out


def test_ingest_prints_and_stores(llmseq, shop_files):
    clicks, items = shop_files
    done = llmseq("ingest", clicks, "--items", items, "--name", "shop", "--json")
    assert done.status == 0
    assert done.json["sessions"] == 120
    assert done.json["items"] == 40
    assert done.err == ""
    assert llmseq("sql", "select count(*) as n from interactions", "--json").json == [{"n": done.json["interactions"]}]
    assert "120, on average" in llmseq("ingest", clicks, "--name", "again").out


def test_ingest_refuses_a_taken_name_before_it_reads(llmseq, shop, shop_files):
    done = llmseq("ingest", shop_files[0], "--name", "shop")
    assert done.status == 1
    assert "the dataset 'shop' already exists" in done.err
    assert "--replace" in done.err


def test_replace_takes_runs_and_files_along(llmseq, trained, shop_files):
    runs = trained.folder / "artifacts" / "runs"
    assert len(list(runs.iterdir())) == 2
    done = llmseq("ingest", shop_files[0], "--name", "shop", "--replace", "--json").json
    assert done["runs_removed"] == 2
    assert list(runs.iterdir()) == []
    for view in ("runs", "metrics", "recommendations", "ranks", "item_embeddings"):
        assert llmseq("sql", f"select count(*) as n from {view}", "--json").json == [{"n": 0}]


def test_a_failed_ingest_leaves_no_trace(llmseq, shop, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("user_id,item_id,timestamp\nu1,i1,1600000000\nu2,i2,soon\n")
    before = llmseq("describe", "shop", "--json").json
    assert llmseq("ingest", bad, "--name", "bad", "--strict", "--k-core", "0").status == 1
    assert llmseq("ingest", bad, "--name", "shop", "--replace").status == 1
    assert [row["name"] for row in llmseq("datasets", "--json").json] == ["shop"]
    assert llmseq("describe", "shop", "--json").json == before
