"""`llmseq sql`, `doctor`, `demo`, and where the workspace is."""

from __future__ import annotations

import pytest


def test_sql_reads_but_does_not_write_unless_told(llmseq, shop, tmp_path):
    file = tmp_path / "query.sql"
    file.write_text("select dataset, count(*) as n from items group by dataset")
    assert llmseq("sql", "-f", file, "--json").json == [{"dataset": "shop", "n": 40}]
    assert "1 row" in llmseq("sql", "-f", file).out
    refused = llmseq("sql", "create table t (x integer)")
    assert refused.status == 1
    assert "can only read" in refused.err
    assert llmseq("sql", "create table t (x integer)", "--write").status == 0


def test_doctor_tells_keys_but_not_their_values(llmseq, shop, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    facts = llmseq("doctor", "--json")
    assert facts.json["keys"]["OPENAI_API_KEY"] is True
    assert "very-secret" not in facts.out + llmseq("doctor").out
    assert facts.json["workspace"]["problems"] == []
    assert facts.json["softmax"].startswith(("compiled with ", "torch ("))


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_doctor_fails_where_the_workspace_cannot_be_used(llmseq, tmp_path, more):
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "llmseq.duckdb").write_text("no database" * 1000)
    done = llmseq("doctor", *more)
    assert done.status == 1
    assert "is not a DuckDB file" in done.out
    assert "duckdb" in done.out
    assert "not usable" in done.out
    assert done.err == ""


def test_doctor_finds_what_is_wrong(llmseq, trained):
    import shutil

    runs = trained.folder / "artifacts" / "runs"
    shutil.rmtree(runs / "v-sknn-1")
    (runs / "stray-7").mkdir()
    problems = llmseq("doctor", "--json").json["workspace"]["problems"]
    assert problems == [
        "run v-sknn-1 has no model files",
        "artifacts/runs/stray-7 belongs to no run and can be deleted",
    ]
    gone = llmseq("recommend", "v-sknn", "i00")
    assert gone.status == 1
    assert "files of run 'v-sknn-1' are gone" in gone.err


def test_demo_runs_to_a_leaderboard(llmseq):
    rows = llmseq("demo", "--json").json
    by_model = {row["model"]: row["ndcg@20"] for row in rows}
    assert by_model["most-popular"] < by_model["llmseqsim"] < by_model["v-sknn"]
    assert llmseq("demo").out.count("\n  llmseq ") == 5


def test_the_hints_of_the_demo_work(llmseq, tmp_path):
    import shlex

    lines = [line.strip() for line in llmseq("demo").out.splitlines() if line.startswith("  llmseq ")]
    for line in lines[:-1]:
        assert llmseq(*shlex.split(line)[1:]).status == 0, line


def test_workspace_option_before_and_after_the_command(llmseq, shop, tmp_path):
    other = tmp_path / "other"
    assert llmseq("datasets", "--workspace", other).status == 1
    assert llmseq("--workspace", other, "datasets").status == 1
    assert llmseq("datasets", "--workspace", shop.folder).status == 0
