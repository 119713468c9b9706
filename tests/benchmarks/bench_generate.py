"""Answers of a local model: sessions a second, beside plain `generate` of transformers on the same model and prompts.

    python tests/benchmarks/bench_generate.py                 # a billion weights where CUDA is, else a small model
    python tests/benchmarks/bench_generate.py --sessions 64 --samples 20

Prompts are those of the task genitem as the paper asks it: one beginning for all, then two to twenty titles; twenty
answers a session at temperature 1 and top_p 0.25 (Section 7.1.7). The model has random weights, so nothing is
downloaded. Plain generate gets batches of prompts of like length, too, of the size that `--batch` says.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from bench_lora import SIZES as SIZES_OF_LORA
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from llmseq_cli.language_model.generation import Drawing, generate

SIZES: dict[str, dict[str, int]] = {
    "small": {
        "vocab_size": 8192,
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
    },
    "1b": SIZES_OF_LORA["1b"],
}
BEGINNING, TITLE, ANSWER = 48, 14, 16  # tokens: of the instruction, of a numbered title, of an answer
TEMPERATURE, TOP_P = 1.0, 0.25


def make_model(size: str, device: str) -> Any:
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM(LlamaConfig(**SIZES[size])).to(torch.bfloat16 if device == "cuda" else torch.float32)
        with torch.no_grad():  # surer of itself than random weights are, as a fine-tuned model is
            model.get_input_embeddings().weight.mul_(20)
    return model.eval()


def make_prompts(n: int, vocabulary: int) -> list[list[int]]:
    """Sorted by length, as both are asked."""
    random = np.random.default_rng(0)
    beginning = random.integers(3, vocabulary, BEGINNING).tolist()
    titles = np.clip(random.geometric(0.2, n) + 1, 2, 20)
    prompts = [beginning + random.integers(3, vocabulary, TITLE * count).tolist() for count in titles]
    return sorted(prompts, key=len, reverse=True)


def ours(model: Any, prompts: list[list[int]], samples: int, batch: int) -> None:
    random = torch.Generator(model.device).manual_seed(0)
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        generate(model, part, [samples] * len(part), Drawing(TEMPERATURE, TOP_P, ANSWER, frozenset([2])), random)


def plain(model: Any, prompts: list[list[int]], samples: int, batch: int) -> None:
    config = GenerationConfig(
        do_sample=True, temperature=TEMPERATURE, top_p=TOP_P, top_k=0, max_new_tokens=ANSWER,
        num_return_sequences=samples, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    with torch.inference_mode():
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            width = max(map(len, part))
            tokens = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in part], device=model.device)
            mask = torch.tensor(
                [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part], device=model.device
            )
            model.generate(input_ids=tokens, attention_mask=mask, generation_config=config)


def run(_options: argparse.Namespace) -> None:
    """For `make bench`."""
    cuda = torch.cuda.is_available()
    print(json.dumps(measured("1b" if cuda else "small", 512 if cuda else 32, 20, 32)))


def measured(size: str, sessions: int, samples: int, batch: int) -> dict[str, Any]:
    """Sessions a second of both: the median of three, after a batch to warm up."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_model(size, device)
    prompts = make_prompts(sessions, SIZES[size]["vocab_size"])
    figures: dict[str, Any] = {"device": device, "size": size, "prompt_tokens": sum(map(len, prompts))}
    for name, asked in (("llmseq", ours), ("transformers", plain)):
        asked(model, prompts[:batch], samples, batch)
        seconds = []
        for _ in range(3):
            clock = time.perf_counter()
            asked(model, prompts, samples, batch)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - clock)
        figures[f"{name}_sessions_per_second"] = round(len(prompts) / float(np.median(seconds)), 2)
    figures["ratio"] = round(figures["llmseq_sessions_per_second"] / figures["transformers_sessions_per_second"], 2)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cuda = torch.cuda.is_available()
    parser.add_argument("--size", choices=[*SIZES], default="1b" if cuda else "small")
    parser.add_argument("--sessions", type=int, default=512 if cuda else 64)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    print(json.dumps(measured(given.size, given.sessions, given.samples, given.batch)))


if __name__ == "__main__":
    main()
