"""Vectors in a vector store: its nearest items are those that the run recommends."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from support.doc_pages import blocks_of
from support.postgres import postgres

from llmseq_cli import EmbedOptions, TrainOptions
from llmseq_cli.bundle import Bundle

ODD = """it's "odd", \\ and\ntwo lines"""
ODD_SQL = "'" + ODD.replace("'", "''") + "'"
SESSION = ["i01", "i02", "i03"]


@pytest.fixture
def trained(shop, prepared):
    def build(workspace):
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("v-sknn"))
        workspace.train(TrainOptions("llmseqsim", embeddings="lexical"))  # sparse
        for similarity in ("cosine", "dot", "euclidean"):
            dense = {"reduce": "whiten", "dim": 8, "settings": {"similarity": similarity}}
            workspace.train(TrainOptions("llmseqsim", embeddings="lexical", **dense))
        workspace.train(TrainOptions("gru4rec", settings={"epochs": 1, "dim": 8, "hidden": 8}, device="cpu"))

    return prepared(shop, "runs-with-vectors", build)


RUNS = {"llmseqsim-3": "cosine", "llmseqsim-4": "dot", "llmseqsim-5": "euclidean", "gru4rec-6": "dot"}


def wanted(workspace, run) -> list[str]:
    return [row["item"] for row in workspace.recommend(run, SESSION, k=5)]


def vector_of(workspace, run, folder) -> np.ndarray:
    workspace.export([run], "bundle", folder)
    return Bundle.open(folder).session_vector(SESSION)


def nearest(items: list[str], vectors: np.ndarray, vector: np.ndarray, similarity: str) -> list[str]:
    products = vectors @ vector
    if similarity == "cosine":
        products = products / np.linalg.norm(vectors, axis=1)
    if similarity == "euclidean":
        products = -np.linalg.norm(vectors - vector, axis=1)
    order = np.argsort(-products, kind="stable")
    return [items[place] for place in order if items[place] not in SESSION][:5]


@pytest.mark.parametrize("run", RUNS)
def test_lancedb_finds_what_the_run_recommends(llmseq, trained, tmp_path, run):
    lancedb = pytest.importorskip("lancedb")
    done = llmseq("export", run, "--format", "lancedb", "--out", tmp_path / "db", "--json")
    assert done.status == 0, done.err
    assert (done.json["runs"], done.json["similarity"]) == ([run], RUNS[run])
    vector = vector_of(trained, run, tmp_path / "bundle")
    page = (tmp_path / "db" / "README.md").read_text(encoding="utf-8")
    asked = blocks_of(page, "python")[-1]
    metric = {"cosine": "cosine", "dot": "dot", "euclidean": "l2"}[RUNS[run]]
    assert f'distance_type("{metric}")' in asked
    items = lancedb.connect(str(tmp_path / "db")).open_table("items")
    found = items.search(vector).distance_type(metric).limit(8).to_list()
    assert [row["item"] for row in found if row["item"] not in SESSION][:5] == wanted(trained, run)
    assert {row["item"]: row["title"] for row in found}.items() <= dict(
        trained.sql("select item, title from items")[1]
    ).items()


@pytest.mark.parametrize("run", RUNS)
def test_files_for_pgvector_and_qdrant_hold_the_same(llmseq, trained, tmp_path, run):
    vector = vector_of(trained, run, tmp_path / "bundle")
    for kind in ("pgvector", "qdrant"):
        assert llmseq("export", run, "--format", kind, "--out", tmp_path / kind).status == 0
    with (tmp_path / "pgvector" / "items.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    vectors = np.array([json.loads(row["embedding"]) for row in rows], dtype=np.float32)
    assert nearest([row["item"] for row in rows], vectors, vector, RUNS[run]) == wanted(trained, run)
    statements = (tmp_path / "pgvector" / "items.sql").read_text(encoding="utf-8")
    operators = {"cosine": "vector_cosine_ops", "dot": "vector_ip_ops", "euclidean": "vector_l2_ops"}
    assert f"embedding vector({vectors.shape[1]}) not null" in statements
    assert f"using hnsw (embedding {operators[RUNS[run]]})" in statements
    about = json.loads((tmp_path / "qdrant" / "collection.json").read_text())
    assert about["vectors"]["size"] == vectors.shape[1]
    lines = (tmp_path / "qdrant" / "points.jsonl").read_text(encoding="utf-8").splitlines()
    points = [point for line in lines for point in json.loads(line)["points"]]
    assert [point["payload"]["item"] for point in points] == [row["item"] for row in rows]
    np.testing.assert_array_equal([point["vector"] for point in points], vectors)
    assert len({point["id"] for point in points}) == len(points)


@pytest.fixture(scope="module")
def database():
    with postgres() as environment:
        yield environment


def psql(environment, folder, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["psql", environment["DATABASE_URL"], "-X", "-q", "-A", "-t", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("run", [run for run in RUNS if run.startswith("llmseqsim")])
def test_a_postgres_server_finds_what_the_run_recommends(trained, database, tmp_path, run):
    vector = vector_of(trained, run, tmp_path / "bundle")
    trained.sql(f"update core.item set title = {ODD_SQL} where external_id = 'i07'", write=True)
    folder = tmp_path / "pg"
    trained.export([run], "pgvector", folder)
    page = (folder / "README.md").read_text(encoding="utf-8")
    [load], [asked] = blocks_of(page, "sh"), blocks_of(page, "sql")
    assert psql(database, folder, "-c", "drop table if exists items").returncode == 0
    loaded = subprocess.run(["bash", "-c", load], cwd=folder, env=database, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    number = "[" + ",".join(map(str, vector.tolist())) + "]"
    asked = asked.replace("[…]", number).replace("item, title", "item").replace("limit 20", "limit 8")
    found = psql(database, folder, "-c", asked).stdout.split()
    assert [item for item in found if item not in SESSION][:5] == wanted(trained, run)
    assert psql(database, folder, "-c", "select title from items where item = 'i07'").stdout == ODD + "\n"
    assert "USING hnsw" in psql(database, folder, "-c", "select indexdef from pg_indexes").stdout
    count = psql(database, folder, "-c", "select count(*) from items").stdout
    if run != "llmseqsim-3":
        return
    # A second time, or with a damaged file, nothing of what is there changes.
    again = subprocess.run(["bash", "-c", load], cwd=folder, env=database, capture_output=True, text=True, check=False)
    assert (again.returncode, "already exists" in again.stderr) == (3, True)
    psql(database, folder, "-c", "alter table items rename to kept")
    lines = (folder / "items.csv").read_text(encoding="utf-8").replace(",", ",x", 1)
    (folder / "items.csv").write_text(lines[: len(lines) // 2], encoding="utf-8")
    assert subprocess.run(["bash", "-c", load], cwd=folder, env=database, capture_output=True, check=False).returncode
    assert psql(database, folder, "-c", "select count(*) from kept").stdout == count
    assert "does not exist" in psql(database, folder, "-c", "select count(*) from items").stderr
    psql(database, folder, "-c", "drop table kept")


def test_words_that_are_off(llmseq, trained, tmp_path, monkeypatch):
    out = tmp_path / "out"
    for run in ("v-sknn-1", "llmseqsim-2"):
        done = llmseq("export", run, "--format", "qdrant", "--out", out)
        assert (done.status, "does not score items by dense vectors" in done.err) == (2, True)
    assert llmseq("export", "gru4rec", "llmseqsim", "--format", "qdrant", "--out", out).status == 2
    assert llmseq("export", "gru4rec", "--format", "qdrant", "--out", out, "-k", "3").status == 2
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("kept")
    assert llmseq("export", "gru4rec", "--format", "qdrant", "--out", out).status == 2
    assert [file.name for file in out.iterdir()] == ["mine"]
    monkeypatch.setitem(sys.modules, "lancedb", None)
    done = llmseq("export", "gru4rec", "--format", "lancedb", "--out", tmp_path / "db")
    assert (done.status, "llmseq[lancedb]" in done.err) == (1, True)
    trained.export(["v-sknn-1"], "bundle", tmp_path / "bundle")
    with pytest.raises(Exception, match="no session vectors"):
        Bundle.open(tmp_path / "bundle").session_vector(SESSION)
