"""`train --backend ray`: a cluster of its own, and one started by hand; workers that are killed; wrong words."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

SMALL = ["--set", "dim=16", "--set", "batch_size=32", "--set", "dropout=0", "--set", "precision=float32"]
ON_RAY = ["--backend", "ray", "--workers", "2"]


@pytest.fixture(autouse=True)
def _quiet_ray(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # its sockets' paths must be short
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture
def two_cpus(monkeypatch):
    """A machine that has them."""
    monkeypatch.setattr("llmseq_cli.training.ray_training.usable_cores", lambda: 2)


def arrays_of(workspace, run: str) -> dict[str, np.ndarray]:
    return load_file(workspace.folder / "artifacts" / "runs" / run / "model.safetensors")


def environment_of(llmseq, run: str) -> dict:
    [row] = llmseq("sql", f"select environment, figures from runs where run = '{run}'", "--json").json
    return {name: json.loads(value) if isinstance(value, str) else value for name, value in row.items()}


@needs_ray
@pytest.mark.parametrize("model", ["sasrec", "bert4rec"])
def test_two_workers_train_what_one_process_trains(llmseq, shop, two_cpus, model):
    words = ["train", model, *SMALL, "--set", "epochs=3", "--json"]
    [alone] = llmseq(*words).json
    made = llmseq(*words, *ON_RAY)
    assert made.status == 0, made.err
    [together] = made.json
    assert together["epochs"] == alone["epochs"]
    assert together["ndcg@20"] == pytest.approx(alone["ndcg@20"], abs=0.02)
    one, other = (arrays_of(shop, row["run"])["network.item_vectors.vectors"] for row in (alone, together))
    np.testing.assert_allclose(other, one, atol=5e-3)
    about = environment_of(llmseq, together["run"])
    assert (about["environment"]["backend"], about["figures"]["workers"]) == ("ray", 2)
    assert not list(shop.folder.glob("artifacts/checkpoints/*"))
    assert len(llmseq("recommend", together["run"], "i01", "i02", "-k", 3, "--json").json) == 3


def workers_of(driver: int) -> list[int]:
    """The processes in which Ray trains, of all that a driver started."""
    import psutil

    found = []
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child.pid)
        except psutil.Error:
            continue
    return found


@needs_ray
def test_a_worker_that_is_killed_costs_an_epoch_at_most(llmseq, shop, tmp_path):
    """The workers' weights are those of a training that lost none."""
    words = ["train", "sasrec", *SMALL, "--set", "epochs=60", "--set", "patience=0", "--set", "batch_size=4"]
    code = (
        "import llmseq_cli.training.ray_training as ray_training; ray_training.usable_cores = lambda: 2\n"
        "from llmseq_cli.__main__ import main; main()"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, *words, *ON_RAY, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 400
    while not list(shop.folder.glob("artifacts/checkpoints/*/*/step-*")):
        assert driver.poll() is None, driver.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(workers_of(driver.pid)[-1], signal.SIGKILL)
    out, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    [row] = json.loads(out)
    assert row["epochs"] == 60
    assert environment_of(llmseq, row["run"])["figures"]["workers_lost"] == 1
    [whole] = llmseq(*words, "--json").json
    one, other = (arrays_of(shop, each["run"])["network.item_vectors.vectors"] for each in (whole, row))
    np.testing.assert_allclose(other, one, atol=2e-2)


@needs_ray
def test_what_was_begun_here_goes_on_there_and_errors_of_workers_are_told(llmseq, shop, two_cpus):
    """One cluster of its own for each of two commands."""
    words = ["train", "gru4rec", *SMALL, "--set", "epochs=2"]
    refused = llmseq(*words, "--set", "learning_rate=1e30", *ON_RAY)
    assert (refused.status, "the loss is no number any more" in refused.err) == (1, True), refused.err
    assert "Traceback" not in refused.err
    made = llmseq(*words, "--resume", *ON_RAY)
    assert made.status == 0, made.err
    assert "no checkpoint of this training" in made.err
    assert len(llmseq("report", "--json").json) == 1


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@needs_ray
def test_no_cluster_at_the_address(llmseq, shop):
    made = llmseq("train", "sasrec", "--backend", "ray", "--ray-address", f"127.0.0.1:{free_port()}")
    assert (made.status, "no Ray cluster answers at 127.0.0.1" in made.err) == (1, True), made.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sasrec", "--backend", "loky"], "there is no backend 'loky'"),
        (["sasrec", "--workers", "2"], "--workers without Ray"),
        (["sasrec", "--ray-address", "auto"], "--ray-address without Ray"),
        (["sknn", "--backend", "ray"], "sknn is not trained by several workers"),
        (["sasrec", "--backend", "ray", "--ray-address", "ray://host:10001"], "needs a machine of the cluster"),
        (["sasrec", "--backend", "ray", "--device", "tpu"], "there is no device 'tpu'"),
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
