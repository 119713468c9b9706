"""Tuning on Ray: a cluster of its own, and one of two nodes started by hand of which one is killed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time

import pytest
from support.ray_nodes import free_port, kill
from support.tuning_steps import RANDOM, trials_of

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


def test_ray_finds_what_one_process_finds(llmseq, shop, quiet_ray):
    assert llmseq("tune", "sknn", "--trials", "6", *RANDOM, "--study", "one").status == 0
    made = llmseq(
        "tune", "sknn", "--trials", "6", *RANDOM, "--study", "ray", "--backend", "ray", "--workers", "2", "--json"
    )
    assert made.status == 0, made.err
    one, ray = ([(r["trial"], r["settings"], r["folds"]) for r in trials_of(llmseq, name)] for name in ("one", "ray"))
    assert one == ray


@pytest.mark.slow
def test_a_node_that_is_killed_costs_nothing(llmseq, shop, two_nodes):
    address, second = two_nodes
    words = ["tune", "gru4rec", "--set", "epochs=2", "--set", "dim=16", "--trials", "10", *RANDOM]
    command = [
        sys.executable,
        "-m",
        "llmseq_cli",
        *words,
        "--backend",
        "ray",
        "--ray-address",
        address,
        "--workers",
        "2",
    ]
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
