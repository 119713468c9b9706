"""LoRA fine-tuning: tokens a second and memory, beside a plain Trainer of transformers on the same model and examples.

    python tests/benchmarks/bench_lora.py                 # 1.2 billion weights where CUDA is, else a tiny model
    python tests/benchmarks/bench_lora.py --size tiny --examples 64

The model has the shape of Llama 3.2 1B and random weights, so that nothing is downloaded: the speed is that of a real
one. Tokens are counted without padding. Both train in bfloat16 on a GPU and float32 on a CPU, with batches of as many
examples; each warms up on a few steps first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments
from transformers import Trainer as PlainTrainer

from llmseq_cli.language_model.chat import Encoded
from llmseq_cli.language_model.training import Course, Trainer
from llmseq_cli.progress import SilentProgress

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "vocab_size": 2048,
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    "1b": {
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
}


def make_model(size: str, device: str) -> Any:
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM(LlamaConfig(**SIZES[size])).to(torch.bfloat16 if device == "cuda" else torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=32, lora_dropout=0.05)
    return get_peft_model(model, config)


def make_examples(n: int, vocabulary: int, seed: int) -> Encoded:
    """Lengths as of sessions of ten titles: log-normal, about 200 tokens, answers of about 20."""
    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(5.2, 0.5, n).astype(int), 30, 900)
    prompts = [random.integers(3, vocabulary, length).tolist() for length in lengths]
    return Encoded(prompts, [random.integers(3, vocabulary, random.integers(8, 30)).tolist() for _ in prompts])


def ours(size: str, device: str, examples: Encoded, batch_size: int) -> None:
    course = Course(1, batch_size, 1e-4, 0, tokens_at_once=16_384, autocast=device == "cuda")
    with SilentProgress().task("") as task:
        Trainer(make_model(size, device), examples, None, course).run(task)


def collate(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    padded = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    return {
        name: torch.tensor([row[name] + [fill] * (longest - len(row[name])) for row in rows])
        for name, fill in padded.items()
    }


def plain(size: str, device: str, examples: Encoded, batch_size: int) -> None:
    rows = [
        {
            "input_ids": prompt + completion,
            "attention_mask": [1] * (len(prompt) + len(completion)),
            "labels": [-100] * len(prompt) + completion,
        }
        for prompt, completion in zip(examples.prompts, examples.completions, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=batch_size,
            num_train_epochs=1,
            learning_rate=1e-4,
            bf16=device == "cuda",
            use_cpu=device == "cpu",
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        PlainTrainer(make_model(size, device), arguments, train_dataset=rows, data_collator=collate).train()


def measure(run: Any, size: str, device: str, examples: Encoded, batch_size: int) -> dict[str, float]:
    run(size, device, Encoded(examples.prompts[: 2 * batch_size], examples.completions[: 2 * batch_size]), batch_size)
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    clock = time.perf_counter()
    run(size, device, examples, batch_size)
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - clock
    memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else float("nan")
    return {
        "tokens_per_second": float(examples.lengths.sum()) / seconds,
        "seconds": seconds,
        "peak_memory_mb": memory,
    }


def run(_options: argparse.Namespace) -> None:
    """For `make bench`."""
    cuda = torch.cuda.is_available()
    compare("1b" if cuda else "tiny", 2048 if cuda else 128, 32)


def compare(size: str, n_examples: int, batch_size: int) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    examples = make_examples(n_examples, SIZES[size]["vocab_size"], seed=0)
    for name, trained in (("llmseq", ours), ("transformers Trainer", plain)):
        figures = measure(trained, size, device, examples, batch_size)
        print(json.dumps({"what": name, "size": size, "device": device, **figures}))


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="1b" if device == "cuda" else "tiny")
    parser.add_argument("--examples", type=int, default=2048 if device == "cuda" else 128)
    parser.add_argument("--batch-size", type=int, default=32)
    given = parser.parse_args()
    compare(given.size, given.examples, given.batch_size)


if __name__ == "__main__":
    main()
