"""What the tests on Ray share: a quiet Ray, and a cluster of two nodes started by hand."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

with suppress(ImportError):  # loaded late, beside all that other tests load, its library crashes the process
    import ray  # noqa: F401

RAY = Path(sys.executable).with_name("ray")


@pytest.fixture
def quiet_ray(monkeypatch):
    _calm(monkeypatch)


def _calm(patch):
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_TMPDIR", "/tmp")  # its sockets' paths must be short
    patch.setenv("RAY_worker_niceness", "0")  # 15 otherwise: on a machine that is busy with other tests they'd starve
    patch.setenv("RAY_health_check_period_ms", "500")  # a node that was killed is missed after two seconds, not fifteen


@pytest.fixture
def cluster(quiet_ray):
    """A cluster of this machine's own, which stays for the next test that asks for one."""
    from llmseq_cli.ray_cluster import connect

    connect(None, 2)


@pytest.fixture(autouse=True)
def _no_cluster(request):
    """A test that asks for no cluster is connected to none."""
    loaded = sys.modules.get("ray")
    if loaded is not None and loaded.is_initialized() and "cluster" not in request.fixturenames:
        loaded.shutdown()


def on_ray(item: pytest.Item) -> int:
    """Where tests on Ray stand among those of a run: tests on one's own cluster, on the shared one, others."""
    wanted = set(item.fixturenames)
    return 1 if "cluster" in wanted else 0 if wanted & {"quiet_ray", "two_nodes"} else 2


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
def two_nodes(quiet_ray, monkeypatch):
    # A token of its own: Ray 2.60 wants the user's on a machine where it ever made one, and none elsewhere.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid4().hex)
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


def listening(process: int) -> list[tuple[str, str]]:
    """(address, program) of all sockets on which a process and all that it started listen, from /proc."""
    import psutil

    owners: dict[str, str] = {}
    for number in children(process):
        try:
            files = [os.readlink(file) for file in Path(f"/proc/{number}/fd").iterdir()]
            name = psutil.Process(number).name()
        except (OSError, psutil.Error):
            continue
        owners |= {file[len("socket:[") : -1]: name for file in files if file.startswith("socket:[")}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in owners:
                found.append((words[1].rpartition(":")[0], owners[words[9]]))
    return found
