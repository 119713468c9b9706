"""Answers of a local model: sessions a second, beside plain `generate` of transformers, on GenItem's questions.

    python tests/benchmarks/bench_generate.py                 # a billion weights where CUDA is, else a small model
    python tests/benchmarks/bench_generate.py --sessions 64 --samples 20

The paper asks twenty times at temperature 1 and top_p 0.25 (Section 7.1.7); one answer, the likeliest, is measured too.
Plain is what the library's pages show: batches in the order of the file, padded to their longest question. The model
has random weights, made surer of itself, as a fine-tuned one is.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from genitem_prompts import END, PAD, genitem_prompts
from language_models import CUDA, DEVICE, SIZES, USUAL_SIZE, compared, make_model
from transformers import GenerationConfig

from llmseq_cli.language_model.beginning import read_beginning
from llmseq_cli.language_model.generation import Drawing, generate

ANSWER = 24  # tokens
TEMPERATURE, TOP_P = 1.0, 0.25
TOKENS_AT_ONCE = 8192


def ours(model: Any, prompts: list[list[int]], samples: int) -> None:
    """As `Answerer` divides questions."""
    random = torch.Generator(model.device).manual_seed(0)
    drawing = Drawing(TEMPERATURE if samples > 1 else 0.0, TOP_P, ANSWER, frozenset([END]))
    begun = read_beginning(model, prompts)
    left = sorted(prompts, key=len, reverse=True)
    while left:
        part = left[: max(1, TOKENS_AT_ONCE // len(left[0]))]
        generate(model, part, [samples] * len(part), drawing, random, begun=begun)
        left = left[len(part) :]


def plain(model: Any, prompts: list[list[int]], samples: int, batch: int) -> None:
    drawn = {"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0} if samples > 1 else {}
    config = GenerationConfig(
        max_new_tokens=ANSWER, num_return_sequences=samples, pad_token_id=PAD, eos_token_id=END, **drawn
    )
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        width = max(map(len, part))
        tokens = torch.tensor([[PAD] * (width - len(prompt)) + [*prompt] for prompt in part], device=model.device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part], device=model.device)
        model.generate(input_ids=tokens, attention_mask=mask, generation_config=config)


def run(_options: argparse.Namespace) -> None:
    """For `make bench`."""
    for samples in (20, 1):
        print(json.dumps(measured(USUAL_SIZE, 512 if CUDA else 24, samples, 32 if CUDA else 8, 3)))


def measured(size: str, sessions: int, samples: int, batch: int, rounds: int) -> dict[str, Any]:
    model = make_model(size).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(20)
    made = genitem_prompts(sessions)
    prompts = [list(prompt) for prompt in made.examples.prompts]
    ours(model, prompts[:2], samples)  # to warm up
    plain(model, prompts[:2], samples, batch)
    ways = {
        "llmseq": lambda: ours(model, prompts, samples),
        "transformers": lambda: plain(model, prompts, samples, batch),
    }
    figures = compared(ways, rounds, float(len(prompts)))
    about = {"questions of": made.about, "answers a session": samples, "size": size, "device": DEVICE}
    return {"what": "sessions a second, answering"} | about | figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*SIZES], default=USUAL_SIZE)
    parser.add_argument("--sessions", type=int, default=512 if CUDA else 64)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(json.dumps(measured(given.size, given.sessions, given.samples, given.batch, given.rounds)))


if __name__ == "__main__":
    main()
