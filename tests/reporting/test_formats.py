"""What `report --format` writes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from llmseq_cli import TrainOptions


@pytest.fixture
def trained(shop, prepared):
    def build(workspace):
        workspace.train(TrainOptions("v-sknn"))
        workspace.train(TrainOptions("sknn", settings={"k": 5}))
        workspace.train(TrainOptions("most-popular"))

    return prepared(shop, "runs-with-settings", build)


def test_csv_has_all_columns_one_row_a_run(llmseq, trained):
    rows = list(csv.DictReader(io.StringIO(llmseq("report", "--format", "csv").out)))
    expected = llmseq("report", "--json").json
    assert [row["run"] for row in rows] == [row["run"] for row in expected]
    assert [float(row["ndcg@20"]) for row in rows] == [row["ndcg@20"] for row in expected]
    assert json.loads(next(row for row in rows if row["model"] == "sknn")["settings"])["k"] == 5


def test_csv_of_several_datasets_names_them(llmseq, trained, shop_files):
    words = ["report", "--columns", "run,ndcg@20", "--format", "csv"]
    assert llmseq(*words).out.splitlines()[0] == "run,ndcg@20"
    clicks, items = shop_files
    llmseq("ingest", clicks, "--items", items, "--name", "by-file", "--tie-break", "input")
    llmseq("train", "sknn", "--dataset", "by-file")
    rows = list(csv.DictReader(io.StringIO(llmseq(*words).out)))
    assert list(rows[0]) == ["dataset", "run", "ndcg@20"]
    assert [row["dataset"] for row in rows if row["run"] == "sknn-4"] == ["by-file"]


def test_markdown_marks_best_and_second(llmseq, trained):
    lines = llmseq("report", "--format", "markdown", "--k", "20").out.splitlines()
    best, second = llmseq("report", "--json").json[:2]
    assert f"**{best['ndcg@20']:.4f}**" in "\n".join(lines)
    assert f"<u>{second['ndcg@20']:.4f}</u>" in "\n".join(lines)
    pipes = {line.count("|") for line in lines if line.startswith("|")}
    assert len(pipes) == 1


def test_latex_is_a_booktabs_table_in_the_papers_words(llmseq, trained):
    text = llmseq("report", "--format", "latex").out
    assert r"\toprule" in text
    assert r"\multicolumn{6}{c}{Top@10} & \multicolumn{6}{c}{Top@20}" in text
    assert "nDCG & HR & MRR & CatCov & Seren & Novel" in text
    assert r"V\_SKNN" in text
    best = llmseq("report", "--json").json[0]
    assert rf"\textbf{{{best['ndcg@20']:.3f}}}" in text
    assert text.count(r"\begin{") == text.count(r"\end{")


def test_out_writes_the_file_and_nothing_to_stdout(llmseq, trained, tmp_path):
    for name in ("table", "json", "csv", "markdown", "latex"):
        done = llmseq("report", "--format", name, "--out", tmp_path / f"report.{name}")
        assert (done.status, done.out) == (0, "")
        assert "V" in (tmp_path / f"report.{name}").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.partial"))


def test_what_cannot_be_written_is_told(llmseq, trained, tmp_path):
    assert llmseq("report", "--format", "word").status == 2
    assert "contradict" in llmseq("report", "--json", "--format", "csv").err
    missing = llmseq("report", "--format", "csv", "--out", tmp_path / "no" / "report.csv")
    assert missing.status == 1
    assert "does not exist" in missing.err


def test_terminals_without_the_signs_get_question_marks(trained, tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "80"}
    command = [sys.executable, "-m", "llmseq_cli", "report", "--significance"]
    done = subprocess.run(command, capture_output=True, env=environment, check=True, timeout=60)
    assert b"?0." in done.stdout
