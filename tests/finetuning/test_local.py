"""`--provider local`: LoRA on a tiny model that is made here, a model from scratch, interruptions, bad input."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.small_shop import titles
from support.warm import Command

from llmseq_cli.finetuning.templates import shipped_words
from llmseq_cli.language_model import library
from llmseq_cli.language_model.scratch import _make_model, _make_tokenizer
from llmseq_cli.language_model.settings import LocalTuning

SMALL = ("--set", "dim=32", "--set", "layers=1", "--set", "heads=2", "--set", "title_epochs=2")


@pytest.fixture
def tiny(ready, tmp_path):
    """A folder with a random Llama and a tokenizer of the shop's titles, as Hugging Face lays them out."""
    tokenizer = _make_tokenizer(titles(), 500, shipped_words())
    model = _make_model(tokenizer, LocalTuning(dim=32, layers=1, heads=2, max_length=512), seed=0)
    with torch.no_grad():  # of a head that is not almost zero, as LoRA leaves it as it is
        model.get_input_embeddings().weight.mul_(20)
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def state(job):
    return json.loads((Path(job["folder"]) / "local.json").read_text())


def weights(job):
    [file] = Path(job["folder"], "model").glob("*.safetensors")
    return file.name, load_file(file)


def test_lora_on_a_model_in_a_folder(llmseq, ready, tiny):
    job = llmseq("finetune", "--provider", "local", "--model", tiny, "--json",
                 "--set", "epochs=3", "--set", "learning_rate=0.02", "--set", "modules=all-linear",
                 "--set", "batch_size=4").json  # fmt: skip
    assert (job["status"], job["model"], job["cost_usd"]) == ("succeeded", "genitem-1", 0)
    curve = state(job)["curve"]
    assert [one["epoch"] for one in curve] == [1, 2, 3]
    assert curve[2]["loss"] < 0.9 * curve[0]["loss"]
    assert [event["status"] for event in job["events"]][-1] == "succeeded"
    assert state(job)["events"][2].endswith(f"epoch 3, loss {curve[2]['loss']:.4g}, validation loss "
                                            f"{curve[2]['validation_loss']:.4g}")  # fmt: skip
    name, adapter = weights(job)
    assert name == "adapter_model.safetensors"
    assert all("lora_" in key for key in adapter)
    assert any(bool(tensor.any()) for key, tensor in adapter.items() if "lora_B" in key)
    config = json.loads((Path(job["folder"]) / "model" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (8, 32, 0.05)
    run = llmseq("prompt", "genitem-1", "--samples", "3", "--json").json[0]
    assert run["label"] == "LLMSeqPromptGenItem"
    assert run["figures"]["answers"] == 3 * run["sessions"]
    base = llmseq("prompt", "genitem-1", "--base-model", tiny, "--samples", "3", "--json").json[0]
    assert base["label"] == "LLMSeqPromptGenItem (base)"
    assert base["figures"]["answers"] == run["figures"]["answers"]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_killed_and_gone_on_with_ends_with_the_same_weights(llmseq, ready, tiny, tmp_path, method):
    """The program is killed with SIGKILL right after its fourth checkpoint, in the middle of an epoch."""
    options = ["finetune", "--provider", "local", "--model", str(tiny), "--set", f"method={method}",
               "--set", "epochs=3", "--set", "batch_size=16"]  # fmt: skip
    dying = (
        "import os, signal\n"
        "from llmseq_cli.language_model.training import Trainer\n"
        "save, saved = Trainer._save, []\n"
        "def die(self):\n"
        "    save(self)\n"
        "    saved.append(1)\n"
        "    if len(saved) == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Trainer._save = die\n"
    )
    assert Command(*options, "--set", "save_minutes=0", before=dying).wait(120) == -signal.SIGKILL
    [listed] = llmseq("jobs", "--json").json
    assert (listed["job"], listed["status"]) == ("genitem-1", "queued")
    resumed = llmseq(*options, "--json").json
    assert any("continuing after step 4" in event for event in state(resumed)["events"])
    assert (resumed["job"], resumed["status"]) == ("genitem-1", "succeeded")
    whole = llmseq(*options, "--again", "--json").json
    assert whole["job"] == "genitem-2"
    (_, first), (_, second) = weights(resumed), weights(whole)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert state(resumed)["curve"] == state(whole)["curve"]
    assert not (Path(whole["folder"]) / "checkpoints").exists()


def test_waiting_for_a_killed_job_goes_on_with_it_and_cancelling_ends_it(llmseq, ready, monkeypatch):
    from llmseq_cli.language_model.training import Trainer

    class KilledError(BaseException):
        pass

    def die(self, batch):
        raise KilledError

    options = ("finetune", "--provider", "local", *SMALL, "--set", "title_epochs=0", "--set", "epochs=1")
    for seed in ("0", "1"):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_step", die)
            with pytest.raises(KilledError):
                llmseq(*options, "--seed", seed)
    assert llmseq("jobs", "wait", "genitem-1", "--json").json["status"] == "succeeded"
    assert llmseq("jobs", "cancel", "genitem-2", "--json").json["status"] == "cancelled"
    refused = llmseq("prompt", "genitem-2")
    assert (refused.status, "cancelled and has no model" in refused.err) == (1, True)


def test_cancelled_while_it_trains(llmseq, ready, monkeypatch):
    from llmseq_cli.language_model.job import LocalJob
    from llmseq_cli.language_model.training import Trainer

    step = Trainer._step

    def cancelled_from_elsewhere(self, batch):
        step(self, batch)
        job = LocalJob(ready.store.folder / "artifacts" / "jobs" / "genitem-1")
        assert job.remote().status == "running"
        job.cancel()

    monkeypatch.setattr(Trainer, "_step", cancelled_from_elsewhere)
    job = llmseq("finetune", "--provider", "local", *SMALL, "--set", "title_epochs=0", "--json").json
    assert job["status"] == "cancelled"
    assert not (Path(job["folder"]) / "model").exists()


@pytest.mark.parametrize("task", ["genitem", "genlist", "classify", "rank"])
def test_scratch_from_titles_to_a_run(llmseq, ready, task):
    named = 1 if task == "genitem" else 5
    options = ["--task", task, "-k", "5", "--clusters", "8", "--provider", "local", *SMALL, "--set", "epochs=2"]
    job = llmseq("finetune", *options, "--json").json
    assert (job["status"], job["base_model"]) == ("succeeded", "scratch")
    assert weights(job)[0] == "model.safetensors"
    free = llmseq("prompt", "latest", "--json").json[0]
    held = llmseq("prompt", "latest", "--constrain", "--json").json[0]
    assert free["run"] != held["run"]
    assert held["figures"]["hallucination_rate"] == 0
    assert held["figures"]["empty_answers"] == held["figures"]["parse_failures"] == 0
    _, rows = ready.sql(f"select session, sample, item from answers where run = '{held['run']}'")
    assert len(rows) == held["sessions"] * (20 if task == "genitem" else named)
    again = llmseq("prompt", "latest", "--constrain")
    assert "nothing is new" in again.err


def test_scratch_is_made_once_and_is_the_base_of_its_jobs(llmseq, ready):
    options = ["finetune", "--provider", "local", *SMALL, "--set", "epochs=1"]
    llmseq(*options)
    models = ready.store.folder / "artifacts" / "language_models"
    [folder] = models.iterdir()
    made = folder.stat().st_mtime_ns
    llmseq(*options, "--task", "genitem", "--set", "batch_size=8")
    base = llmseq("prompt", "latest", "--base-model", "scratch", "--samples", "2", "--json").json[0]
    assert base["label"].endswith("(base)")
    assert [(one.name, one.stat().st_mtime_ns) for one in models.iterdir()] == [(folder.name, made)]


def test_models_of_the_hub_are_validated_and_asked_as_in_the_paper(llmseq, ready, tiny):
    """A fifth of the examples; temperature 1, top_p 0.25. A model from scratch is asked as the paper asked others."""
    job = llmseq("finetune", "--provider", "local", "--model", tiny, "--set", "epochs=1", "--json").json
    assert (job["training_examples"], job["validation_examples"]) == (77, 19)
    limit = ["--samples", "2", "--limit", "2", "--json"]
    for words, wanted in (
        (["latest"], (1.0, 0.25)),
        (["latest", "--temperature", "0.5", "--top-p", "1"], (0.5, 1.0)),
        (["latest", "--base-model", tiny], (1.0, 0.25)),
        (["--provider", "local", "--base-model", "genitem-1", "--task", "genlist", "-k", "3"], (1.0, 0.25)),
        (["--provider", "local", "--base-model", tiny, "--task", "rank", "-k", "3"], (0.0, 1.0)),
        (["--provider", "local", "--base-model", "scratch", *SMALL], (0.25, 1.0)),
    ):
        settings = llmseq("prompt", *words, *limit).json[0]["settings"]
        assert (settings["temperature"], settings["top_p"]) == wanted, words


def test_the_same_is_trained_once(llmseq, ready):
    options = ["finetune", "--provider", "local", *SMALL, "--set", "epochs=1"]
    llmseq(*options)
    again = llmseq(*options, "--set", "device=cpu")
    assert "not submitted twice" in again.err
    assert len(llmseq("jobs", "--json").json) == 1


def test_more_answers_later_are_other_answers(llmseq, ready):
    llmseq("finetune", "--provider", "local", *SMALL, "--set", "epochs=1")
    first = llmseq("prompt", "latest", "--samples", "4", "--temperature", "1", "--json").json[0]
    more = llmseq("prompt", "latest", "--samples", "8", "--temperature", "1", "--json").json[0]
    assert (first["figures"]["answers"], more["figures"]["answers"]) == (4 * 24, 8 * 24)
    assert more["figures"]["unique_recommendations"] > first["figures"]["unique_recommendations"]


def test_a_dry_run_trains_nothing_and_costs_nothing(llmseq, ready):
    plan = llmseq("finetune", "--provider", "local", *SMALL, "--dry-run", "--json").json
    assert (plan["training_examples"], plan["epochs"], plan["cost_usd"]) == (87, 20, 0)
    assert llmseq("jobs", "--json").json == []
    asked = llmseq("prompt", "--provider", "local", "--base-model", "scratch", *SMALL, "--dry-run", "--json").json
    assert (asked["answers"], asked["cost_usd"], asked["minutes"]) == (480, 0, None)


@pytest.mark.parametrize("package", ["transformers", "peft"])
def test_without_the_extra_there_is_one_error_with_a_hint(llmseq, ready, monkeypatch, package):
    find = library.find_spec
    monkeypatch.setattr(library, "find_spec", lambda name: None if name == package else find(name))
    for command in (("finetune",), ("prompt", "--base-model", "scratch")):
        failed = llmseq(*command, "--provider", "local")
        assert failed.status == 1
        assert failed.err.splitlines()[-2:] == [
            f"error: local language models need the package '{package}'",
            "hint: pip install 'llmseq[local]'",
        ]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--model", "/no/such/folder"], 1, "there is no folder '/no/such/folder'"),
        (["--base-url", "http://localhost:1/v1"], 2, "models on this machine have no address"),
        (["--set", "epoch=3"], 2, "did you mean 'epochs'?"),
        (["--set", "dim=30", "--set", "heads=4"], 2, "give a multiple of twice the heads"),
        (["--set", "device=cuda"] if not torch.cuda.is_available() else ["--set", "device=gpu"], 2, "device"),
        (["--set", "four_bit=true", "--set", "device=cpu"], 1, "4-bit weights need"),
        (["--set", "method=lora", "--set", "modules=nothing", *SMALL], 1, "--set modules=all-linear"),
        (["--set", "learning_rate=1", "--set", "epochs=1000", "--set", "rank=0"], 2, "rank"),
    ],
)
def test_bad_input_is_explained(llmseq, ready, options, status, said):
    failed = llmseq("finetune", "--provider", "local", *options)
    assert (failed.status, said in " ".join(failed.err.split())) == (status, True), failed.err
    assert "Traceback" not in failed.err
    if "method=lora" not in options:
        assert llmseq("jobs", "--json").json == []


def test_an_empty_folder_is_no_model(llmseq, ready, tmp_path):
    (tmp_path / "nothing").mkdir()
    failed = llmseq("finetune", "--provider", "local", "--model", tmp_path / "nothing")
    assert (failed.status, "cannot load the model" in failed.err) == (1, True)


def test_only_local_models_are_held_to_the_catalog(llmseq, server, ready):
    failed = llmseq("prompt", "--base-model", "gpt-6-luna", "--constrain")
    assert (failed.status, "cannot be held to titles" in failed.err) == (2, True)
    assert server.requests == []


def test_download_copies_the_model(llmseq, ready, tmp_path):
    llmseq("finetune", "--provider", "local", *SMALL, "--set", "epochs=1")
    made = llmseq("jobs", "download", "latest", "--out", tmp_path / "out", "--json").json
    assert {"model.safetensors", "tokenizer.json"} <= {Path(file).name for file in made["downloaded"]}
    assert np.all([Path(file).exists() for file in made["downloaded"]])


def test_titles_that_look_like_lists_are_no_hallucinations(llmseq, shop_files, ready, tmp_path):
    clicks, items = shop_files
    rows = items.read_text().splitlines()
    odd = [f'{row.split(",")[0]},"{place}. **{row.split(",")[1]}**",{",".join(row.split(",")[2:])}'
           for place, row in enumerate(rows[1:], 1)]  # fmt: skip
    items.write_text("\n".join([rows[0], *odd]) + "\n")
    llmseq("ingest", clicks, "--items", items, "--name", "odd")
    llmseq("embed", "--source", "lexical", "--dataset", "odd")
    options = ["--dataset", "odd", "--provider", "local", "--base-model", "scratch", *SMALL]
    held = llmseq("prompt", *options, "--constrain", "--samples", "3", "--json").json[0]
    assert held["figures"]["hallucination_rate"] == 0
    _, kinds = ready.sql(f"select distinct kind from answers where run = '{held['run']}'")
    assert kinds == [("exact",)]
