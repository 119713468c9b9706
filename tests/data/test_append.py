"""A dataset grows by a new version; what was there stays as it is, with its runs."""

from __future__ import annotations

import csv

import pytest

from llmseq_cli import EmbedOptions, IngestOptions, Protocol, TrainOptions, Workspace

HEAD = ["user_id", "item_id", "timestamp"]
LATER = 1_700_000_000


def write(path, head, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path


@pytest.fixture
def week(tmp_path):
    """Twelve new sessions of five clicks with a new item among them, and two more clicks of a known session."""
    items = [f"i{number:02d}" for number in range(4)]
    rows = [[f"n{user}", item, LATER + 100 * user + step] for user in range(12) for step, item in enumerate(items)]
    rows += [[f"n{user}", "new", LATER + 100 * user + 9] for user in range(12)]
    return write(tmp_path / "week.csv", HEAD, [*rows, ["u003", "i01", LATER], ["u003", "new", LATER + 1]])


@pytest.fixture
def new_items(tmp_path):
    head = ["item_id", "title", "category", "brand"]
    return write(tmp_path / "new-items.csv", head, [["new", "red wool cape", "cape", ""], ["i00", "renamed", "x", ""]])


def test_a_new_version_takes_the_name_and_the_old_one_stays(llmseq, shop, week, new_items):
    [run] = shop.train(TrainOptions("v-sknn"))
    [before] = llmseq("report", "--json").json
    everything = "select * exclude (dataset) from interactions where dataset = '{}' order by all"
    old = shop.sql(everything.format("shop"))
    done = llmseq("append", "shop", week, "--items", new_items, "--json")
    assert done.status == 0, done.err
    grown = done.json
    assert grown["version_before"] == "shop@1"
    assert (grown["new_items"], grown["new_sessions"], grown["longer_sessions"]) == (1, 12, 1)
    assert (grown["new_interactions"], grown["there_already"], grown["left_out"]) == (62, 0, 0)
    assert shop.sql(everything.format("shop@1")) == old
    now = shop.sql(everything.format("shop"))[1]
    assert set(old[1]) < set(now)
    assert len(now) == len(old[1]) + 62
    titles = dict(shop.sql("select item, title from items where dataset = 'shop'")[1])
    assert titles["new"] == "red wool cape"
    assert titles["i00"] == "red green sock"
    # The old run is the old version's, and can be asked; the new version is the one that is meant.
    [after] = llmseq("report", "--dataset", "shop@1", "--json").json
    assert after == before | {"dataset": "shop@1"}
    assert llmseq("recommend", run, "i00", "--json").status == 0
    assert llmseq("report", "--dataset", "shop", "--json").json == []
    elsewhere = llmseq("recommend", "v-sknn", "i00", "--dataset", "shop")
    assert (elsewhere.status, f"hint: {run} is on shop@1: use --dataset shop@1" in elsewhere.err) == (1, True)
    [again] = shop.train(TrainOptions("v-sknn"))
    assert llmseq("show", again, "--json").json["dataset"] == "shop"
    assert llmseq("recommend", again, "new", "i02", "--json").status == 0
    assert llmseq("train", "v-sknn", "--dataset", "shop@1").status == 0


def test_it_equals_ingesting_all_at_once(shop, shop_files, week, new_items, tmp_path):
    from llmseq_cli import AppendOptions

    shop.append(AppendOptions([week], "shop", items=[new_items]))
    whole = Workspace(tmp_path / "whole")
    clicks, items = shop_files
    whole.ingest(IngestOptions([clicks, week], "shop", items=[items, new_items]))
    for view in ("interactions", "splits", "targets"):
        one, other = (one.sql(f"select * from {view} where dataset = 'shop' order by all") for one in (shop, whole))
        assert one == other


def test_what_is_there_already_is_left_out(llmseq, shop, shop_files, week, tmp_path):
    clicks, _ = shop_files
    both = write(tmp_path / "both.csv", HEAD, list(csv.reader((clicks).open()))[1:] + list(csv.reader(week.open()))[1:])
    assert llmseq("append", "shop", both, "--json").json["new_interactions"] == 62
    again = llmseq("append", "shop", both)
    assert (again.status, "already" in again.err) == (1, True)
    assert [row["name"] for row in llmseq("datasets", "--json").json] == ["shop", "shop@1"]


def test_what_the_k_core_leaves_out_waits_and_is_told(llmseq, shop, tmp_path):
    rare = write(tmp_path / "rare.csv", HEAD, [["u003", "rare", LATER], ["lone", "rare", LATER + 1]])
    waiting = llmseq("append", "shop", rare)
    assert (waiting.status, "-core leaves out the new interactions (2): they are kept" in waiting.err) == (0, True)
    assert [row["name"] for row in llmseq("datasets", "--json").json] == ["shop"]
    again = llmseq("append", "shop", rare)
    assert (again.status, "already" in again.err) == (1, True)
    some = write(tmp_path / "some.csv", HEAD, [["u003", "rare", LATER], ["u003", "i01", LATER + 1]])
    grown = llmseq("append", "shop", some, "--json").json
    assert (grown["new_interactions"], grown["there_already"], grown["left_out"]) == (1, 1, 2)


def test_what_comes_thinly_over_many_files_is_what_comes_at_once(llmseq, shop, shop_files, week, new_items, tmp_path):
    clicks, items = shop_files
    head, *rows = csv.reader(week.open())
    thin = sorted(rows, key=lambda row: row[1] != "new")
    about = ["--items", new_items]
    for rows in (thin[:2], thin[2:4], thin[4:]):
        part = write(tmp_path / "part.csv", head, rows)
        done = llmseq("append", "shop", part, *about, "--json")
        assert done.status == 0, done.err
        about = []  # the item is described where it first occurs, long before there is enough of it
    assert done.json["left_out"] == 0
    whole = Workspace(tmp_path / "whole")
    whole.ingest(IngestOptions([clicks, week], "shop", items=[items, new_items]))
    for view in ("interactions", "splits", "targets", "items"):
        one, other = (one.sql(f"select * from {view} where dataset = 'shop' order by all") for one in (shop, whole))
        assert one == other, view
    shop.ingest(IngestOptions([clicks], "shop", items=[items], protocol=Protocol(), replace=True))
    assert llmseq("append", "shop", week, "--json").json["left_out"] == 0


def test_splits_are_made_again_by_their_rules(llmseq, shop, week):
    assert llmseq("split", "shop", "--split", "leave-one-out", "--as", "last").status == 0
    assert llmseq("append", "shop", week).status == 0
    found = shop.sql("select dataset, split, kind from dataset_splits order by all")[1]
    kinds = [("sessions", "sessions"), ("last", "leave-one-out")]
    assert sorted(found) == sorted((name, *kind) for name in ("shop", "shop@1") for kind in kinds)


def test_only_new_texts_are_embedded(shop, week, new_items, monkeypatch):
    from support.embedding_server import KEY, EmbeddingServer

    from llmseq_cli import AppendOptions

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = EmbeddingServer()
    options = EmbedOptions("openai", dataset="shop", base_url=server.url)
    shop.embed(options)
    sent = len(server.requests)
    shop.append(AppendOptions([week], "shop", items=[new_items]))
    assert shop.plan_embed(options)["texts"] - shop.plan_embed(options)["cached"] == 1
    shop.embed(options)
    server.stop()
    assert len(server.requests) == sent + 1


def test_files_are_read_by_the_words_of_ingest(llmseq, shop, tmp_path):
    rows = [["u003", "i01", LATER, 5], ["u003", "i02", LATER + 1, 1], ["u003", '"i03', LATER + 2, 5]]
    text = "\n".join(",".join(map(str, row)) for row in [[*HEAD, "rating"], *rows, rows[0]])
    (tmp_path / "rated.csv").write_text(text.replace('"i03', '"i03"'), encoding="utf-8")
    words = ["append", "shop", tmp_path / "rated.csv", "--min-rating", "4", "--drop-duplicates", "--json"]
    read = llmseq(*words, "--quote", "none").json
    assert (read["read"], read["new_interactions"], read["left_out"]) == (2, 1, 1)  # the item '"i03"' is another one
    assert llmseq(*words).json["new_interactions"] == 1  # i03


def test_words_that_are_off_change_nothing(llmseq, shop, week, tmp_path):
    before = shop.sql("select * from datasets")
    assert llmseq("append", "no-such", week).status == 1
    assert llmseq("append", "shop", tmp_path / "none.csv").status == 1
    bad = write(tmp_path / "bad.csv", HEAD, [["u1", "i01", "no time"]])
    assert llmseq("append", "shop", bad).status == 1
    assert shop.sql("select * from datasets") == before
    assert llmseq("append", "shop", week).status == 0
    older = llmseq("append", "shop@1", week)
    assert (older.status, "append to the newest: shop" in older.err) == (2, True)


def test_parts_of_files_are_not_guessed(llmseq, tmp_path, week):
    for part in ("train", "test"):
        rows = [[f"u{user}", f"i{item}", 1000 + item] for user in range(6) for item in range(6)]
        write(tmp_path / f"{part}.csv", HEAD, [[user, item, time + 50 * (part == "test")] for user, item, time in rows])
    workspace = Workspace(tmp_path / "workspace")
    files = [tmp_path / "train.csv", tmp_path / "test.csv"]
    workspace.ingest(IngestOptions(files, "parts", protocol=Protocol(splits=("files",))))
    refused = llmseq("append", "parts", week)
    assert (refused.status, "ingest all files again" in refused.err) == (2, True)


def test_replacing_a_dataset_removes_its_versions(llmseq, shop, shop_files, week):
    assert llmseq("append", "shop", week).status == 0
    assert llmseq("ingest", shop_files[0], "--name", "shop", "--replace").status == 0
    assert [row["name"] for row in llmseq("datasets", "--json").json] == ["shop"]
