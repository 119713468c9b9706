"""`train --backend ray`: a cluster of its own, and one of two nodes started by hand of which one is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.ray_nodes import kill

from llmseq_cli.errors import LlmseqError

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

SMALL = ["--set", "dim=16", "--set", "batch_size=32", "--set", "dropout=0", "--set", "precision=float32"]
ON_RAY = ["--backend", "ray", "--workers", "2"]
LONG = ["train", "sasrec", *SMALL, "--set", "epochs=10", "--set", "patience=0", "--set", "batch_size=4"]


def arrays_of(workspace, run: str) -> dict[str, np.ndarray]:
    return load_file(workspace.folder / "artifacts" / "runs" / run / "model.safetensors")


def figures_of(llmseq, run: str, column: str = "figures") -> dict:
    [row] = llmseq("sql", f"select {column} as about from runs where run = '{run}'", "--json").json
    return json.loads(row["about"]) if isinstance(row["about"], str) else row["about"]


@needs_ray
def test_two_workers_train_what_one_process_trains(llmseq, shop, cluster):
    words = ["train", "bert4rec", *SMALL, "--set", "epochs=3", "--json"]
    [alone] = llmseq(*words).json
    made = llmseq(*words, *ON_RAY)
    assert made.status == 0, made.err
    [together] = made.json
    assert together["epochs"] == alone["epochs"]
    assert together["ndcg@20"] == pytest.approx(alone["ndcg@20"], abs=0.02)
    one, other = (arrays_of(shop, row["run"])["network.item_vectors.vectors"] for row in (alone, together))
    np.testing.assert_allclose(other, one, atol=5e-3)
    assert figures_of(llmseq, together["run"], "environment")["backend"] == "ray"
    assert figures_of(llmseq, together["run"])["workers"] == 2
    assert "2 workers on Ray" in llmseq("show", together["run"]).out
    assert not list(shop.folder.glob("artifacts/checkpoints/*"))
    assert len(llmseq("recommend", together["run"], "i01", "i02", "-k", 3, "--json").json) == 3


@needs_ray
@pytest.mark.slow
def test_workers_go_on_from_a_run(llmseq, shop, cluster):
    [start] = llmseq("train", "sasrec", *SMALL, "--set", "epochs=2", "--set", "patience=0", "--json").json
    words = ["train", "sasrec", "--warm", start["run"], "--set", "epochs=1", "--json"]
    [alone] = llmseq(*words).json
    made = llmseq(*words, *ON_RAY)
    assert made.status == 0, made.err
    [together] = made.json
    assert figures_of(llmseq, together["run"], "settings")["warm"] == start["run"]
    one, other, before = (
        arrays_of(shop, row["run"])["network.item_vectors.vectors"] for row in (alone, together, start)
    )
    np.testing.assert_allclose(other, one, atol=5e-3)
    assert np.abs(one - before).max() < np.abs(before).max() / 2, "it went on from there"


def checkpoint(workspace, seconds: float = 240) -> None:
    """Waits until one is there."""
    deadline = time.monotonic() + seconds
    while not list(workspace.folder.glob("artifacts/checkpoints/*/*/step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def trainers() -> list[int]:
    """The processes in which Ray trains, of all that this one started."""
    import psutil

    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [child.pid] if "RayTrainWorker" in " ".join(child.cmdline()) else []
    return found


def kill_a_worker(workspace) -> None:
    """One of the processes in which Ray trains, after the first epoch."""
    checkpoint(workspace)
    os.kill(trainers()[0], signal.SIGKILL)


def check_the_loss(llmseq, shop, run: str, left: int) -> None:
    """One loss, so many workers left, and the weights of a training that lost none."""
    figures = figures_of(llmseq, run)
    assert (figures["workers_lost"], figures["workers"], figures["epochs"]) == (1, left, 10)
    [whole] = llmseq(*LONG, "--json").json
    one, other = (arrays_of(shop, each)["network.item_vectors.vectors"] for each in (whole["run"], run))
    np.testing.assert_allclose(other, one, atol=2e-2)


@needs_ray
@pytest.mark.slow  # Ray takes half a minute to replace it
def test_a_worker_that_is_killed_costs_an_epoch_at_most(llmseq, shop, cluster):
    killer = threading.Thread(target=kill_a_worker, args=(shop,))
    killer.start()
    made = llmseq(*LONG, *ON_RAY)
    killer.join()
    assert made.status == 0, made.err
    assert "a worker was lost: continuing from the last checkpoint with 2" in made.err
    check_the_loss(llmseq, shop, "sasrec-1", 2)


@needs_ray
def test_what_was_begun_here_goes_on_there(llmseq, shop, cluster, monkeypatch):
    words = ["train", "gru4rec", *SMALL, "--set", "patience=0"]

    def fail(*_):
        raise LlmseqError("the power went off")

    with monkeypatch.context() as patched:
        patched.setattr("llmseq_cli.training.experiment.evaluate", fail)
        assert "the power went off" in llmseq(*words, "--set", "epochs=2").err
    assert list(shop.folder.glob("artifacts/checkpoints/*/*/step-*"))
    made = llmseq(*words, "--set", "epochs=4", "--resume", *ON_RAY)
    assert made.status == 0, made.err
    assert "continuing after epoch 2, step 0" in made.err
    whole = llmseq(*words, "--set", "epochs=4", "--json").json[0]["run"]
    one, other = (arrays_of(shop, run)["network.item_vectors.vectors"] for run in (whole, "gru4rec-1"))
    np.testing.assert_allclose(other, one, atol=5e-3)


@needs_ray
def test_an_error_of_the_workers_is_told_and_not_tried_again(llmseq, shop, cluster):
    refused = llmseq("train", "sasrec", *SMALL, "--set", "heads=3", *ON_RAY)
    assert (refused.status, "cannot be divided among 3 heads" in refused.err) == (2, True), refused.err
    assert llmseq("report", "--json").json == []
    deadline = time.monotonic() + 240
    while trainers():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@needs_ray
def test_more_workers_than_processors(llmseq, shop, cluster):
    refused = llmseq("train", "sasrec", "--backend", "ray", "--workers", "3")
    assert (refused.status, "has 2 CPUs for 3 workers" in refused.err) == (2, True), refused.err
    refused = llmseq("train", "sasrec", "--backend", "ray", "--device", "cuda")
    assert (refused.status, "the Ray cluster has no GPU" in refused.err) == (2, True), refused.err


def begun(command: list[str], workspace) -> subprocess.Popen:
    """A training after its first epoch; the command is repeated until the second node has joined."""
    while True:
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while driver.poll() is None:
            if list(workspace.folder.glob("artifacts/checkpoints/*/*/step-*")):
                return driver
            time.sleep(0.02)
        said = driver.communicate()[1]
        assert "has 1 CPUs for 2 workers" in said, said


@needs_ray
@pytest.mark.slow
def test_a_node_that_is_killed_leaves_the_rest_at_work(llmseq, shop, two_nodes, monkeypatch):
    address, second = two_nodes
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "15")  # Ray waits a minute for the lost one to return
    driver = begun([sys.executable, "-m", "llmseq_cli", *LONG, *ON_RAY, "--ray-address", address], shop)
    kill(second)
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    assert "continuing from the last checkpoint with 1" in err
    check_the_loss(llmseq, shop, "sasrec-1", 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sasrec", "--backend", "loky"], "only tuning has the backend 'loky'"),
        (["sasrec", "--workers", "2"], "--workers without Ray"),
        (["sasrec", "--ray-address", "auto"], "--ray-address without Ray"),
        (["sknn", "--backend", "ray"], "sknn is not trained by several workers"),
        (["sasrec", "--backend", "ray", "--ray-address", "ray://host:10001"], "needs a machine of the cluster"),
        (["sasrec", "--backend", "ray", "--device", "tpu"], "there is no device 'tpu'"),
        (["sasrec", "--backend", "ray", "--workers", "0"], "--workers"),
    ],
)
def test_wrong_words(llmseq, shop, words, said):
    refused = llmseq("train", *words)
    assert (refused.status, said in refused.err) == (2, True), refused.err


def test_without_ray(llmseq, shop, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = llmseq("train", "sasrec", "--backend", "ray")
    assert (refused.status, "Ray is not installed" in refused.err) == (1, True), refused.err
    assert "pip install 'llmseq[ray]'" in refused.err
