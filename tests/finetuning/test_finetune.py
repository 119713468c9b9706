"""`llmseq finetune` and `llmseq jobs` against a loopback server: files, jobs, interruptions, money."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from support.chat_server import KEY, MODEL
from support.prompting_steps import ON
from support.warm import Command

from llmseq_cli import FinetuneOptions, IngestOptions, files
from llmseq_cli.finetuning import jobs as job_module
from llmseq_cli.finetuning.ledger import Ledger
from llmseq_cli.providers.openai import OpenAIProvider, OpenAITuning


def file_lines(server, file_id):
    return [json.loads(line)["messages"] for line in server.files[file_id][1].decode().splitlines()]


@pytest.mark.parametrize("task", ["genitem", "genlist", "classify", "rank"])
def test_from_the_training_file_to_a_fine_tuned_model(llmseq, server, ready, task):
    options = ["--task", task, "-k", "5", "--clusters", "8", "--suffix", "shop", "--set", "epochs=2", "--seed", "3"]
    made = llmseq("finetune", *ON, *options, "--wait", "--json").json
    assert (made["status"], made["remote_id"]) == ("succeeded", "ftjob-0")
    assert made["model"] == f"ft:{MODEL}:org:shop:ftjob-0"
    [(_, asked)] = [body for body in server.bodies if body[0].endswith("jobs")]
    assert asked["method"] == {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    assert asked["seed"] == 3
    training, validation = file_lines(server, "file-0"), file_lines(server, "file-1")
    assert (len(training), len(validation)) == (made["training_examples"], made["validation_examples"]) == (87, 9)
    trained_tokens = server.jobs["ftjob-0"]["trained_tokens"]
    assert made["cost_usd"] == pytest.approx(trained_tokens * 5 / 1e6)
    steps = [step["status"] for step in made["events"]]
    assert steps[:6] == ["prepared", "uploading", "uploaded", "uploading", "uploaded", "submitting"]
    assert steps[-1] == "succeeded"


def test_the_same_is_submitted_once(llmseq, server, ready):
    first = llmseq("finetune", *ON, "--json").json
    again = llmseq("finetune", *ON)
    assert "not submitted twice" in again.err
    assert first["job"] in again.out
    llmseq("finetune", *ON, "--wait")
    assert len(server.jobs) == 1
    assert llmseq("finetune", *ON, "--again", "--json").json["job"] == "genitem-2"
    assert len(server.jobs) == 2
    other = llmseq("finetune", *ON, "--set", "epochs=2", "--json").json
    assert other["job"] == "genitem-3"


def test_faults_in_one_call_of_five_change_nothing(llmseq, server, ready, monkeypatch):
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 0.0)
    server.fault_share = 0.2
    for seed in range(6):
        made = llmseq("finetune", *ON, "--seed", seed, "--wait", "--json")
        assert made.status == 0, made.err
        assert made.json["status"] == "succeeded"
    assert len(server.jobs) == 6
    assert len({job["metadata"]["llmseq"] for job in server.jobs.values()}) == 6
    assert sum(server.faults.values()) > 10


class KilledError(BaseException):
    pass


def die(*_, **__):
    raise KilledError


@pytest.mark.parametrize("when", ["before upload", "after upload", "before submit", "after submit"])
def test_killed_around_a_call(llmseq, server, ready, monkeypatch, when):
    """The program dies right before or after a call, before the note about it is written."""
    upload, submit = OpenAIProvider.upload, OpenAIProvider.submit
    with monkeypatch.context() as patch:
        if when == "before upload":
            patch.setattr(OpenAIProvider, "upload", die)
        elif when == "after upload":
            patch.setattr(OpenAIProvider, "upload", lambda *given: die(upload(*given)))
        elif when == "before submit":
            patch.setattr(OpenAIProvider, "submit", die)
        else:
            patch.setattr(OpenAIProvider, "submit", lambda *given: die(submit(*given)))
        with pytest.raises(KilledError):
            ready.finetune(FinetuneOptions("genitem", model=MODEL))
    assert len(server.jobs) == (when == "after submit")
    listed = llmseq("jobs", "--json").json
    assert [row["status"] for row in listed] == [
        {"before upload": "uploading", "after upload": "uploading", "before submit": "submitting"}.get(when, "queued")
    ]
    made = ready.finetune(FinetuneOptions("genitem", model=MODEL, wait=True))
    assert (made["job"], made["status"]) == ("genitem-1", "succeeded")
    assert len(server.jobs) == 1
    assert Counter(name for name, _ in server.files.values())[f"llmseq-{token(ready)}-training.jsonl"] == 1


def test_files_that_are_too_large_are_never_sent(llmseq, server, ready, monkeypatch):
    assert OpenAIProvider(None, OpenAITuning()).limits.largest_file is None  # at other servers
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    assert OpenAIProvider(None, OpenAITuning()).limits.largest_file == 512_000_000
    monkeypatch.setattr("llmseq_cli.providers.openai._LARGEST_FILE", 5_000)
    refused = llmseq("finetune", *ON, "--prepare-only")
    assert (refused.status, "the provider's limit is 0" in refused.err, "smaller --limit" in refused.err) == (
        1,
        True,
        True,
    )
    assert llmseq("jobs", "--json").json == []
    assert [path.name for path in (ready.folder / "artifacts" / "jobs").iterdir()] == [".lock"]


def test_steps_say_what_they_cost(llmseq, server, ready):
    llmseq("finetune", *ON, "--wait")
    messages = [step["message"] for step in llmseq("jobs", "show", "--json").json["events"]]
    cost = llmseq("jobs", "--json").json[0]["cost_usd"]
    assert "at most about" in messages[0]
    assert messages[0].endswith("US dollars")
    assert messages[-1].endswith(f"; {cost:,.4g} US dollars")


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_list_of_jobs_fits_the_terminal(llmseq, server, ready, monkeypatch, columns):
    from llmseq_cli.cli import console

    llmseq("finetune", *ON, "--wait")
    monkeypatch.setattr(console.out, "_width", columns)
    out = llmseq("jobs").out
    assert max(map(len, out.splitlines())) <= columns
    assert (f"ft:{MODEL}:org::ftjob-0" in out) == (columns == 140)
    assert "genitem-1" in out


def token(workspace):
    [job] = Ledger(workspace.store).jobs()
    return job.token


def test_prepare_only_dry_run_and_max_cost_send_nothing(llmseq, server, ready):
    plan = llmseq("finetune", *ON, "--dry-run", "--json").json
    assert plan["training_examples"] == 87
    assert plan["tokens"] == plan["training_tokens"] * plan["epochs"]
    assert plan["cost_usd"] == pytest.approx(plan["tokens"] * 5 / 1e6)
    refused = llmseq("finetune", *ON, "--max-cost", plan["cost_usd"] / 2)
    assert (refused.status, "more than --max-cost" in refused.err) == (1, True)
    assert llmseq("jobs", "--json").json == []
    prepared = llmseq("finetune", *ON, "--prepare-only", "--json").json
    assert prepared["status"] == "prepared"
    assert server.requests == []
    submitted = llmseq("finetune", *ON, "--max-cost", plan["cost_usd"] * 2, "--json").json
    assert (submitted["job"], submitted["status"]) == (prepared["job"], "queued")


def test_prices_of_the_users(llmseq, server, ready, tmp_path):
    prices = tmp_path / "prices.toml"
    prices.write_text('["openai:shop-chat"]\ntraining = 1000000\n["openai:mine"]\ntraining = 2\n')
    plan = llmseq("finetune", *ON, "--dry-run", "--prices", prices, "--json").json
    assert plan["cost_usd"] == plan["tokens"]
    unknown = llmseq("finetune", "--model", "other", "--max-cost", "1")
    assert (unknown.status, "no price is known" in unknown.err) == (2, True)


def test_jobs_that_fail_say_why_and_are_submitted_again_on_demand(llmseq, server, ready):
    server.steps = ["validating_files", "failed"]
    made = llmseq("finetune", *ON, "--wait", "--json").json
    assert made["status"] == "failed"
    assert "too dull" in made["events"][-1]["message"]
    refused = llmseq("finetune", *ON)
    assert (refused.status, "--again" in refused.err) == (1, True)
    assert llmseq("finetune", *ON, "--again", "--json").json["job"] == "genitem-2"


def test_jobs_show_cancel_and_download(llmseq, server, ready, tmp_path):
    llmseq("finetune", *ON)
    shown = llmseq("jobs", "show", "genitem-1")
    assert (shown.status, "submitted as ftjob-0" in " ".join(shown.out.split())) == (0, True)
    cancelled = llmseq("jobs", "cancel", "--json").json
    assert (cancelled["status"], server.jobs["ftjob-0"]["status"]) == ("cancelled", "cancelled")
    assert llmseq("jobs", "download", "latest").status == 1
    llmseq("finetune", *ON, "--again", "--wait")
    done = llmseq("jobs", "download", "--out", tmp_path / "out", "--json").json
    assert [Path(file).read_text() for file in done["downloaded"]] == ["step,train_loss\n1,0.5\n"]
    table = llmseq("jobs").out
    assert "genitem-1" in table
    assert "cancelled" in table
    missing = llmseq("jobs", "show", "genitem-7")
    assert (missing.status, "did you mean" in missing.err) == (1, True)


def test_jobs_are_listed_when_the_provider_cannot_be_asked(llmseq, server, ready, monkeypatch):
    llmseq("finetune", *ON)
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    listed = llmseq("jobs")
    assert (listed.status, "genitem-1" in listed.out, "does not accept the key" in listed.err) == (0, True, True)
    assert "queued" in llmseq("jobs", "--offline").out


def test_jobs_that_the_server_forgot(llmseq, server, ready):
    llmseq("finetune", *ON)
    server.jobs.clear()
    assert [row["status"] for row in llmseq("jobs", "--json").json] == ["lost"]


def test_no_key_is_kept_or_shown(llmseq, server, ready, tmp_path):
    server.key = "sk-other"
    refused = llmseq("finetune", *ON)
    assert refused.status == 1
    assert KEY not in refused.err
    server.key = KEY
    llmseq("finetune", *ON, "--wait")
    for file in (tmp_path / "workspace").rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_too_few_examples_and_wrong_words(llmseq, server, ready):
    for words in ([], ["--dry-run"]):
        few = llmseq("finetune", *ON, "--limit", "3", "--validation", "0", *words)
        assert (few.status, "too few" in few.err) == (1, True)
    for words in (["--task", "guess"], ["--provider", "nobody"], ["--task", "genitem", "--candidates", "latest"],
                  ["--set", "epoch=3"], ["--validation", "501"], ["--template", "none.toml"]):  # fmt: skip
        assert llmseq("finetune", *ON, *words).status == 2, words
    assert server.requests == []


def test_hints_fit_what_is_wrong(llmseq, server, ready, monkeypatch):
    tight = llmseq("finetune", *ON, "--context", "5")
    assert (tight.status, "beyond the context" in tight.err, "larger --context" in tight.err) == (1, True, True)
    with monkeypatch.context() as patch:
        patch.setattr(OpenAIProvider, "upload", die)
        with pytest.raises(KilledError):
            ready.finetune(FinetuneOptions("genitem", model=MODEL))
    early = llmseq("prompt", "latest")
    assert (early.status, "`llmseq finetune` with the same options" in early.err) == (1, True)
    with monkeypatch.context() as patch:
        patch.setattr(OpenAIProvider, "events", interrupt)
        stopped = llmseq("finetune", *ON, "--wait")
    assert (stopped.status, "a submitted job continues at its provider" in stopped.err) == (130, True)
    assert llmseq("finetune", *ON, "--wait", "--json").json["status"] == "succeeded"
    assert len(server.jobs) == 1


def interrupt(*_):
    raise KeyboardInterrupt


def test_show(llmseq, ready):
    [example] = llmseq("finetune", "--task", "rank", "-k", "4", "--show", "1", "--json").json
    assert example["user"].count("\n- ") == 4
    assert [item["title"] for item in example["parsed"]] == [
        line.partition(". ")[2] for line in example["completion"].splitlines()
    ]
    assert all(item["item"] for item in example["parsed"])
    printed = llmseq("finetune", "--show", "2").out
    assert printed.count("[read as]") == 2


def test_waiting_tells_events_once(llmseq, server, ready):
    assert job_module._POLL_SECONDS < 1
    told = llmseq("finetune", *ON, "--wait").err
    assert told.count("Created fine-tuning job") == 1
    assert "The job is running" in told


def test_leftovers_of_killed_programs_are_removed(llmseq, server, ready, tmp_path):
    jobs = tmp_path / "workspace" / "artifacts" / "jobs"
    dead = files._partial_name(jobs / "building").replace(f"-{os.getpid()}-", "-999999999-")
    (jobs / dead).mkdir(parents=True)
    llmseq("finetune", *ON, "--prepare-only")
    assert {path.name for path in jobs.iterdir()} - {".lock"} == {"genitem-1"}


def test_jobs_outlive_their_dataset(llmseq, server, ready, shop_files):
    llmseq("finetune", *ON)
    clicks, items = shop_files
    ready.ingest(IngestOptions([clicks], "shop", items=[items], replace=True))
    assert [row["dataset"] for row in llmseq("jobs", "--json").json] == ["removed"]
    assert llmseq("jobs", "wait", "--json").json["status"] == "succeeded"
    ended = llmseq("prompt", "latest")
    assert (ended.status, "no dataset 'removed'" in ended.err) == (1, True)


def test_servers_that_cannot_be_reached_are_not_waited_for_long(llmseq, server, ready):
    llmseq("finetune", *ON)
    address = server.url
    server.stop()
    listed = llmseq("jobs")
    assert (listed.status, "is not available" in listed.err, "genitem-1" in listed.out) == (0, True, True)
    ended = llmseq("prompt", "--base-model", "any", "--base-url", address)
    assert (ended.status, "--base-url" in ended.err) == (1, True)


def test_two_programs_never_submit_the_same(llmseq, server, ready):
    seen = []

    def meanwhile(path):
        if path == "/v1/files" and not seen:
            seen.append(None)
            other = Command("finetune", *ON, "--workspace", ready.folder, "--wait-for-lock")
            seen.append((other.wait(120), other.err))

    server.after = meanwhile
    assert llmseq("finetune", *ON).status == 0
    assert seen[1][0] == 1
    assert "another llmseq process is submitting a job" in seen[1][1]
    assert len(server.jobs) == 1
