"""The leaderboard's rows: groups of seeds, what tells runs apart, conditions, columns, the paper's figures."""

from __future__ import annotations

import re
from statistics import fmean, stdev

import pytest
from rich.color import ColorSystem

from llmseq_cli import EmbedOptions, ReportOptions, TrainOptions
from llmseq_cli.cli.console import out
from llmseq_cli.reporting.published import paper_dataset, published_prompting, published_results, same_label
from llmseq_cli.workspace import Workspace


@pytest.fixture
def seeds(shop):
    shop.train(TrainOptions("v-sknn", settings={"sample_size": 3, "sampling": "random"}, seeds=3))
    shop.train(TrainOptions("v-sknn", settings={"k": 40}))
    shop.train(TrainOptions("most-popular"))
    return shop


def test_tables_have_one_line_for_seeds_and_json_has_one_object_a_run(llmseq, seeds):
    runs = llmseq("report", "--json").json
    assert len(runs) == 5
    rows = llmseq("report", "--json", "--group").json
    assert len(rows) == 3
    [group] = [row for row in rows if row.get("seeds")]
    members = [run for run in runs if run["run"] in group["runs"]]
    assert group["seeds"] == [0, 1, 2] == sorted(run["seed"] for run in members)
    values = [run["ndcg@20"] for run in members]
    assert group["ndcg@20"] == pytest.approx(fmean(values))
    assert group["spread"]["ndcg@20"] == pytest.approx(stdev(values))
    out = llmseq("report").out
    assert "v-sknn-1…3" in out
    assert f"±{stdev(values):.4f}" in out
    assert "v-sknn-2" in llmseq("report", "--no-group").out
    assert "run_id" not in group


def test_of_runs_with_the_same_seed_the_newest_counts(llmseq, shop):
    for _ in range(2):
        shop.train(TrainOptions("v-sknn"))
    done = llmseq("report")
    assert "v-sknn-2" in done.out
    assert "left out: v-sknn-1, older runs of the same model, settings and seed" in " ".join(done.out.split())
    assert "±" not in done.out


def test_where_the_best_of_several_runs_would_be_chosen_by_test_a_note_says_so(llmseq, seeds):
    warning = "several runs of V_SKNN: picking the best of them here means choosing by test"
    assert " ".join(llmseq("report").out.split()).count(warning) == 1
    assert warning in " ".join(llmseq("report", "--format", "markdown", "--no-group").out.split())
    for choice in (["--sort", "run"], ["--where", "settings.k = 40 or model = 'most-popular'"]):
        said = llmseq("report", *choice)
        assert said.status == 0, said.err
        assert "choosing by test" not in said.out


def test_runs_of_a_model_are_told_apart_by_just_what_differs(llmseq, shop):
    shop.embed(EmbedOptions("lexical"))
    shop.train(TrainOptions("llmseqsim", embeddings="lexical"))
    shop.train(TrainOptions("llmseqsim", embeddings="lexical", reduce="pca", dim=8))
    shop.train(TrainOptions("llmseqsim", embeddings="lexical", settings={"pooling": "mean"}))
    shop.train(TrainOptions("sknn", settings={"k": 7}))
    differs = {row["run"]: row["differs"] for row in llmseq("report", "--json").json}
    assert differs == {
        "llmseqsim-1": "not reduced, pooling=harmonic",
        "llmseqsim-2": "pca 8, pooling=harmonic",
        "llmseqsim-3": "not reduced, pooling=mean",
        "sknn-4": "",
    }
    assert "pca 8, pooling=harmonic" in llmseq("report").out


def test_where_takes_columns_metrics_and_settings(llmseq, seeds):
    rows = llmseq("report", "--json").json
    middle = sorted(row["ndcg@20"] for row in rows)[2]
    above = llmseq("report", "--json", "--where", f"ndcg@20 > {middle}").json
    assert {row["run"] for row in above} == {row["run"] for row in rows if row["ndcg@20"] > middle}
    by_setting = llmseq("report", "--json", "--where", "settings.k = 40 and model = 'v-sknn'").json
    assert [row["run"] for row in by_setting] == ["v-sknn-4"]
    assert llmseq("report", "--where", "dim > 1000").out == "No run matches --where.\n"
    assert llmseq("report", "--where", "dim > 1000", "--format", "csv").out == ""
    wrong = llmseq("report", "--where", "nonsense = 1")
    assert wrong.status == 2
    assert "nonsense" in wrong.err
    assert llmseq("report", "--where", "1 = 1) --").status == 2


def test_columns_are_those_asked_for(llmseq, seeds):
    out = llmseq("report", "--columns", "run,settings.k,ndcg@5,train_seconds").out
    assert out.splitlines()[1].split() == ["run", "settings.k", "NDCG@5", "train", "s"]
    header = llmseq("report", "--columns", "run,hr@20", "--format", "csv").out.splitlines()[0]
    assert header == "run,hr@20"
    wrong = llmseq("report", "--columns", "run,ndgc@20")
    assert wrong.status == 2
    assert "did you mean 'ndcg@20'" in wrong.err


def test_runs_on_fewer_sessions_are_marked_and_not_compared(llmseq, seeds):
    best = llmseq("report", "--json").json[0]["run"]
    number = best.rpartition("-")[2]
    assert llmseq("sql", f"update core.run set sessions = 10 where run_id = {number}", "--write").status == 0
    out = llmseq("report", "--format", "markdown", "--no-group").out
    [line] = [line for line in out.splitlines() if f"| {best} |" in line]
    assert "V_SKNN *" in line
    assert "**" not in line
    assert "* scored on 10 of 24 sessions: left out of comparisons" in out


@pytest.mark.parametrize("columns", ["60", "80", "100", "140", "200"])
def test_reports_fit_the_terminal(llmseq, seeds, monkeypatch, columns):
    from llmseq_cli.cli import console

    monkeypatch.setattr(console.out, "_width", int(columns))
    for options in ((), ("--paper",), ("--significance",), ("--no-group",)):
        out = llmseq("report", *options).out
        assert max(len(line) for line in out.splitlines()) <= int(columns)
        assert "MostPopular" in out
        assert all(re.match(r"±\d\.\d{3}", out[place:]) for place in (m.start() for m in re.finditer("±", out)))


def test_long_names_go_on_below_before_a_metric_is_left_out(llmseq, seeds, monkeypatch):
    from llmseq_cli.cli import console

    llmseq("sql", "update core.run set label = 'LLMSeqPromptGenList (base)', sessions = 10 where run_id = 1", "--write")
    monkeypatch.setattr(console.out, "_width", 80)
    lines = llmseq("report", "--no-group").out.splitlines()
    assert "Cov@20  Ser@20  Nov@20" in lines[1]
    [place] = [place for place, line in enumerate(lines) if "LLMSeqPromptGenList" in line]
    assert lines[place].split()[1] == "LLMSeqPromptGenList"
    assert lines[place + 1].strip() == "(base) *"
    assert max(map(len, lines)) <= 80


def test_tables_wider_than_the_terminal_keep_their_marks_and_intervals(llmseq, seeds, monkeypatch, tmp_path):
    words = ["report", "--significance", "--columns", "run,label,differs,ndcg@20,hr@20,settings.k,settings.sampling"]
    best = llmseq("report", "--json", "--group").json[0]
    monkeypatch.setattr(out, "_force_terminal", True)
    monkeypatch.setattr(out, "_color_system", ColorSystem.STANDARD)
    for width in (76, 48):
        monkeypatch.setattr(out, "_width", width)
        printed = llmseq(*words).out
        assert bool(re.search(rf"\x1b\[1m *{best['ndcg@20']:.4f}", printed)) == (width == 76)
        assert "95 % CI" in printed
        assert max(len(line) for line in re.sub(r"\x1b\[\d*m", "", printed).splitlines()) <= width
    assert llmseq(*words, "--out", tmp_path / "wide.txt").status == 0
    whole = (tmp_path / "wide.txt").read_text(encoding="utf-8").splitlines()
    assert any("v-sknn-1…3" in line and "random" in line for line in whole)


def test_the_papers_figures_stand_beside_ours(llmseq, seeds, shop_files):
    clicks, items = shop_files
    llmseq("ingest", clicks, "--items", items, "--name", "beauty")
    llmseq("train", "v-sknn", "--dataset", "beauty")
    [row] = llmseq("report", "--dataset", "beauty", "--paper", "--json").json
    assert "best of N" not in llmseq("report", "--dataset", "beauty", "--paper").out, "one run is no best of several"
    assert row["published"]["ndcg@20"] == 0.043
    assert row["difference"]["ndcg@20"] == pytest.approx(row["ndcg@20"] - 0.043)
    llmseq(
        "train", "v-sknn", "--dataset", "beauty", "--seeds", "3", "--set", "sampling=random", "--set", "sample_size=3"
    )
    runs = [
        one for one in llmseq("report", "--dataset", "beauty", "--json").json if one["settings"]["sample_size"] == 3
    ]
    [group] = [one for one in llmseq("report", "--dataset", "beauty", "--group", "--json").json if one.get("seeds")]
    best = max(runs, key=lambda one: one["ndcg@20"])
    assert group["best"]["ndcg@20"] == best["ndcg@20"] > group["ndcg@20"]
    assert group["best"]["hr@20"] == best["hr@20"], "all figures are those of one run"
    out = llmseq("report", "--paper").out
    assert "best of 3" in out
    assert "chosen on test, as the paper did" in " ".join(out.split())
    assert "not the paper's data: 120 sessions and 40 items instead of 22,363 and 12,101" in " ".join(out.split())
    assert "the paper has no results on shop" in out
    assert "TALLRec" in out
    assert "arXiv:2402.01339" in out
    assert llmseq("report", "--paper", "--sort", "label").status == 0
    assert "TALLRec" not in llmseq("report", "--paper", "--models", "v-sknn").out


def test_published_figures_are_those_of_the_paper():
    beauty = {row["label"]: row for row in published_results("beauty")}
    assert len(beauty) == 22
    assert beauty["LLM2SASRec"]["ndcg@20"] == 0.054
    assert beauty["MostPopular"]["novelty@10"] == 9.187
    assert beauty["S3-Rec"]["mrr@10"] is None
    assert len(published_results("delivery-hero")) == 16
    assert len(published_results("steam")) == 18
    assert published_results("shop") == []
    [tuned] = [
        row
        for row in published_prompting("beauty")
        if (row["label"], row["family"], row["kind"]) == ("LLMSeqPromptGenItem", "GPT", "fine-tuned")
    ]
    assert (tuned["unique_recommendations"], tuned["hallucination_rate"]) == (20056, 0.3611)
    assert same_label("V_SKNN", "V-SKNN")
    assert not same_label("LLM2SASRec", "SASRec")
    assert paper_dataset("mine", {"sessions": 22_363, "items": 12_101}) == ("beauty", "")


def test_reports_from_python(seeds: Workspace):
    made = seeds.leaderboard("shop", ReportOptions(group=True, sort="hr@10"))
    [table] = made.tables()
    assert len(table.lines) == 3
    assert [column.key for column in table.columns][:2] == ["label", "run"]
    assert "random tie-break, seed 0" in table.title
