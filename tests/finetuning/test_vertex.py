"""Gemini on Vertex AI through Google's own clients, against a loopback of the service and of Cloud Storage."""

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import pytest
from support.chat_server import session_titles
from support.prompting_steps import clairvoyant, dataset_of, prompt, rows
from support.vertex_server import write_service_account
from support.vertex_tuning_server import FAULTS, PROJECT, TOKEN, VertexTuningServer
from support.warm import Command

from llmseq_cli import FinetuneOptions
from llmseq_cli.finetuning import jobs as job_module
from llmseq_cli.finetuning.examples import ExampleBuilder
from llmseq_cli.finetuning.ledger import Ledger
from llmseq_cli.language_model.messages import ChatRequest
from llmseq_cli.providers.vertex import VertexProvider, VertexTuning

MODEL = "gemini-3.5-flash"
PLACE = f"projects/{PROJECT}/locations/us-central1"
HERE = ["--provider", "vertex"]


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GEMINI_", "GCLOUD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(job_module, "_POLL_SECONDS", 0.01)
    server = VertexTuningServer()
    server.fault_kinds = FAULTS
    folder = tmp_path / "keys"
    folder.mkdir()
    file, server.private_key, server.public_key = write_service_account(folder, server.token_uri)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", server.url)
    monkeypatch.setenv("GOOGLE_CLOUD_BUCKET", "shop-bucket")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    yield server
    server.stop()


def finetune(llmseq, *arguments):
    done = llmseq("finetune", *HERE, *arguments, "--json")
    assert done.status == 0, done.err
    return done.json


@pytest.mark.parametrize("task", ["genitem", "genlist", "classify", "rank"])
def test_from_the_training_file_to_the_leaderboard(llmseq, server, ready, task):
    titles = list(dataset_of(ready).catalog.titles)

    def answer(question, sample):
        options = [line[2:] for line in question.splitlines() if line.startswith("- ")] or titles[:5]
        return "\n".join(f"{n}. {title}" for n, title in enumerate(options[:5], 1)) if task != "genitem" else titles[3]

    server.answer = answer
    words = ["--task", task, "-k", "5", "--clusters", "8", "--suffix", "shop", "--set", "epochs=2"]
    made = finetune(llmseq, *words, "--set", "adapter_size=4", "--wait")
    assert (made["status"], made["remote_id"]) == ("succeeded", f"{PLACE}/tuningJobs/0")
    assert made["model"] == f"{PLACE}/endpoints/0"
    [(_, asked)] = [body for body in server.bodies if body[0].endswith("tuningJobs")]
    spec = asked["supervisedTuningSpec"]
    assert spec["hyperParameters"] == {"epochCount": "2", "adapterSize": "ADAPTER_SIZE_FOUR"}
    assert asked["labels"]["llmseq"] in asked["tunedModelDisplayName"]
    training, validation = (server.objects[spec[f"{part}DatasetUri"]] for part in ("training", "validation"))
    assert len(training.splitlines()) == made["training_examples"] == 87
    assert len(validation.splitlines()) == made["validation_examples"] == 9
    assert json.loads(training.splitlines()[0])["contents"][0]["role"] == "user"
    run = prompt(llmseq, "latest", "--samples", "3")
    base = prompt(llmseq, "latest", "--base-model", MODEL, "--samples", "3")
    assert base["label"] == run["label"] + " (base)"
    assert (run["figures"]["hallucination_rate"], run["ndcg@20"]) == (0.0, base["ndcg@20"])
    configs = [body["generationConfig"] for path, body in server.bodies if path.endswith("generateContent")]
    assert {config["thinkingConfig"]["thinking_budget"] for config in configs} == {0}
    assert {config.get("candidateCount") for config in configs} == {3}
    assert [row["run"] for row in llmseq("report", "--json").json][-1] in (run["run"], base["run"], "llmseqsim-1")


def test_a_clairvoyant_gemini_is_first_and_its_tokens_are_counted(llmseq, server, ready):
    server.answer = clairvoyant(dataset_of(ready))
    made = prompt(llmseq, *HERE, "--base-model", "gemini-3.5-flash", "--samples", "2")
    n = len(dataset_of(ready).test)
    assert (made["ndcg@20"], made["figures"]["answers"]) == (1.0, 2 * n)
    [usage] = rows(llmseq, "select requests, prompt_tokens, cost_usd from prompt_usage")
    words = sum(len(question.split()) for question in server.paid)
    assert (usage["requests"], usage["prompt_tokens"]) == (n, words)
    assert made["figures"]["cost_usd"] == pytest.approx((words * 1.5 + made["figures"]["completion_tokens"] * 9) / 1e6)


def test_faults_in_one_call_of_five_change_nothing(llmseq, server, ready, monkeypatch):
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 0.0)
    server.answer, server.fault_share = clairvoyant(dataset_of(ready)), 0.2
    for seed in range(4):
        assert finetune(llmseq, "--seed", seed, "--wait")["status"] == "succeeded"
    assert len({job["labels"]["llmseq"] for job in server.jobs.values()}) == len(server.jobs) == 4
    assert set(server.uploads.values()) == {1}
    made = prompt(llmseq, "latest", "--samples", "2")
    assert (made["hr@20"], made["figures"]["answers"]) == (1.0, 2 * len(dataset_of(ready).test))
    assert sum(server.faults.values()) > 10


class KilledError(BaseException):
    pass


def die(*_, **__):
    raise KilledError


@pytest.mark.parametrize("when", ["before upload", "after upload", "before submit", "after submit"])
def test_killed_around_a_call(llmseq, server, ready, monkeypatch, when):
    """The program dies right before or after a call, before the note about it is written."""
    upload, submit = VertexProvider.upload, VertexProvider.submit
    name = when.partition(" ")[2]
    call = {"upload": upload, "submit": submit}[name]
    with monkeypatch.context() as patch:
        patch.setattr(VertexProvider, name, die if when.startswith("before") else lambda *given: die(call(*given)))
        with pytest.raises(KilledError):
            ready.finetune(FinetuneOptions("genitem", provider="vertex"))
    assert len(server.jobs) == (when == "after submit")
    made = ready.finetune(FinetuneOptions("genitem", provider="vertex", wait=True))
    assert (made["job"], made["status"], len(server.jobs)) == ("genitem-1", "succeeded", 1)
    assert set(server.uploads.values()) == {1}
    [job] = Ledger(ready.store).jobs()
    assert job.address == f"{server.url}/{PLACE}"


def test_kill_9_loses_no_answer(llmseq, server, ready):
    """A real process, killed while the server answers; then the same command again. For jobs see test_kills."""
    server.answer = clairvoyant(dataset_of(ready))
    finetune(llmseq, "--wait")
    words = ["prompt", "latest", "--samples", "2", "--concurrency", "2"]
    process, seen = [], []

    def kill(path):
        if "generateContent" in path and not seen:
            seen.append(path)
            process[0].send_signal(signal.SIGKILL)
            time.sleep(0.05)

    server.after = kill
    process.append(Command(*words, "--workspace", ready.folder, "--wait-for-lock"))
    assert (process[0].wait(120), len(seen)) == (-signal.SIGKILL, 1)
    done = llmseq(*words)
    assert done.status == 0, done.err
    assert len(server.jobs) == 1
    # The calls that were under way are paid for twice.
    assert sum(server.paid.values()) <= 2 * len(dataset_of(ready).test) + 2 * 2


def test_large_files_are_sent_in_parts(llmseq, server, ready, monkeypatch):
    monkeypatch.setattr("google.cloud.storage.blob._MAX_MULTIPART_SIZE", 1000)
    made = finetune(llmseq, "--wait")
    assert made["status"] == "succeeded"
    assert len(server.sessions) == 2


@pytest.mark.parametrize(
    ("limit", "told"), [("largest_file", "smaller --limit"), ("most_examples", "--limit 1000 at most")]
)
def test_what_google_would_not_take_is_never_sent(llmseq, server, ready, monkeypatch, limit, told):
    monkeypatch.setattr(VertexProvider, "limits", dataclasses.replace(VertexProvider.limits, **{limit: 1000}))
    if limit == "most_examples":
        monkeypatch.setattr(ExampleBuilder, "blocks", many_examples)
    refused = llmseq("finetune", *HERE)
    assert (refused.status, told in refused.err) == (1, True), refused.err
    assert server.requests == []
    assert llmseq("jobs", "--json").json == []


def many_examples(builder, train, built):
    built.training = 1001
    return iter(())


def test_as_many_examples_validate_as_in_the_paper(llmseq, server, ready):
    limits = VertexProvider.limits
    assert (limits.usual_validation, limits.validation) == (250, 5000)
    assert llmseq("finetune", *HERE, "--validation", "5000", "--dry-run").status == 0
    refused = llmseq("finetune", *HERE, "--validation", "5001")
    assert (refused.status, "allows at most 5000" in refused.err) == (2, True)


def test_models_that_think_and_give_one_candidate(server):
    provider = VertexProvider(None, VertexTuning())
    server.thinks = server.refuses_candidates = True
    server.answer, server.finish = lambda question, sample: "socks", "MAX_TOKENS"
    request = ChatRequest(MODEL, "be brief", "what next?", 5, 0.5, 0.9, 30)
    answer = provider.complete(request)
    assert (answer.texts, answer.finishes, answer.prompt_tokens) == (["socks"], ["length"], 2)
    body = server.bodies[-1][1]
    assert body["generationConfig"]["maxOutputTokens"] > 30  # room to think
    assert body["systemInstruction"]["parts"] == [{"text": "be brief"}]
    asked = len(server.bodies)
    provider.complete(request)
    assert len(server.bodies) == asked + 1  # what it dislikes is remembered


def test_what_the_filter_blocks_counts_as_refused(llmseq, server, ready):
    dataset = dataset_of(ready)
    server.answer = clairvoyant(dataset)
    title = dataset.catalog.titles[dataset.test.histories()[0][0]]
    server.forbidden = (title,)
    words = [*HERE, "--base-model", MODEL, "--samples", "1"]
    done = llmseq("prompt", *words, "--json")
    prompts = dataset.test.histories()
    n = sum(title in dataset.catalog.titles[prompts[place]] for place in range(len(prompts)))
    assert (done.status, f"{n:,} prompts were refused" in done.err) == (0, True)
    assert all(title not in session_titles(question) for question in server.paid)


def test_jobs_show_cancel_and_download(llmseq, server, ready, tmp_path):
    finetune(llmseq)
    assert llmseq("jobs", "cancel", "--json").json["status"] == "cancelled"
    finetune(llmseq, "--again", "--wait", "--set", "epochs=3")
    done = llmseq("jobs", "download", "--out", tmp_path / "out", "--json").json
    [file] = done["downloaded"]
    assert json.loads(Path(file).read_text())["tuning_data_stats"]["supervised_tuning_data_stats"]
    server.jobs.clear()
    finetune(llmseq, "--seed", "2")
    server.jobs.clear()
    assert llmseq("jobs", "--json").json[-1]["status"] == "lost"


def test_jobs_that_fail_say_why(llmseq, server, ready):
    server.states = ["JOB_STATE_PENDING", "JOB_STATE_FAILED"]
    made = finetune(llmseq, "--wait")
    assert (made["status"], "too dull" in made["events"][-1]["message"]) == ("failed", True)


def test_plans_send_nothing(llmseq, server, ready, monkeypatch):
    words = ["--model", "gemini-2.5-flash", "--dry-run", "--json"]
    plan = llmseq("finetune", *HERE, *words).json
    assert plan["cost_usd"] == pytest.approx(plan["tokens"] * 5 / 1e6)
    assert finetune(llmseq, "--prepare-only")["status"] == "prepared"
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    assert llmseq("finetune", *HERE, *words).json == plan
    assert server.requests == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda env, server: env.delenv("GOOGLE_APPLICATION_CREDENTIALS"), "application-default login"),
        (lambda env, server: env.delenv("GOOGLE_CLOUD_BUCKET"), "--set bucket=gs://my-bucket"),
        (lambda env, server: server.buckets.clear(), "gcloud storage buckets create gs://shop-bucket"),
        (lambda env, server: env.setenv("GOOGLE_CLOUD_PROJECT", "other"), "Vertex AI User"),
        (lambda env, server: server.models.clear(), "check --model"),
        (
            lambda env, server: server.token_script.extend([(400, {"error": "invalid_grant"})] * 5),
            "application-default",
        ),
        (lambda env, server: env.setenv("GOOGLE_CLOUD_BUCKET", "no such*"), "--set bucket=gs://my-bucket"),
    ],
)
def test_what_is_missing_is_told_in_two_lines(llmseq, server, ready, monkeypatch, change, told):
    change(monkeypatch, server)
    done = llmseq("finetune", *HERE)
    assert (done.status in (1, 2), told in done.err) == (True, True), done.err
    assert "Traceback" not in done.err
    assert server.jobs == {}


def test_no_key_or_token_is_kept(llmseq, server, ready, tmp_path):
    finetune(llmseq, "--wait")
    key = server.private_key.splitlines()[1]
    for file in (tmp_path / "workspace").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert TOKEN.encode() not in content
            assert key.encode() not in content
