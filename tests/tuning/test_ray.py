"""Tuning on Ray: a cluster of its own, and one of two nodes started by hand of which one is killed."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_tune import RANDOM, trials_of

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

RAY = Path(sys.executable).with_name("ray")


@pytest.fixture
def quiet_ray(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # its sockets' paths must be short


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(*words: str) -> subprocess.Popen:
    command = [str(RAY), "start", "--block", "--num-cpus=1", "--disable-usage-stats", *words]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def children(process: int) -> list[int]:
    """A process and all that it started, whatever their groups."""
    import psutil

    one = psutil.Process(process)
    return [process, *[child.pid for child in one.children(recursive=True)]]


def kill(process: subprocess.Popen) -> None:
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def two_nodes(quiet_ray):
    port = free_port()
    address = f"127.0.0.1:{port}"
    head = start("--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false")
    for _ in range(240):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert head.poll() is None
            time.sleep(0.25)
    second = start(f"--address={address}", "--node-ip-address=127.0.0.1")
    yield address, second
    for node in (second, head):
        if node.poll() is None:
            kill(node)


def test_ray_finds_what_one_process_finds(llmseq, shop, quiet_ray):
    assert llmseq("tune", "sknn", "--trials", "6", *RANDOM, "--study", "one").status == 0
    made = llmseq(
        "tune", "sknn", "--trials", "6", *RANDOM, "--study", "ray", "--backend", "ray", "--jobs", "2", "--json"
    )
    assert made.status == 0, made.err
    one, ray = ([(r["trial"], r["settings"], r["folds"]) for r in trials_of(llmseq, name)] for name in ("one", "ray"))
    assert one == ray


def test_a_node_that_is_killed_costs_nothing(llmseq, shop, two_nodes):
    address, second = two_nodes
    words = ["tune", "gru4rec", "--set", "epochs=2", "--set", "dim=16", "--trials", "10", *RANDOM]
    command = [sys.executable, "-m", "llmseq_cli", *words, "--backend", "ray", "--ray-address", address, "--jobs", "2"]
    tuning = subprocess.Popen(command, env=os.environ.copy(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    journal = shop.folder / "artifacts" / "studies" / "shop-gru4rec" / "journal.log"
    while not (journal.exists() and journal.read_text().count('"folds"') >= 3):
        assert tuning.poll() is None, tuning.stderr.read().decode()
        time.sleep(0.05)
    kill(second)
    said = tuning.communicate(timeout=240)[1].decode()
    assert tuning.returncode == 0, said
    assert llmseq(*words, "--study", "one").status == 0
    one, ray = ([(r["trial"], r["settings"]) for r in trials_of(llmseq, name)] for name in ("one", "shop-gru4rec"))
    assert one == ray
    assert all(row["state"] in ("complete", "pruned") for row in trials_of(llmseq, "shop-gru4rec"))


def test_no_cluster_at_the_address(llmseq, shop):
    made = llmseq("tune", "sknn", "--backend", "ray", "--ray-address", f"127.0.0.1:{free_port()}", "--trials", "2")
    assert (made.status, "no Ray cluster answers at 127.0.0.1" in made.err) == (1, True), made.err
    assert not list((shop.folder / "artifacts").glob("studies/*"))
