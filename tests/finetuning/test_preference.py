"""Preference pairs: what is chosen, what is rejected, and where both come from."""

import dataclasses
import json
import re

import pytest
import yaml
from support.prompting_steps import BASE, dataset_of

from llmseq_cli.finetuning.exports.formats import as_line, find_format
from llmseq_cli.finetuning.tasks.preference import Preference
from llmseq_cli.finetuning.tasks.task import Ingredients
from llmseq_cli.language_model.messages import Example
from llmseq_cli.training.stored_runs import load_model


def test_pairs_come_from_training_sessions_and_the_run_s_lists(llmseq, server, ready, tmp_path):
    words = ["finetune", "--task", "preference", "--model", BASE, "-k", "5"]
    job = llmseq(*words, "--export-only", "--format", "trl", "--out", tmp_path / "pairs", "--json").json
    folder = tmp_path / "pairs" / "data"
    config = yaml.safe_load((tmp_path / "pairs" / "dpo.yaml").read_text(encoding="utf-8"))
    assert (config["model_name_or_path"], config["beta"], config["learning_rate"]) == (BASE, 0.1, 1e-5)
    from trl import DPOConfig, ModelConfig, ScriptArguments

    known = {one.name for kind in (DPOConfig, ModelConfig, ScriptArguments) for one in dataclasses.fields(kind)}
    assert set(config) <= known
    pairs = [json.loads(line) for file in sorted(folder.glob("*.jsonl"))
             for line in file.read_text(encoding="utf-8").splitlines()]  # fmt: skip
    assert len(pairs) == job["training_examples"] + job["validation_examples"] > 50
    dataset = dataset_of(ready)
    titles = dataset.catalog.titles
    histories, targets = dataset.train.histories(), dataset.train.targets()
    lists = load_model(ready.folder, "llmseqsim-1", "llmseqsim").recommend(histories, 5).items
    wanted = {
        (*titles[histories[place]], titles[targets[place]]): set(titles[lists[place][lists[place] >= 0]])
        for place in range(len(histories))
    }
    for pair in pairs:
        assert list(pair) == ["prompt", "chosen", "rejected"]
        assert [message["role"] for message in pair["prompt"]] == ["system", "user"]
        [chosen], [rejected] = pair["chosen"], pair["rejected"]
        assert chosen["role"] == rejected["role"] == "assistant"
        history = re.findall(r"^\d+\. (.*)$", pair["prompt"][1]["content"], re.MULTILINE)
        candidates = wanted[(*history, chosen["content"])]
        assert rejected["content"] in candidates - {chosen["content"]}
    refused = llmseq(*words, "--provider", "openai")
    assert (refused.status, "--export-only" in refused.err) == (2, True), refused.err
    other = llmseq(*words, "--export-only", "--format", "alpaca", "--out", tmp_path / "other")
    assert (other.status, "--format trl" in other.err) == (2, True), other.err
    shown = llmseq(*words, "--provider", "openai", "--show", "1")
    assert "[rejected]" in shown.out


def test_nothing_is_rejected_that_has_the_title_of_the_next_item():
    import numpy as np

    from llmseq_cli.data.sessions import Sessions

    groups = np.array([0, 1, 1, -1, 2])
    lists = np.array([[2, 3, -1], [1, 4, 0], [-1, -1, -1]], dtype=np.int32)
    ingredients = Ingredients(3, 0, groups, candidates=lambda prompts, k: lists)
    prompts = Sessions.from_lists([[0], [0], [0]])
    material = Preference().material(prompts, np.array([1, 2, 1]), ingredients)
    assert material.answers[[0, 2]].tolist() == [[-1, -1], [-1, -1]]
    assert material.answers[1, 0] == 2
    assert material.answers[1, 1] in (4, 0)


@pytest.mark.parametrize("system", ["", "You know."])
def test_a_pair_is_what_the_trainer_loads(system):
    datasets = pytest.importorskip("datasets")
    trl = pytest.importorskip("trl.data_utils")
    line = as_line(find_format("trl", "preference"), Example(system, "Which?", "this", "that"))
    row = datasets.Dataset.from_list([json.loads(line)])[0]
    assert trl.is_conversational(row)
    assert [message["content"] for message in row["prompt"]] == [*([system] if system else []), "Which?"]
