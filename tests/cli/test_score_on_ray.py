"""`score` by blocks, here and on the workers of a Ray cluster: the same lists."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys

import numpy as np
import pytest
from support.ray_nodes import free_port, listening

from llmseq_cli import EmbedOptions, TrainOptions
from llmseq_cli.training import scorers

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

N_SESSIONS = 90


@pytest.fixture
def sessions(tmp_path):
    random = np.random.default_rng(3)
    rows = [
        f"s{session},i{item:02d}\n"
        for session in random.permutation(N_SESSIONS)
        for item in random.integers(0, 40, size=random.integers(1, 9))
    ]
    file = tmp_path / "sessions.csv"
    file.write_text("session,item\n" + "".join(rows), encoding="utf-8")
    return file


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(scorers, "SESSIONS_PER_BLOCK", 16)


@pytest.fixture
def runs(shop, prepared):
    def build(workspace):
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("llmseqsim", embeddings="lexical"))
        workspace.train(TrainOptions("v-sknn"))
        workspace.train(TrainOptions("sasrec", settings={"dim": 16, "epochs": 1, "patience": 0}))
        workspace.train(
            TrainOptions("blend", runs=["llmseqsim-1", "v-sknn-2", "sasrec-3"], settings={"weights": "1,1,1"})
        )

    prepared(shop, "runs-to-score", build)
    return ["llmseqsim", "v-sknn", "sasrec", "blend"]


def rows(file):
    import duckdb

    return duckdb.sql(f"select * from '{file}'").fetchall()


def test_blocks_change_nothing(llmseq, runs, sessions, tmp_path, monkeypatch):
    for run in runs:
        words = ["score", run, "--sessions", sessions, "--out"]
        assert llmseq(*words, tmp_path / "whole.csv").status == 0
        with monkeypatch.context() as patch:
            patch.setattr(scorers, "SESSIONS_PER_BLOCK", 7)
            assert llmseq(*words, tmp_path / "parts.csv").status == 0
        whole, parts = rows(tmp_path / "whole.csv"), rows(tmp_path / "parts.csv")
        assert len({session for session, *_ in whole}) == N_SESSIONS
        assert [row[:3] for row in parts] == [row[:3] for row in whole]
        # The last bits of a product depend on its place in a block: a score may be rounded to the other side.
        np.testing.assert_allclose([row[3] for row in parts], [row[3] for row in whole], rtol=2e-5)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")], "nothing is left beside the lists"


@needs_ray
def test_no_cluster_at_the_address(llmseq, runs, sessions, tmp_path):
    out = tmp_path / "lists.parquet"
    words = ["score", "v-sknn", "--sessions", sessions, "--out", out]
    made = llmseq(*words, "--backend", "ray", "--ray-address", f"127.0.0.1:{free_port()}")
    assert (made.status, "no Ray cluster answers at 127.0.0.1" in made.err) == (1, True), made.err
    assert not out.exists()


@needs_ray
@pytest.mark.usefixtures("cluster", "small_blocks")
def test_workers_find_the_same_lists(llmseq, runs, sessions, tmp_path):
    for run in runs:
        words = ["score", run, "--sessions", sessions, "--out"]
        assert llmseq(*words, tmp_path / f"{run}-here.parquet").status == 0
        made = llmseq(*words, tmp_path / f"{run}-ray.parquet", "--backend", "ray", "--workers", 2, "--json")
        assert made.status == 0, made.err
        assert made.json["sessions"] == N_SESSIONS
        assert rows(tmp_path / f"{run}-ray.parquet") == rows(tmp_path / f"{run}-here.parquet")


@needs_ray
@pytest.mark.usefixtures("cluster", "small_blocks")
def test_a_worker_that_goes_away_costs_nothing(llmseq, runs, sessions, tmp_path, monkeypatch):
    once, score = tmp_path / "once", scorers._score

    def dies_once(key, parts, block, k, exclude_history):
        if block.ids[0] >= 32 and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return score(key, parts, block, k, exclude_history)

    words = ["score", "v-sknn", "--sessions", sessions, "--out"]
    assert llmseq(*words, tmp_path / "here.parquet").status == 0
    monkeypatch.setattr(scorers, "_score", dies_once)
    made = llmseq(*words, tmp_path / "ray.parquet", "--backend", "ray", "--workers", 2)
    assert made.status == 0, made.err
    assert once.exists()
    assert rows(tmp_path / "ray.parquet") == rows(tmp_path / "here.parquet")


@needs_ray
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.usefixtures("cluster")
def test_a_cluster_of_ones_own_listens_to_this_machine_alone():
    import ray

    assert ray.get(ray.remote(lambda: 7).remote()) == 7
    sockets = listening(os.getpid())
    assert {"gcs_server", "raylet"} <= {program for _, program in sockets}
    loopback = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
    assert [one for one in sockets if one[0] not in loopback] == []
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ, "other clusters are joined as before"


def test_words_that_do_not_go_together(llmseq, runs, sessions, tmp_path):
    words = ["score", "v-sknn", "--sessions", sessions, "--out", tmp_path / "lists.parquet"]
    for wrong in (["--backend", "spark"], ["--ray-address", "auto"], ["--workers", 2]):
        refused = llmseq(*words, *wrong)
        assert refused.status == 2, refused.err
        assert [line.split(":")[0] for line in refused.err.splitlines()][:2] == ["error", "hint"]
