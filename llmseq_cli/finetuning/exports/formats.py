"""Formats of exported training files: how an example is written, and which files come with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.finetuning.tasks.preference import Preference
from llmseq_cli.language_model.messages import Example, chat_messages, gemini_contents


@dataclass(frozen=True)
class ExportFormat:
    """line: an example as JSON. files: file names and their templates. how: instructions for people. model: default
    model to start from. context: most tokens of an example, None for the setting max_length. validation: most
    validation examples.
    """

    line: Callable[[Example], dict[str, Any]]
    files: dict[str, str]
    how: str
    model: str | None = "Qwen/Qwen3-0.6B"
    context: int | None = None
    validation: int = 1000

    @property
    def comes_back(self) -> bool:
        """Whether training produces an adapter that can be imported."""
        return self.context is None


def _prompt_and_completion(example: Example) -> dict[str, Any]:
    """TRL's conversational format of prompt and completion: the loss is on the completion only."""
    *prompt, completion = chat_messages(example)
    return {"prompt": prompt, "completion": [completion]}


def _alpaca(example: Example) -> dict[str, Any]:
    return {"instruction": example.user, "input": "", "output": example.completion, "system": example.system}


def _pair(example: Example) -> dict[str, Any]:
    """TRL's conversational format of a prompt with the better and the worse answer."""
    *prompt, chosen = chat_messages(example)
    return {"prompt": prompt, "chosen": [chosen], "rejected": [chosen | {"content": example.rejected}]}


FORMATS = {
    "trl": ExportFormat(
        _prompt_and_completion,
        {"sft.yaml": "trl.yaml", "train_unsloth.py": "unsloth.py"},
        "`trl sft --config sft.yaml` trains a LoRA adapter with TRL; `python train_unsloth.py` does so with Unsloth.",
    ),
    "axolotl": ExportFormat(
        lambda example: {"messages": chat_messages(example)},
        {"axolotl.yaml": "axolotl.yaml"},
        "`axolotl train axolotl.yaml` trains a LoRA adapter with Axolotl.",
    ),
    "alpaca": ExportFormat(
        _alpaca,
        {"data/dataset_info.json": "alpaca.json"},
        "`data/dataset_info.json` registers them for LLaMA-Factory (`dataset_dir: data`, `dataset: llmseq`); other "
        "trainers read the Alpaca format directly. Save the result as `adapter`.",
    ),
    "openai": ExportFormat(
        lambda example: {"messages": chat_messages(example)},
        {"job.json": "openai.json"},
        "For any server that speaks OpenAI's protocol: upload the files with the purpose `fine-tune`, put their ids "
        "into `job.json`, and POST it to `/v1/fine_tuning/jobs`. `llmseq finetune --base-url` does all of that.",
        model=None,
        context=65_536,
        validation=500,
    ),
    "vertex": ExportFormat(
        gemini_contents,
        {"job.json": "vertex.json"},
        "For Gemini: copy the files to a bucket, put its name into `job.json`, and POST it to `tuningJobs` of your "
        "project and region. `llmseq finetune --provider vertex` does all of that.",
        model="gemini-3.5-flash",
        context=131_072,
        validation=5_000,
    ),
}


_PAIRS = ExportFormat(
    _pair,
    {"dpo.yaml": "trl-dpo.yaml"},
    "`trl dpo --config dpo.yaml` trains a LoRA adapter on the pairs with TRL.",
)


def find_format(name: str, task: str) -> ExportFormat:
    """The format of this name for examples of a task."""
    if task == Preference.name:
        if name != "trl":
            raise UsageError(f"preference pairs cannot be written in the format {name}", "use --format trl")
        return _PAIRS
    if name not in FORMATS:
        raise UsageError(f"there is no format '{name}' for training files", did_you_mean(name, list(FORMATS)))
    return FORMATS[name]


def as_line(form: ExportFormat, example: Example) -> str:
    return json.dumps(form.line(example), ensure_ascii=False)
