"""Answers of a local model: sessions a second, beside plain `generate` of transformers, on GenItem's questions.

    python tests/benchmarks/bench_generate.py                 # a billion weights where CUDA is, else a small model
    python tests/benchmarks/bench_generate.py --sessions 64 --samples 20

The paper asks twenty times at temperature 1 and top_p 0.25 (Section 7.1.7); one answer, the likeliest, is measured too.
Plain is what the library's pages show: batches in the order of the file, padded to their longest question. The model
has random weights, made surer of itself, as a fine-tuned one is; with both, answers are as long as the true ones.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from genitem_prompts import END, PAD, genitem_prompts
from language_models import CUDA, DEVICE, SIZES, USUAL_SIZE, compared, make_model
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor

from llmseq_cli.language_model.beginning import read_beginning
from llmseq_cli.language_model.chat import Encoded
from llmseq_cli.language_model.generation import Drawing, Guide, generate

TEMPERATURE, TOP_P = 1.0, 0.25
TOKENS_AT_ONCE = 8192
_NEVER = float("-inf")


class AsLongAsTitles(Guide):
    """Ends the answers to each prompt after as many tokens as its true answer has."""

    def __init__(self, lengths: list[int], device: Any) -> None:
        self.left = torch.tensor(lengths, device=device)

    def narrow(self, logits: Tensor) -> Tensor:
        return ended(logits, self.left <= 1)

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        self.left = self.left[parents] - 1

    def keep(self, rows: Tensor) -> None:
        self.left = self.left[rows]

    def said(self, row: int) -> list[int]:
        return []


class PlainAsLongAsTitles(LogitsProcessor):
    """The same for `generate`; width: of the prompts."""

    def __init__(self, lengths: Tensor, width: int) -> None:
        self.lengths, self.width = lengths, width

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return ended(scores, self.lengths <= input_ids.shape[1] - self.width + 1)


def ended(logits: Tensor, rows: Tensor) -> Tensor:
    """Rows (bool[n]) may say nothing but the end, the others anything but that."""
    is_end = torch.arange(logits.shape[1], device=logits.device) == END
    return logits.masked_fill(rows[:, None] != is_end, _NEVER)


def ours(model: Any, examples: Encoded, samples: int) -> None:
    """As `Answerer` divides questions."""
    random = torch.Generator(model.device).manual_seed(0)
    longest = max(map(len, examples.completions))
    drawing = Drawing(TEMPERATURE if samples > 1 else 0.0, TOP_P, longest, frozenset([END]))
    begun = read_beginning(model, examples.prompts)
    left = sorted(range(len(examples)), key=lambda place: -len(examples.prompts[place]))
    while left:
        part = left[: max(1, TOKENS_AT_ONCE // len(examples.prompts[left[0]]))]
        guide = AsLongAsTitles([len(examples.completions[place]) for place in part], model.device)
        asked = [examples.prompts[place] for place in part]
        generate(model, asked, [samples] * len(part), drawing, random, guide, begun)
        left = left[len(part) :]


def plain(model: Any, examples: Encoded, samples: int, batch: int) -> None:
    drawn = {"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0} if samples > 1 else {}
    longest = max(map(len, examples.completions))
    config = GenerationConfig(
        max_new_tokens=longest, num_return_sequences=samples, pad_token_id=PAD, eos_token_id=END, **drawn
    )
    for start in range(0, len(examples), batch):
        part = examples.prompts[start : start + batch]
        width = max(map(len, part))
        tokens = torch.tensor([[PAD] * (width - len(prompt)) + [*prompt] for prompt in part], device=model.device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part], device=model.device)
        lengths = torch.tensor([len(one) for one in examples.completions[start : start + batch]], device=model.device)
        ends = PlainAsLongAsTitles(lengths.repeat_interleave(samples), width)
        model.generate(input_ids=tokens, attention_mask=mask, generation_config=config, logits_processor=[ends])


def run(_options: argparse.Namespace) -> None:
    """For `make bench`."""
    for samples in (20, 1):
        print(json.dumps(measured(USUAL_SIZE, 512 if CUDA else 24, samples, 32 if CUDA else 8, 3)))


def measured(size: str, sessions: int, samples: int, batch: int, rounds: int) -> dict[str, Any]:
    model = make_model(size).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(20)
    made = genitem_prompts(sessions)
    examples = made.examples
    few = Encoded(examples.prompts[:2], examples.completions[:2])
    ours(model, few, samples)  # to warm up
    plain(model, few, samples, batch)
    ways = {
        "llmseq": lambda: ours(model, examples, samples),
        "transformers": lambda: plain(model, examples, samples, batch),
    }
    figures = compared(ways, rounds, float(len(examples)))
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
