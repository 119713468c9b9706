"""LoRA fine-tuning: tokens a second, beside a plain Trainer of transformers with peft, on GenItem's examples.

    python tests/benchmarks/bench_lora.py                 # 1.2 billion weights where CUDA is, else a small model
    python tests/benchmarks/bench_lora.py --examples 256 --rounds 3

Plain is what the libraries' pages show: batches in random order, padded to their longest example, losses on the answer.
Both have batches of as many examples and the same LoRA. Tokens are counted without padding.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from typing import Any

import torch
from genitem_prompts import PAD, genitem_prompts
from language_models import CUDA, DEVICE, SIZES, USUAL_SIZE, compared, make_model
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import Trainer as PlainTrainer
from transformers import TrainingArguments

from llmseq_cli.language_model.chat import Encoded
from llmseq_cli.language_model.training import Course, Trainer
from llmseq_cli.progress import SilentProgress


def adapted(size: str) -> Any:
    return get_peft_model(make_model(size), LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=32, lora_dropout=0.05))


def ours(model: Any, examples: Encoded, batch_size: int) -> None:
    course = Course(1, batch_size, 1e-4, 0, tokens_at_once=16_384, autocast=CUDA)
    with SilentProgress().task("") as task:
        Trainer(model, examples, None, course).run(task)


def collate(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    padded = {"input_ids": PAD, "attention_mask": 0, "labels": -100}
    return {
        name: torch.tensor([row[name] + [fill] * (longest - len(row[name])) for row in rows])
        for name, fill in padded.items()
    }


def plain(model: Any, examples: Encoded, batch_size: int) -> None:
    rows = [
        {
            "input_ids": [*prompt, *completion],
            "attention_mask": [1] * (len(prompt) + len(completion)),
            "labels": [-100] * len(prompt) + [*completion],
        }
        for prompt, completion in zip(examples.prompts, examples.completions, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=batch_size,
            num_train_epochs=1,
            learning_rate=1e-4,
            bf16=CUDA,
            use_cpu=not CUDA,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        PlainTrainer(model, arguments, train_dataset=rows, data_collator=collate).train()


def run(_options: argparse.Namespace) -> None:
    """For `make bench`."""
    print(json.dumps(measured(USUAL_SIZE, 2048 if CUDA else 64, 32 if CUDA else 16, 3)))


def measured(size: str, n_examples: int, batch_size: int, rounds: int) -> dict[str, Any]:
    prompts = genitem_prompts(n_examples)
    examples = prompts.examples
    model = adapted(size)
    few = Encoded(examples.prompts[:4], examples.completions[:4])
    for way in (ours, plain):  # to warm up
        way(model, few, 4)
    ways = {
        "llmseq": lambda: ours(model, examples, batch_size),
        "transformers + peft": lambda: plain(model, examples, batch_size),
    }
    figures = compared(ways, rounds, float(examples.lengths.sum()))
    return {"what": "tokens a second, training", "examples of": prompts.about, "size": size, "device": DEVICE} | figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default=USUAL_SIZE)
    parser.add_argument("--examples", type=int, default=2048 if CUDA else 128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(json.dumps(measured(given.size, given.examples, given.batch_size, given.rounds)))


if __name__ == "__main__":
    main()
