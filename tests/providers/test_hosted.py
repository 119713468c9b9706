"""Together, Fireworks and Azure against loopbacks made from their documentation. For kills see test_kills."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hosted_servers import ADAPTER, AzureServer, FireworksServer, TogetherServer
from support.prompting_steps import clairvoyant, dataset_of, prompt

from llmseq_cli import FinetuneOptions
from llmseq_cli.finetuning import jobs as job_module
from llmseq_cli.finetuning.ledger import Ledger
from llmseq_cli.providers.fireworks import FireworksProvider
from llmseq_cli.providers.registry import provider_class

SERVERS = {"together": TogetherServer, "fireworks": FireworksServer, "azure": AzureServer}
KEYS = {"together": "TOGETHER_API_KEY", "fireworks": "FIREWORKS_API_KEY", "azure": "AZURE_OPENAI_API_KEY"}
ADDRESSES = {"together": "TOGETHER_BASE_URL", "fireworks": "FIREWORKS_BASE_URL", "azure": "AZURE_OPENAI_ENDPOINT"}
NAMES = list(SERVERS)


class KilledError(BaseException):
    pass


def die(*_, **__):
    raise KilledError


@pytest.fixture
def hosted(monkeypatch):
    """Starts the loopback of a service, and sets its key and address."""
    started = []

    def start(name):
        server = SERVERS[name]()
        started.append(server)
        monkeypatch.setenv(KEYS[name], server.key)
        monkeypatch.setenv(ADDRESSES[name], server.url if name != "azure" else server.url.removesuffix("/v1"))
        return server

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "acme")
    monkeypatch.setattr(job_module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 0.0)
    yield start
    for server in started:
        server.stop()


def on(name):
    return ("--provider", name, "--model", "open-8b")


@pytest.mark.parametrize("name", NAMES)
def test_from_the_training_file_to_the_leaderboard(llmseq, hosted, ready, name):
    server = hosted(name)
    made = llmseq("finetune", *on(name), "--set", "epochs=2", "--suffix", "Shop", "--seed", "3", "--wait", "--json")
    assert made.status == 0, made.err
    job = made.json
    assert (job["status"], len(server.jobs)) == ("succeeded", 1)
    [(_, asked)] = [body for body in server.bodies if body[0] == "jobs"]
    assert asked.get("epochs", asked.get("n_epochs", asked.get("hyperparameters", {}).get("n_epochs", 2))) == 2
    files = [content.splitlines() for _, content in server.files.values() if content.startswith(b'{"messages"')]
    assert sorted(map(len, files)) == [9, 87]
    server.answer = clairvoyant(dataset_of(ready))
    run = prompt(llmseq, "latest", "--samples", "1", "--limit", "5")
    assert (run["hr@10"], run["settings"]["provider"], run["settings"]["model"]) == (1.0, name, job["model"])
    server.models.add("my-endpoint")
    again = prompt(llmseq, "latest", "--samples", "1", "--limit", "5", "--set", "deployment=my-endpoint")
    assert again["run"] != run["run"], "another deployment may answer otherwise"
    assert llmseq("finetune", *on(name), "--set", "epochs=2", "--suffix", "Shop", "--seed", "3").status == 0
    assert len(server.jobs) == 1
    for file in ready.folder.rglob("*"):
        assert not file.is_file() or server.key.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("name", NAMES)
def test_faults_in_one_call_of_twenty_change_nothing(llmseq, hosted, ready, name):
    server = hosted(name)
    server.fault_share = 0.05
    made = llmseq("finetune", *on(name), "--limit", "20", "--wait", "--json")
    assert (made.status, made.json["status"], len(server.jobs)) == (0, "succeeded", 1), made.err
    # Every other answer is lost, or comes as an error after the work was done.
    server.script = [None, "reset after", None, "500 after", "reset after", None, "500 after", "cut"] * 3
    made = llmseq("finetune", *on(name), "--seed", "9", "--limit", "20", "--wait", "--json")
    assert (made.status, made.json["status"], len(server.jobs)) == (0, "succeeded", 2), made.err


@pytest.mark.parametrize(
    ("step", "when"), [("upload", "after"), ("submit", "before"), ("submit", "after"), ("poll", "after")]
)
@pytest.mark.parametrize("name", NAMES)
def test_killed_around_a_call(llmseq, hosted, ready, monkeypatch, name, step, when):
    """The program dies right before or after a call, before the note about it is written."""
    server = hosted(name)
    cls = provider_class(name)
    call = getattr(cls, step)
    options = FinetuneOptions("genitem", provider=name, model="open-8b", limit=20, wait=True)
    with monkeypatch.context() as patch:
        patch.setattr(cls, step, die if when == "before" else lambda *given: die(call(*given)))
        with pytest.raises(KilledError):
            ready.finetune(options)
    made = ready.finetune(options)
    assert (made["job"], made["status"], len(server.jobs)) == ("genitem-1", "succeeded", 1)
    [job] = Ledger(ready.store).jobs()
    uploaded = [file for file, _ in server.files.values() if file == f"llmseq-{job.token}-training.jsonl"]
    assert len(uploaded) == 1


def test_what_is_downloaded(llmseq, hosted, ready, tmp_path, monkeypatch):
    """Together packs the adapter; Fireworks gives its files by addresses that need no key, and choose no path."""
    hosted("together")
    llmseq("finetune", *on("together"), "--limit", "20", "--wait")
    packed = llmseq("jobs", "download", "genitem-1", "--out", tmp_path / "a", "--json").json["downloaded"]
    assert [Path(file).name for file in packed] == ["adapter.tar.zst"]
    server = hosted("fireworks")
    llmseq("finetune", *on("fireworks"), "--limit", "20", "--wait")
    fetched = FireworksProvider._fetched
    with monkeypatch.context() as patch:  # killed after the first file
        patch.setattr(FireworksProvider, "_fetched", lambda *given: die(fetched(*given)))
        with pytest.raises(KilledError):
            llmseq("jobs", "download", "genitem-2", "--out", tmp_path / "b")
    assert [file.name for file in (tmp_path / "b").iterdir()] == ["adapter_config.json"]
    server.script = [None, None, "cut"]
    done = llmseq("jobs", "download", "genitem-2", "--out", tmp_path / "b", "--json")
    assert done.status == 0, done.err
    assert {Path(file).name: Path(file).read_bytes() for file in done.json["downloaded"]} == ADAPTER
    assert sorted(path.name for path in tmp_path.rglob("evil")) == []


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_accounts_are_asked_for(llmseq, hosted, ready, monkeypatch, name):
    server = hosted(name)
    monkeypatch.setenv(KEYS[name], "wrong-key-1234567")
    refused = llmseq("finetune", *on(name), "--limit", "20")
    assert (refused.status, KEYS[name] in refused.err, "wrong-key-1234567" in refused.err) == (1, True, False)
    assert server.jobs == {}
    monkeypatch.delenv(KEYS[name])
    if name != "azure":
        monkeypatch.delenv(ADDRESSES[name])
    unset = llmseq("finetune", *on(name), "--limit", "20")
    assert (unset.status, f"{KEYS[name]} is not set" in unset.err) == (1, True)


def test_places_are_asked_for(llmseq, hosted, ready, monkeypatch):
    hosted("fireworks")
    monkeypatch.delenv("FIREWORKS_ACCOUNT_ID")
    lost = llmseq("finetune", *on("fireworks"), "--limit", "20")
    assert (lost.status, "FIREWORKS_ACCOUNT_ID" in lost.err) == (1, True)
    lost = llmseq("finetune", *on("azure"), "--limit", "20")
    assert (lost.status, "AZURE_OPENAI_ENDPOINT" in lost.err) == (2, True)


def test_cancelling(llmseq, hosted, ready):
    server = hosted("together")
    llmseq("finetune", *on("together"), "--limit", "20")
    assert llmseq("jobs", "cancel", "--json").json["status"] == "cancelled"
    assert [job["status"] for job in server.jobs.values()] == ["cancelled"]
    hosted("fireworks")
    llmseq("finetune", *on("fireworks"), "--limit", "20")
    refused = llmseq("jobs", "cancel", "latest")
    assert (refused.status, "firectl supervised-fine-tuning-job cancel" in " ".join(refused.err.split())) == (1, True)


def test_azure_tells_when_a_model_goes(llmseq, hosted, ready):
    from llmseq_cli.clients.azure import AzureClient
    from llmseq_cli.clients.openai_answers import ModelCard

    hosted("azure")
    client = AzureClient(None, 1.0)
    day = client.told_shutdown(ModelCard(deprecation={"inference": 1_893_456_000}))
    assert day == "2030-01-01"
    for odd in ({}, {"inference": "soon"}, {"inference": True}, {"inference": 10**15}):
        assert client.told_shutdown(ModelCard(deprecation=odd)) is None
