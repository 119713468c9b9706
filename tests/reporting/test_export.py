"""Exports, read back by those they are made for."""

from __future__ import annotations

import csv
import json

import ir_measures
import pytest
from ir_measures import RR, Success, nDCG

from llmseq_cli import TrainOptions
from llmseq_cli.reporting.export import EXPORTS


@pytest.fixture
def trained(shop, prepared):
    def build(workspace):
        workspace.train(TrainOptions("v-sknn"))
        workspace.train(TrainOptions("sknn", settings={"k": 2}))

    return prepared(shop, "runs-to-export", build)


def test_trec_files_give_our_metrics_in_ir_measures(llmseq, trained, tmp_path):
    done = llmseq("export", "v-sknn", "sknn", "--format", "trec", "--out", tmp_path / "trec", "--json")
    assert done.status == 0, done.err
    assert sorted(path.name for path in (tmp_path / "trec").iterdir()) == ["qrels", "sknn-2.run", "v-sknn-1.run"]
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "trec" / "qrels")))
    assert len(qrels) == 24
    for row in llmseq("report", "--json").json:
        run = list(ir_measures.read_trec_run(str(tmp_path / "trec" / f"{row['run']}.run")))
        found = ir_measures.calc_aggregate([nDCG @ 10, nDCG @ 20, RR @ 10, Success @ 20], qrels, run)
        assert found[nDCG @ 10] == pytest.approx(row["ndcg@10"])
        assert found[nDCG @ 20] == pytest.approx(row["ndcg@20"])
        assert found[RR @ 10] == pytest.approx(row["mrr@10"])
        assert found[Success @ 20] == pytest.approx(row["hr@20"])


def test_trec_runs_must_be_on_the_same_sessions(llmseq, trained, tmp_path):
    llmseq("sql", "delete from core.case_rank where run_id = 2 and case_id % 2 = 0", "--write")
    done = llmseq("export", "v-sknn", "sknn", "--format", "trec", "--out", tmp_path / "trec")
    assert done.status == 2
    assert "not scored on the same sessions" in done.err
    assert llmseq("export", "sknn", "--format", "trec", "--out", tmp_path / "trec").status == 0


def test_tables_hold_the_recommendations(llmseq, trained, tmp_path):
    import pyarrow.parquet

    for name in ("parquet", "csv", "json"):
        assert llmseq("export", "1", "--format", name, "--out", tmp_path / name, "-k", "5").status == 0
    rows = pyarrow.parquet.read_table(tmp_path / "parquet").to_pylist()
    expected = llmseq(
        "sql", "select * from recommendations where run = 'v-sknn-1' and rank <= 5 order by session, rank", "--json"
    ).json
    assert sorted((row["session"], row["rank"], row["item"]) for row in rows) == [
        (row["session"], row["rank"], row["item"]) for row in expected
    ]
    assert {row["title"] for row in rows} <= {
        row["title"] for row in llmseq("sql", "select title from items", "--json").json
    }
    [report] = llmseq("report", "--models", "v-sknn", "--k", "5", "--json").json
    assert sum(row["is_ground_truth"] for row in rows) / 24 == pytest.approx(report["hr@5"])
    with (tmp_path / "csv").open(newline="") as file:
        assert [row["item"] for row in csv.DictReader(file)] == [row["item"] for row in rows]
    assert [row["item"] for row in json.loads((tmp_path / "json").read_text())] == [row["item"] for row in rows]


def test_atomic_files_are_read_back_as_the_same_dataset(llmseq, trained, tmp_path):
    folder = tmp_path / "atomic"
    assert llmseq("export", "v-sknn", "--format", "recbole", "--out", folder).status == 0
    assert (folder / "shop.inter").read_text().splitlines()[0] == "user_id:token\titem_id:token\ttimestamp:float"
    assert llmseq("ingest", folder / "shop.inter", "--name", "again").status == 0
    first, second = (llmseq("describe", name, "--json").json for name in ("shop", "again"))
    for key in ("sessions", "items", "interactions", "classes", "train_sessions", "evaluated_sessions", "train_items"):
        assert first[key] == second[key]
    titles = "select item, title, category from items where dataset = '{}' order by item"
    assert llmseq("sql", titles.format("shop"), "--json").json == llmseq("sql", titles.format("again"), "--json").json
    lines = {part: len((folder / f"shop.{part}.inter").read_text().splitlines()) - 1 for part in ("train", "test")}
    counts = llmseq("sql", "select part, sum(length)::int as n from splits where dataset = 'shop' group by 1", "--json")
    assert lines == {row["part"]: row["n"] for row in counts.json}
    assert llmseq("export", "--dataset", "shop", "--format", "recbole", "--out", folder).status == 0


def test_atomic_files_have_all_attributes_of_items(llmseq, tmp_path):
    clicks, items = tmp_path / "clicks.csv", tmp_path / "items.csv"
    clicks.write_text("user,item,time\nu,a,1600000000\nu,b,1600000001\nv,a,1600000000\nv,b,1600000001\n")
    items.write_text('item,title,category,"Brand: own","say ""hi"""\na,Tea  cup,Food,Acme Ltd,q\nb,Pot,,,\n')
    workspace = ("--workspace", tmp_path / "workspace")
    assert llmseq("ingest", clicks, "--items", items, "--name", "few", "--k-core", 0, *workspace).status == 0
    assert llmseq("export", "--format", "recbole", "--out", tmp_path / "out", *workspace).status == 0
    header, *rows = (tmp_path / "out" / "few.item").read_text().splitlines()
    assert header.split("\t")[3:] == ["Brand own:token_seq", 'say "hi":token_seq']
    assert rows == ["a\tTea cup\tFood\tAcme Ltd\tq", "b\tPot\t\t\t"]


def test_mlflow_gets_settings_metrics_and_curve_once(llmseq, shop, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow.tracking")
    shop.train(TrainOptions("gru4rec", settings={"epochs": 3, "dim": 8, "hidden": 8, "patience": 0}, device="cpu"))
    shop.train(TrainOptions("v-sknn"))
    folder = tmp_path / "mlruns"
    done = llmseq("export", "gru4rec", "v-sknn", "--format", "mlflow", "--out", folder, "--json")
    assert done.status == 0, done.err
    assert done.json["runs"] == ["gru4rec-1", "v-sknn-2"]
    again = llmseq("export", "gru4rec", "--format", "mlflow", "--out", folder, "--json").json
    assert (again["runs"], again["known"]) == ([], ["gru4rec-1"])
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(tracking_uri=folder.as_uri())
    runs = {run.info.run_name: run for run in client.search_runs([client.get_experiment_by_name("shop").experiment_id])}
    assert set(runs) == {"gru4rec-1", "v-sknn-2"}
    logged = runs["gru4rec-1"]
    row = next(row for row in llmseq("report", "--json").json if row["run"] == "gru4rec-1")
    assert logged.data.params["epochs"] == "3"
    assert logged.data.params["model"] == "gru4rec"
    assert logged.data.metrics["ndcg_at_20"] == pytest.approx(row["ndcg@20"])
    assert logged.data.metrics["train_seconds"] == pytest.approx(row["train_seconds"])
    assert [point.step for point in client.get_metric_history(logged.info.run_id, "epoch_loss")] == [1, 2, 3]
    assert logged.data.tags["versions.llmseq"]
    assert logged.info.status == "FINISHED"


def test_a_tracking_server_that_is_not_there_is_told(llmseq, trained, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = llmseq("export", "1", "--format", "mlflow", "--out", "http://127.0.0.1:9")
    assert done.status == 1
    assert "MLflow at http://127.0.0.1:9" in done.err


def test_what_cannot_be_exported_is_told(llmseq, trained, tmp_path):
    out = tmp_path / "out"
    assert llmseq("export", "v-sknn", "--format", "word", "--out", out).status == 2
    assert llmseq("export", "--format", "csv", "--out", out).status == 2
    assert llmseq("export", "no-such", "--out", out).status == 1
    assert llmseq("export", "v-sknn", "--out", tmp_path / "no" / "file").status == 1
    out.write_text("mine")
    assert llmseq("export", "v-sknn", "--format", "trec", "--out", out).status == 2
    assert out.read_text() == "mine"
    assert llmseq("export", "v-sknn", "-k", "0", "--out", out).status == 2
    assert set(EXPORTS) == {
        "parquet",
        "csv",
        "json",
        "trec",
        "recbole",
        "mlflow",
        "bundle",
        "lancedb",
        "pgvector",
        "qdrant",
    }


def test_training_is_logged_where_mlflow_looks(llmseq, shop, tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    refused = llmseq("train", "v-sknn", "--log", "wandb")
    assert (refused.status, "--log mlflow" in refused.err) == (2, True)
    folder = tmp_path / "tracked"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(folder))
    done = llmseq("train", "v-sknn", "--seeds", "2", "--log", "mlflow")
    assert done.status == 0, done.err
    assert f"logged to MLflow at {folder}" in done.err
    client = tracking.MlflowClient(tracking_uri=folder.as_uri())
    [experiment] = [one for one in client.search_experiments() if one.name != "Default"]
    assert len(client.search_runs([experiment.experiment_id])) == 2
