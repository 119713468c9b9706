"""kill -9 of a real process at every stage of a job, at every service, with one call of twenty failing."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from support.chat_server import KEY, ChatServer
from support.hosted_servers import ADAPTER, AzureServer, FireworksServer, TogetherServer
from support.vertex_server import write_service_account
from support.vertex_tuning_server import FAULTS, VertexTuningServer
from support.warm import Command

from llmseq_cli.finetuning import jobs as job_module
from llmseq_cli.finetuning.ledger import Ledger

SERVERS = {
    "openai": ChatServer,
    "azure": AzureServer,
    "together": TogetherServer,
    "fireworks": FireworksServer,
    "vertex": VertexTuningServer,
}
STAGES = ("upload", "submit", "wait", "download")
USUAL = {
    ("openai", "submit"),
    ("azure", "upload"),
    ("together", "wait"),
    ("fireworks", "download"),
    ("vertex", "upload"),
}
"""What runs every time; each service and each stage is among it. The others are marked slow."""

CASES = [
    pytest.param(name, stage, marks=[] if (name, stage) in USUAL else pytest.mark.slow, id=f"{name}-{stage}")
    for name in SERVERS
    for stage in STAGES
]


@pytest.fixture
def service(request, monkeypatch, tmp_path):
    """The loopback of the service that a test names, with its key and address set."""
    name = request.getfixturevalue("name")
    server = SERVERS[name]()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(job_module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 0.0)
    if name == "vertex":
        for variable in [one for one in os.environ if one.startswith(("GOOGLE_", "GEMINI_", "GCLOUD_"))]:
            monkeypatch.delenv(variable)
        file, server.private_key, server.public_key = write_service_account(tmp_path, server.token_uri)
        server.fault_kinds = FAULTS
        server.key = server.private_key
        variables = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(file), "GOOGLE_VERTEX_BASE_URL": server.url, "NO_GCE_CHECK": "true",
            "GOOGLE_CLOUD_BUCKET": "shop-bucket", "STORAGE_EMULATOR_HOST": server.url,
            "CLOUDSDK_CONFIG": str(tmp_path / "no gcloud"),
        }  # fmt: skip
    else:
        variables = {
            "openai": {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url},
            "azure": {
                "AZURE_OPENAI_API_KEY": server.key,
                "AZURE_OPENAI_ENDPOINT": server.url.removesuffix("/v1"),
            },
            "together": {"TOGETHER_API_KEY": server.key, "TOGETHER_BASE_URL": server.url},
            "fireworks": {
                "FIREWORKS_API_KEY": server.key,
                "FIREWORKS_BASE_URL": server.url,
                "FIREWORKS_ACCOUNT_ID": "acme",
            },
        }[name]
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    server.fault_share = 0.05
    yield server
    server.stop()


def reached(server, stage, path):
    """Whether the server has just done what belongs to this stage."""
    if stage == "download":
        return any(part in path for part in ("/content", "/finetune/download", "/signed/", "/tuningJobs/"))
    if stage == "upload":
        return bool(getattr(server, "objects", None) or server_files(server)) and not server.jobs
    if stage == "submit":
        return bool(server.jobs)
    first = (getattr(server, "states", None) or server.steps)[0]
    return any(job.get("state", job.get("status")) != first for job in server.jobs.values())


def server_files(server):
    return getattr(server, "files", {})


def killed(server, stage, *words):
    """Runs a command in a process of its own, which is killed as soon as the server reaches the stage."""
    process, seen = [], []

    def kill(path):
        if not seen and reached(server, stage, path):
            seen.append(Path(f"/proc/{process[0].pid}/cmdline"))
            if seen[0].exists():
                assert server.key.encode() not in seen[0].read_bytes()
            process[0].send_signal(signal.SIGKILL)
            process[0].wait()

    server.after = kill
    process.append(Command(*words))
    status = process[0].wait(120)
    server.after = lambda path: None
    assert (status, len(seen)) == (-signal.SIGKILL, 1), process[0].err


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_kill_9_loses_no_job_and_submits_none_twice(llmseq, ready, tmp_path, service, name, stage):
    model = next(iter(service.models))
    words = ["finetune", "--provider", name, "--model", model, "--limit", "20", "--wait"]
    if stage != "download":
        killed(service, stage, *words, "--workspace", ready.folder)
        [listed] = llmseq("jobs", "--json").json
        assert listed["job"] == "genitem-1"
        assert listed["status"] == {"upload": "uploading"}.get(stage, listed["status"])
    made = llmseq(*words, "--json")
    assert made.status == 0, made.err
    assert (made.json["job"], made.json["status"], len(service.jobs)) == ("genitem-1", "succeeded", 1)
    [job] = Ledger(ready.store).jobs()
    if name == "vertex":
        assert set(service.uploads.values()) == {1}
    else:
        names = Counter(file for file, _ in service.files.values())
        assert names[f"llmseq-{job.token}-training.jsonl"] == names[f"llmseq-{job.token}-validation.jsonl"] == 1
    folder = tmp_path / "downloaded"
    fetch = ["jobs", "download", "genitem-1", "--out", folder]
    if stage == "download":
        killed(service, stage, *fetch, "--workspace", ready.folder)
        assert not folder.exists() or not [file for file in folder.iterdir() if file.name in ADAPTER], "half a file"
    done = llmseq(*fetch, "--json")
    assert done.status == 0, done.err
    assert done.json["downloaded"]
    assert all(Path(file).stat().st_size for file in done.json["downloaded"])
    if name == "fireworks":
        assert {Path(file).name: Path(file).read_bytes() for file in done.json["downloaded"]} == ADAPTER
    assert len(service.jobs) == 1
