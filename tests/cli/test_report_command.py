"""`llmseq report` and `show`: what they sort, compute and fit into a terminal."""

from __future__ import annotations

import pytest


def test_report_sorts_filters_and_computes_other_cutoffs(llmseq, trained):
    rows = llmseq("report", "--json").json
    assert [row["ndcg@20"] for row in rows] == sorted((row["ndcg@20"] for row in rows), reverse=True)
    by_time = llmseq("report", "--sort", "train_seconds", "--json").json
    assert by_time[0]["train_seconds"] <= by_time[1]["train_seconds"]
    [only] = llmseq("report", "--models", "v-sknn", "--k", "1,5", "--json").json
    assert {"ndcg@1", "novelty@5"} <= set(only)
    assert "ndcg@20" not in only
    assert only["hr@1"] == only["ndcg@1"] == only["mrr@1"]
    assert llmseq("report", "--k", "400").status == 1


def test_computed_cutoffs_equal_stored_ones(llmseq, trained):
    stored = llmseq("report", "--json").json
    assert llmseq("sql", "delete from core.metric", "--write").status == 0
    computed = llmseq("report", "--json").json
    for before, after in zip(stored, computed, strict=True):
        assert {k: pytest.approx(v) for k, v in before.items() if "@" in k} == {
            k: v for k, v in after.items() if "@" in k
        }


def test_report_fits_80_columns(llmseq, trained):
    out = llmseq("report").out
    assert max(map(len, out.splitlines())) <= 80
    assert "V_SKNN" in out
    assert "NDCG@20" in out


def test_report_has_a_table_for_each_dataset(llmseq, trained, shop_files):
    clicks, items = shop_files
    assert llmseq("ingest", clicks, "--items", items, "--name", "a-rather-long-name-of-a-second-shop").status == 0
    assert llmseq("train", "sknn", "--dataset", "a-rather-long-name-of-a-second-shop").status == 0
    lines = llmseq("report").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("run ") for line in lines) == 2
    place = [line.strip() for line in lines].index("a-rather-long-name-of-a-second-shop")
    assert lines[place + 2].startswith("sknn-")


def test_narrow_reports_show_what_they_are_sorted_by(llmseq, trained):
    out = llmseq("report", "--sort", "hr@10").out
    assert "HR@10" in out
    assert "HR@20" not in out


def test_cutoffs_that_were_asked_for_are_all_shown_in_narrow_terminals_too(llmseq, trained):
    lines = llmseq("report", "--k", "1,5,10").out.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("run ")] == ["NDCG@1", "NDCG@5", "NDCG@10"]
    assert max(map(len, lines)) <= 80


def test_wide_tables_become_names_and_values(llmseq, trained):
    lines = llmseq("sql", "from runs limit 1").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["run", "v-sknn-1"]
    assert lines[-1] == "1 row"
    assert llmseq("sql", "select run, dataset from runs limit 1").out.startswith("run       dataset")


def test_report_without_runs_says_what_to_do(llmseq, shop):
    assert "llmseq train MODEL" in llmseq("report").out
    assert llmseq("report", "--json").json == []


def test_show_has_a_column_for_each_metric_that_the_run_has(llmseq, trained):
    lines = llmseq("show", "latest").out.splitlines()
    [head] = [line for line in lines if "NDCG" in line and "MRR" in line]
    assert head.split() == ["NDCG", "HR", "MRR", "Cov", "Ser", "Nov"]
    assert not [line for line in lines if line.startswith("@") and "–" in line]


@pytest.mark.parametrize("words", [["--columns", "run,depth"], ["--sort", "depth"]])
def test_a_column_that_was_renamed_says_its_new_name(llmseq, trained, words):
    refused = llmseq("report", *words)
    assert (refused.status, refused.err) == (
        2,
        "error: the column 'depth' is now called 'list_length'\nhint: use list_length\n",
    )
