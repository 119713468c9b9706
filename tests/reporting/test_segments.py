"""`report --segments`, `ingest --unseen-items` and `train --permute`, from the files to the table."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from support.beauty_split import FOLDER, needs_beauty
from support.small_shop import write_shop

from llmseq_cli import EmbedOptions, TrainOptions
from llmseq_cli.evaluation.metrics import per_session
from llmseq_cli.workspace import Workspace


@pytest.fixture
def cold(llmseq, tmp_path):
    """The shop, in whose last sessions there are two items that nobody has seen before; split both ways."""
    clicks, items = write_shop(tmp_path)
    with clicks.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for user in range(10):
            start = 1_700_000_000 + user * 3600
            for step, item in enumerate(
                ("i00", "i01", "n00" if user % 2 else "i02", "i03", "n01" if user < 6 else "i04")
            ):
                writer.writerow([f"late{user}", item, start + 60 * step])
    with items.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["n00", "red wool sock", "sock", ""], ["n01", "green silk sock", "sock", ""]])
    for name, how in (("dropped", "drop"), ("kept", "keep")):
        done = llmseq("ingest", clicks, "--items", items, "--name", name, "--unseen-items", how)
        assert done.status == 0, done.err
    workspace = Workspace(tmp_path / "workspace")
    for name in ("dropped", "kept"):
        workspace.embed(EmbedOptions("lexical", dataset=name))
    return workspace


def test_only_those_that_know_the_text_find_unseen_items(llmseq, cold):
    asked = llmseq("train", "llmseqsim", "--embeddings", "lexical", "--dataset", "kept", "--set", "cold_items=true")
    assert "not recommended" not in asked.err
    silent = llmseq("train", "llmseqsim", "--embeddings", "lexical", "--dataset", "kept")
    assert "--set cold_items=true does" in silent.err
    cold.train(TrainOptions("sknn", dataset="kept"))
    rows = {row["run"]: row for row in llmseq("report", "--dataset", "kept", "--segments", "--json").json}
    assert rows["llmseqsim-1"]["cold_hr@20"] > 0.5
    assert rows["llmseqsim-2"]["cold_hr@20"] == rows["sknn-3"]["cold_hr@20"] == 0
    assert {row["cold_sessions"] for row in rows.values()} == {6}


def test_the_means_of_the_segments_are_those_of_their_sessions(llmseq, cold):
    cold.train(TrainOptions("llmseqsim", dataset="kept", embeddings="lexical", settings={"cold_items": True}))
    [row] = llmseq("report", "--dataset", "kept", "--segments", "--k", "5,20", "--json").json
    with cold.store.read("test") as con:
        found = con.execute(
            "select coalesce(x.rank, 0) as rank, i.train_popularity as count from core.case_rank as x"
            " inner join core.run as r using (run_id)"
            " inner join core.test_case as s on s.split_id = r.split_id and s.case_id = x.case_id"
            " inner join core.split_item as i on i.split_id = s.split_id and i.item_id = s.ground_truth"
        ).fetchnumpy()
        counts = con.execute("select train_popularity from items where dataset = 'kept'").fetchnumpy()
    ranks, popularity = np.asarray(found["rank"]), np.asarray(found["count"])
    every = np.sort(np.asarray(counts["train_popularity"]))
    tail_until = max(
        (value for value in every if value and every[every <= value].sum() <= 0.2 * every.sum()), default=0
    )
    places = {
        "cold": popularity == 0,
        "tail": (popularity > 0) & (popularity <= tail_until),
        "warm": popularity > tail_until,
    }
    assert places["tail"].any()
    for segment, where in places.items():
        assert row[f"{segment}_sessions"] == where.sum()
        for k in (5, 20):
            for name, values in per_session(ranks[where], k).items():
                assert row[f"{segment}_{name}@{k}"] == pytest.approx(values.mean())


def test_the_table_says_what_it_shows(llmseq, cold, monkeypatch):
    for name in ("dropped", "kept"):
        cold.train(TrainOptions("sknn", dataset=name, seeds=2))
    for width in (80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        done = llmseq("report", "--segments")
        assert done.status == 0, done.err
        assert max(map(len, done.out.splitlines())) <= width
        assert "NDCG cold" in done.out
    words = " ".join(done.out.split())
    assert "seed 0, items unseen in training kept" in words
    assert words.count("items unseen in training kept") == 1, "and only where they are"
    assert "0 cold (unseen in training)" in words
    only = llmseq("report", "--segments", "--dataset", "dropped")
    assert "NDCG cold" not in only.out
    assert "NDCG tail" in only.out
    for format in ("csv", "markdown", "latex", "html"):
        made = llmseq("report", "--segments", "--format", format)
        assert made.status == 0, made.err
        assert "cold" in made.out
    best = llmseq("report", "--segments", "--sort", "warm_hr@20", "--columns", "run,warm_hr@20", "--dataset", "kept")
    assert best.status == 0, best.err
    assert "HR warm" in best.out


def test_both_splits_are_told_apart_everywhere(llmseq, cold):
    assert {row["unseen_items"] for row in llmseq("datasets", "--json").json} == {"drop", "keep"}
    listed = llmseq("sql", "select dataset, unseen_items from datasets order by dataset", "--json").json
    assert [row["unseen_items"] for row in listed] == ["drop", "keep"]
    assert "kept: test sessions may" in " ".join(llmseq("describe", "kept").out.split())
    assert "they stay" in llmseq("describe", "kept", "--audit").out
    assert "they are taken out" in " ".join(llmseq("describe", "dropped", "--audit").out.split())
    wrong = llmseq("ingest", "x.csv", "--name", "x", "--unseen-items", "maybe")
    assert (wrong.status, "--unseen-items is 'maybe'" in wrong.err) == (2, True)
    cold.train(TrainOptions("sknn", dataset="dropped"))
    cold.train(TrainOptions("sknn", dataset="kept"))
    assert llmseq("compare", "sknn-1", "sknn-2").status == 2


def test_permuted_vectors_are_recorded_and_named(llmseq, cold):
    for words in ([], ["--permute"]):
        made = llmseq("train", "llmseqsim", "--embeddings", "lexical", "--dataset", "dropped", *words, "--json")
        assert made.status == 0, made.err
    plain, permuted = sorted(llmseq("report", "--json").json, key=lambda row: row["run"])
    assert (plain["label"], plain["permuted"]) == ("LLMSeqSim", False)
    assert (permuted["label"], permuted["permuted"]) == ("LLMSeqSim (permuted)", True)
    assert permuted["ndcg@20"] < plain["ndcg@20"]
    assert "LLMSeqSim (permuted)" in llmseq("report").out
    again = llmseq(
        "train", "llmseqsim", "--embeddings", "lexical", "--dataset", "dropped", "--permute", "--resume", "-q"
    )
    assert again.status == 0
    assert len(llmseq("report", "--json").json) == 2, "--resume finds the permuted run, not the other"
    neural = ["train", "gru4rec", "--set", "epochs=1", "--embeddings", "lexical", "--dim", "8", "--permute"]
    assert llmseq(*neural, "--dataset", "dropped", "--json").json[0]["label"] == "LLM2GRU4Rec (permuted)"
    alone = llmseq("train", "sasrec", "--permute", "--dataset", "dropped")
    assert (alone.status, "no embeddings to permute" in alone.err) == (2, True)


@needs_beauty
def test_beauty_splits_both_ways_and_its_titles_mean_something(llmseq, tmp_path):
    workspace = Workspace(tmp_path / "workspace")
    for name, how in (("beauty", "drop"), ("cold", "keep")):
        assert llmseq("ingest", FOLDER, "--name", name, "--unseen-items", how, "-q").status == 0
    found = llmseq(
        "sql",
        "select train_sessions, test_sessions, evaluated_sessions, train_items from datasets order by dataset",
        "--json",
    ).json
    assert [list(row.values()) for row in found] == [[17_890, 4_473, 4_469, 11_957], [17_890, 4_473, 4_473, 11_957]]
    workspace.embed(EmbedOptions("lexical", dataset="beauty"))
    workspace.train(TrainOptions("llmseqsim", dataset="beauty", embeddings="lexical", permute=True))
    [row] = workspace.report("beauty")
    assert row["ndcg@20"] < 0.005, "with its titles it is .06"
