"""Training files for trainers elsewhere, and models that come back from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from support.prompting_steps import clairvoyant, dataset_of, prompt

from llmseq_cli.finetuning.templates import shipped_words
from llmseq_cli.language_model.library import load_model, load_tokenizer, make_loading
from llmseq_cli.language_model.scratch import _make_model, _make_tokenizer
from llmseq_cli.language_model.settings import LocalTuning

HERE = make_loading("cpu", "float32", False)

# Keys that Axolotl's published description of its configuration knows, of those that an export may need.
AXOLOTL = {
    *("base_model", "adapter", "load_in_4bit", "datasets", "test_datasets", "output_dir", "lora_r", "lora_alpha"),
    *("lora_dropout", "lora_target_modules", "lora_target_linear", "num_epochs", "micro_batch_size", "optimizer"),
    *("gradient_accumulation_steps", "learning_rate", "lr_scheduler", "sequence_len", "sample_packing"),
    *("flash_attention", "gradient_checkpointing", "bf16", "seed"),
}
AXOLOTL_DATASET = {"path", "ds_type", "split", "type", "field_messages", "roles_to_train"}


@pytest.fixture(scope="module")
def tiny_saved(tmp_path_factory) -> Path:
    """A random Llama with a tokenizer and a chat template, as Hugging Face lays them out."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = _make_tokenizer(["red wool sock", "blue silk hat"], 400, shipped_words())
    model = _make_model(tokenizer, LocalTuning(dim=16, layers=1, heads=2, max_length=1024), 0)
    with torch.no_grad():  # answers that do not all look alike
        model.get_input_embeddings().weight.mul_(20)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(tiny_saved, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_saved, tmp_path / "tiny"))


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def exported(llmseq, folder: Path, *words) -> dict:
    made = llmseq("finetune", "--export-only", "--out", folder, *words, "--json")
    assert made.status == 0, made.err
    return made.json


def logits(folder: Path, text: str = "red wool sock") -> torch.Tensor:
    tokenizer = load_tokenizer(str(folder))
    with torch.inference_mode():
        return load_model(str(folder), HERE).eval()(**tokenizer(text, return_tensors="pt")).logits


@pytest.mark.parametrize("form", ["trl", "axolotl", "alpaca", "openai", "vertex"])
def test_every_format_holds_the_same_examples(llmseq, ready, tmp_path, form):
    made = exported(llmseq, tmp_path / "out", "--task", "rank", "-k", "4", "--format", form, "--model", "a/b")
    assert (made["format"], made["base_model"]) == (form, "a/b")
    shown = llmseq("finetune", "--task", "rank", "-k", "4", "--show", "1", "--json").json[0]
    training, validation = lines(tmp_path / "out/data/training.jsonl"), lines(tmp_path / "out/data/validation.jsonl")
    assert (len(training), len(validation)) == (made["training_examples"], made["validation_examples"]) == (87, 9)
    chat = [{"role": role, "content": shown[key]} for role, key in
            (("system", "system"), ("user", "user"), ("assistant", "completion"))]  # fmt: skip
    assert training[0] == {
        "trl": {"prompt": chat[:2], "completion": chat[2:]},
        "axolotl": {"messages": chat},
        "openai": {"messages": chat},
        "alpaca": {"instruction": shown["user"], "input": "", "output": shown["completion"],
                   "system": shown["system"]},
        "vertex": {"systemInstruction": {"role": "system", "parts": [{"text": shown["system"]}]}, "contents": [
            {"role": "user", "parts": [{"text": shown["user"]}]},
            {"role": "model", "parts": [{"text": shown["completion"]}]}]},
    }[form]  # fmt: skip
    about = json.loads((tmp_path / "out" / "llmseq.json").read_text())
    assert (about["dataset"], about["setup"]["task"], about["setup"]["k"]) == ("shop", "rank", 4)
    assert "87 examples" in (tmp_path / "out" / "README.md").read_text()
    assert llmseq("jobs", "--json").json == []


def test_configurations_say_what_the_settings_say(llmseq, ready, tmp_path):
    words = ["--set", "rank=4", "--set", "learning_rate=0.00002", "--set", "epochs=2", "--set", "batch_size=6"]
    awkward = 'a/"b": {c} # d'
    exported(llmseq, tmp_path / "trl", *words, "--model", awkward, "--set", "modules=all-linear")
    trl = yaml.safe_load((tmp_path / "trl/sft.yaml").read_text())
    assert (trl["model_name_or_path"], trl["lora_r"], trl["learning_rate"]) == (awkward, 4, 0.00002)
    assert (trl["num_train_epochs"], trl["lora_target_modules"]) == (2, ["all-linear"])
    assert trl["per_device_train_batch_size"] * trl["gradient_accumulation_steps"] == 6
    compile((tmp_path / "trl/train_unsloth.py").read_text(), "train_unsloth.py", "exec")
    exported(llmseq, tmp_path / "axolotl", *words, "--format", "axolotl", "--validation", "0")
    axolotl = yaml.safe_load((tmp_path / "axolotl/axolotl.yaml").read_text())
    assert (axolotl["base_model"], axolotl["lora_target_modules"]) == ("Qwen/Qwen3-0.6B", ["q_proj", "v_proj"])
    assert (axolotl["learning_rate"], axolotl["bf16"], "test_datasets" in axolotl) == (0.00002, "auto", False)
    assert not axolotl.get("sample_packing"), "examples in one row see each other, unless flash-attn is there"
    assert set(axolotl) <= AXOLOTL
    assert set(axolotl["datasets"][0]) <= AXOLOTL_DATASET
    exported(llmseq, tmp_path / "openai", "--format", "openai", "--model", "m", "--validation", "0")
    job = json.loads((tmp_path / "openai/job.json").read_text())
    assert job["method"]["supervised"]["hyperparameters"] == {"n_epochs": "auto"}
    assert "validation_file" not in job
    exported(llmseq, tmp_path / "vertex", "--format", "vertex", "--set", "epochs=3")
    job = json.loads((tmp_path / "vertex/job.json").read_text())
    assert job["supervisedTuningSpec"]["hyperParameters"] == {"epochCount": "3"}
    exported(llmseq, tmp_path / "alpaca", "--format", "alpaca")
    known = json.loads((tmp_path / "alpaca/data/dataset_info.json").read_text())
    assert {entry["file_name"] for entry in known.values()} == {"training.jsonl", "validation.jsonl"}


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--export-only", "--format", "yaml"], 2, "no format 'yaml'"),
        (["--format", "trl"], 2, "need --export-only"),
        (["--export-only", "--format", "openai"], 2, "--model"),
        (["--export-only", "--out", "full"], 1, "full already exists"),
        (["--export-only", "--validation", "1001"], 2, "above the maximum 1000"),
        (["--export-only", "--context", "3"], 1, "too few"),
        (["--export-only", "--set", "rnk=3"], 2, "rank"),
        (["--export-only", "--set", "alpha=12.5"], 2, "whole numbers"),
    ],
)
def test_what_cannot_be_exported(llmseq, ready, tmp_path, monkeypatch, words, status, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    failed = llmseq("finetune", *words)
    assert (failed.status, says in failed.err, "hint:" in failed.err) == (status, True, True), failed.err
    assert not list(tmp_path.glob("*-trl"))


def one_step(script, config: str) -> None:
    """One step of a program of TRL as it is installed, by a configuration as it was written."""
    words = ["--max_steps", "1", "--use_cpu", "true", "--bf16", "false", "--disable_tqdm", "true"]
    parsed = script.make_parser().parse_args_and_config(["--config", config, *words], fail_with_unknown_args=False)
    script.main(*parsed[:4])


def with_adapter(base: Path, adapter: Path) -> torch.Tensor:
    """Logits as peft itself makes them."""
    from peft import PeftModel

    reference = PeftModel.from_pretrained(load_model(str(base), HERE), str(adapter)).eval()
    with torch.inference_mode():
        return reference(**load_tokenizer(str(base))("red wool sock", return_tensors="pt")).logits


def test_trl_trains_what_is_exported_and_the_adapter_comes_back(llmseq, ready, tiny, tmp_path, monkeypatch):
    trl_sft = pytest.importorskip("trl.scripts.sft", reason="trl is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    exported(llmseq, "genitem-trl", "--model", tiny, "--limit", "16", "--set", "learning_rate=0.5")
    monkeypatch.chdir(tmp_path / "genitem-trl")
    one_step(trl_sft, "sft.yaml")
    adapter = tmp_path / "genitem-trl" / "adapter"
    assert (adapter / "training_args.bin").exists(), "a pickle, which the import must leave out"
    expected = with_adapter(tiny, adapter)
    assert not torch.allclose(expected, logits(tiny), atol=1e-3), "the step changed nothing"
    job = llmseq("jobs", "import", "adapter", "--json")
    assert job.status == 0, job.err
    assert (job.json["job"], job.json["status"], job.json["task"]) == ("genitem-1", "succeeded", "genitem")
    assert (job.json["training_examples"], job.json["base_model"]) == (16, str(tiny))
    kept = Path(job.json["folder"], "model")
    assert not list(kept.glob("*.bin"))
    torch.testing.assert_close(logits(kept), expected, atol=1e-5, rtol=1e-5)
    again = llmseq("jobs", "import", "adapter", "--json")
    assert again.json["job"] == "genitem-1"
    run = prompt(llmseq, "latest", "--samples", "1", "--limit", "3", "--max-tokens", "8")
    assert (run["label"], run["figures"]["answers"]) == ("LLMSeqPromptGenItem", 3)


@pytest.mark.slow
def test_trl_prefers_what_pairs_prefer(llmseq, ready, tiny, tmp_path, monkeypatch):
    trl_dpo = pytest.importorskip("trl.scripts.dpo", reason="trl is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    words = ["--task", "preference", "-k", "5", "--model", tiny, "--limit", "16", "--set", "learning_rate=0.5"]
    exported(llmseq, "pairs", *words)
    monkeypatch.chdir(tmp_path / "pairs")
    one_step(trl_dpo, "dpo.yaml")
    expected = with_adapter(tiny, tmp_path / "pairs" / "adapter")
    assert not torch.allclose(expected, logits(tiny), atol=1e-3), "the step changed nothing"
    job = llmseq("jobs", "import", "adapter", "--json")
    assert job.status == 0, job.err
    torch.testing.assert_close(logits(Path(job.json["folder"], "model")), expected, atol=1e-5, rtol=1e-5)


def test_a_merged_model_comes_back(llmseq, ready, tiny):
    unknown = llmseq("jobs", "import", tiny)
    assert (unknown.status, "--task genitem" in unknown.err) == (1, True)
    (tiny / "optimizer.pt").write_bytes(b"a pickle")
    told = llmseq("jobs", "import", tiny, "--task", "genlist")
    assert (told.status, "not copied, since no model needs it: optimizer.pt" in told.err) == (0, True)
    (tiny / "optimizer.pt").unlink()
    job = llmseq("jobs", "show", "genlist-1", "--json").json
    assert not list(Path(job["folder"], "model").glob("*.pt"))
    again = llmseq("jobs", "import", tiny, "--task", "genlist")
    assert (again.status, "genlist-1 already has these files" in again.err) == (0, True)
    assert (job["job"], job["base_model"], job["provider"]) == ("genlist-1", "tiny", "local")
    assert torch.equal(logits(Path(job["folder"], "model")), logits(tiny))
    printed = llmseq("jobs", "show", "genlist-1")
    assert (printed.status, "imported from" in printed.out) == (0, True)
    other = llmseq("jobs", "import", tiny, "--task", "rank", "--json").json
    assert other["job"] == "rank-2"


def test_an_imported_model_is_asked_at_a_server_by_its_name(llmseq, server, ready, tiny):
    llmseq("jobs", "import", tiny, "--task", "genitem")
    server.models.add("genitem-1")
    server.answer = clairvoyant(dataset_of(ready))
    run = prompt(llmseq, "genitem-1", "--base-url", server.url, "--samples", "1")
    assert (run["label"], run["hr@10"], run["settings"]["model"]) == ("LLMSeqPromptGenItem", 1.0, "genitem-1")


@pytest.fixture
def adapter(tiny, tmp_path) -> Path:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="CAUSAL_LM", r=2, base_model_name_or_path=str(tiny))
    get_peft_model(load_model(str(tiny), HERE), config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def change(file: Path, **news) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | news))


def test_an_adapter_of_another_machine_is_told_its_base(llmseq, ready, tiny, adapter):
    change(adapter / "adapter_config.json", base_model_name_or_path="/gpu/models/tiny")
    lost = llmseq("jobs", "import", adapter, "--task", "genitem")
    assert (lost.status, "/gpu/models/tiny" in lost.err) == (1, True)
    job = llmseq("jobs", "import", adapter, "--task", "genitem", "--base-model", tiny, "--json").json
    assert job["base_model"] == str(tiny)
    assert torch.equal(logits(Path(job["folder"], "model")), logits(tiny))


CODE = {"auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"}}


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: change(folder / "adapter_config.json", **CODE), "asks to run code"),
        (lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"), "no weights"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "contains no model"),
        (lambda folder: (folder.parent / "llmseq.json").write_text("{}"), "not written by an export"),
        (lambda folder: (folder.parent / "llmseq.json").write_text("[" * 100_000), "not written by an export"),
        (lambda folder: shutil.rmtree(folder), "there is no folder"),
    ],
)
def test_folders_that_are_refused(llmseq, ready, adapter, harm, says):
    words = [] if says == "not written by an export" else ["--task", "genitem"]
    harm(adapter)
    refused = llmseq("jobs", "import", adapter, *words)
    assert (refused.status, says in " ".join(refused.err.split())) == (1, True), refused.err
    assert llmseq("jobs", "--json").json == []
    assert not list((ready.folder / "artifacts").glob("jobs/*/model"))


def test_what_an_export_says_is_checked(llmseq, ready, adapter, tmp_path):
    exported(llmseq, tmp_path / "out", "--task", "classify", "--clusters", "5")
    about = json.loads((tmp_path / "out/llmseq.json").read_text())
    for news, says in (
        ({"categories": [0, 99_999]}, "categories that shop does not have"),
        ({"k": 5_000}, "less than or equal to 100"),
        ({"task": "evil"}, "no task 'evil'"),
        ({"template": about["setup"]["template"] | {"user": "{session.__class__}"}}, "placeholder"),
    ):
        (tmp_path / "llmseq.json").write_text(json.dumps(about | {"setup": about["setup"] | news}))
        refused = llmseq("jobs", "import", adapter)
        assert (refused.status in (1, 2), says in " ".join(refused.err.split())) == (True, True), refused.err
    (tmp_path / "llmseq.json").write_text(json.dumps(about))
    assert llmseq("jobs", "import", adapter, "--json").json["job"] == "classify-1"


def test_an_import_that_was_killed_is_gone_on_with(llmseq, ready, tiny, monkeypatch):
    from llmseq_cli.finetuning.ledger import Ledger

    class KilledError(BaseException):
        pass

    def die(*_, **__):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "note", die)
        with pytest.raises(KilledError):
            ready.import_model(tiny, "genitem")
    made = llmseq("jobs", "import", tiny, "--task", "genitem", "--json").json
    assert (made["job"], made["status"], len(llmseq("jobs", "--json").json)) == ("genitem-1", "succeeded", 1)
    assert torch.equal(logits(Path(made["folder"], "model")), logits(tiny))


def test_wrong_words(llmseq, ready):
    for words in (["import"], ["show", "latest", "--task", "genitem"], ["imprt", "x"]):
        assert llmseq("jobs", *words).status == 2, words
