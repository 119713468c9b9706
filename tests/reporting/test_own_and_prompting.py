"""Leaderboards of the user's own SQL, and the table of language models' runs."""

from __future__ import annotations

import json

import pytest

from llmseq_cli import TrainOptions


@pytest.fixture
def trained(shop, prepared):
    def build(workspace):
        workspace.train(TrainOptions("v-sknn"))
        workspace.train(TrainOptions("sknn"))
        workspace.train(TrainOptions("most-popular"))

    return prepared(shop, "three-runs", build)


def test_the_query_to_start_from_gives_the_leaderboard(llmseq, trained, tmp_path):
    file = tmp_path / "mine.sql"
    file.write_text(llmseq("report", "--show-sql").out)
    rows = llmseq("report", "--sql", file, "--json").json
    expected = llmseq("report", "--json").json
    assert [row["run"] for row in rows] == [row["run"] for row in expected]
    assert [row["ndcg@20"] for row in rows] == [row["ndcg@20"] for row in expected]
    marked = llmseq("report", "--sql", file, "--format", "markdown").out
    assert f"**{expected[0]['ndcg@20']:.4f}**" in marked
    assert "NDCG@20" in llmseq("report", "--sql", file).out


def test_a_query_of_ones_own_may_give_anything(llmseq, trained, tmp_path):
    file = tmp_path / "mine.sql"
    file.write_text("select model, count(*) as trainings from runs group by model order by model")
    lines = [line.split() for line in llmseq("report", "--sql", file).out.splitlines()]
    assert lines == [["model", "trainings"], ["most-popular", "1"], ["sknn", "1"], ["v-sknn", "1"]]
    assert llmseq("report", "--sql", file, "--format", "csv").out.splitlines()[0] == "model,trainings"


def test_mistakes_in_a_query_of_ones_own_are_told(llmseq, trained, tmp_path):
    assert llmseq("report", "--sql", tmp_path / "none.sql").status == 1
    file = tmp_path / "mine.sql"
    file.write_text("select nonsense from runs")
    done = llmseq("report", "--sql", file)
    assert done.status == 1
    assert "nonsense" in done.err
    file.write_text("delete from core.run")
    assert llmseq("report", "--sql", file).status == 1
    assert len(llmseq("report", "--json").json) == 3


def test_options_that_would_do_nothing_are_refused(llmseq, trained, tmp_path):
    for options in (["--sql", tmp_path / "x.sql", "--where", "1 = 1"], ["--prompting", "--significance"]):
        done = llmseq("report", *options)
        assert done.status == 2
        assert "do not go together" in done.err


def test_a_query_without_a_dataset_is_told_that_it_mixes_them(llmseq, trained, shop_files, tmp_path):
    clicks, items = shop_files
    llmseq("ingest", clicks, "--items", items, "--name", "other")
    llmseq("train", "sknn", "--dataset", "other")
    file = tmp_path / "mine.sql"
    file.write_text("select run, value as \"hr@20\" from metrics where metric = 'hr' and k = 20")
    assert "do not compare rows of different datasets" in " ".join(llmseq("report", "--sql", file).out.split())
    with_dataset = file.read_text().replace("run,", "dataset, run,").replace("metrics", "metrics join runs using (run)")
    file.write_text(with_dataset)
    out = llmseq("report", "--sql", file).out
    assert "may stand" not in out
    assert out.count("random tie-break, seed 0") == 2


def add_prompting_run(llmseq, number: int, label: str, sessions: int, cost: str) -> None:
    settings = json.dumps({"model": "toy", "base_model": "toy", "temperature": 0.25})
    figures = json.dumps(
        {
            "answers": 480, "empty_answers": 0, "refused_answers": 0, "parse_failures": 3, "prompt_tokens": 1000,
            "completion_tokens": 500, "cost_usd": None, "unique_recommendations": 77, "hallucination_rate": 0.3611,
            "hallucination_similarity": 0.96,
        }
    ).replace("null", cost)  # fmt: skip
    statement = (
        "insert into core.run select run_id + 100 * "
        f"{number}, dataset_id, split_id, 'prompt-genitem', '{label}', status, seed, '{settings}', null, environment,"
        f" '{figures}', {sessions}, list_length, started_at from core.run where model = 'v-sknn';"
        f" insert into core.metric select run_id + 100 * {number}, metric, k, value from core.metric where run_id = 1"
    )
    done = llmseq("sql", statement, "--write")
    assert done.status == 0, done.err


def test_language_models_runs_make_the_papers_table_7(llmseq, trained):
    assert "run `llmseq prompt`" in llmseq("report", "--prompting").out
    assert llmseq("report", "--prompting", "--json").json == []
    add_prompting_run(llmseq, 1, "LLMSeqPromptGenItem", 24, "3.977")
    add_prompting_run(llmseq, 2, "LLMSeqPromptGenItem (base)", 10, "null")
    base, tuned = llmseq("report", "--prompting", "--json").json
    assert (base["kind"], tuned["kind"]) == ("base", "fine-tuned")
    assert tuned["hallucination_rate"] == 0.3611
    assert tuned["cost_usd"] == 3.977
    assert tuned["ndcg@20"] == next(
        row["ndcg@20"] for row in llmseq("report", "--json").json if row["run"] == "v-sknn-1"
    )
    out = llmseq("report", "--prompting").out
    assert max(len(line) for line in out.splitlines()) <= 80
    for word in ("36.11%", "0.960", "77", "$3.98", "3 not readable", "GenItem *", "10 of 24 sessions"):
        assert word in out
    assert r"36.11\%" in llmseq("report", "--prompting", "--format", "latex").out
    assert "| run | task | kind | model |" in llmseq("report", "--prompting", "--format", "markdown").out


def test_a_run_on_some_sessions_is_marked_in_every_table(llmseq, trained, tmp_path):
    add_prompting_run(llmseq, 1, "LLMSeqPromptGenItem", 10, "null")
    partial = "prompt-genitem-101 *"
    assert partial in llmseq("report", "--columns", "run,ndcg@20").out
    file = tmp_path / "mine.sql"
    for columns in ('r.run, m.value as "ndcg@20"', 'm.value as "ndcg@20", r.run, r.dataset'):
        file.write_text(
            f"select {columns} from runs as r join metrics as m using (run) where metric = 'ndcg' and k = 20 "
            "order by value desc, run"
        )
        out = llmseq("report", "--sql", file).out
        assert partial in out
        assert out.count("*") == 2
        assert "* scored on 10 of 24 sessions: left out of comparisons" in out
        marked = llmseq("report", "--sql", file, "--format", "markdown").out
        assert next(line for line in marked.splitlines() if partial in line).count("**") == 0
    whole, part = (
        next(row for row in llmseq("report", "--sql", file, "--json").json if row["run"] == run)
        for run in ("v-sknn-1", "prompt-genitem-101")
    )
    assert (set(whole), part["sessions"]) == ({"run", "ndcg@20", "dataset"}, 10)


def test_runs_go_by_their_number_too(llmseq, trained):
    by_name = llmseq("recommend", "sknn-2", "i00", "--json").json
    assert llmseq("recommend", "2", "i00", "--json").json == by_name
    assert [row["run"] for row in llmseq("report", "--models", "2", "--json").json] == ["sknn-2"]
    assert llmseq("recommend", "9", "i00").status == 1
