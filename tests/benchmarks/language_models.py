"""What the benchmarks of local language models share: models of random weights, so that nothing is downloaded, and the
measuring of two ways to do the same in turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from genitem_prompts import VOCABULARY
from transformers import LlamaConfig, LlamaForCausalLM

SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "vocab_size": VOCABULARY,
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "1b": {  # the shape of Llama 3.2 1B
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
}
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
USUAL_SIZE = "1b" if CUDA else "small"


def make_model(size: str) -> Any:
    """In bfloat16 on a GPU, float32 on a CPU."""
    torch.manual_seed(0)
    with torch.device(DEVICE):
        return LlamaForCausalLM(LlamaConfig(**SIZES[size])).to(torch.bfloat16 if CUDA else torch.float32)


def compared(ways: dict[str, Callable[[], object]], rounds: int, work: float) -> dict[str, Any]:
    """Amounts of work a second of each way: on a CPU by seconds on the processor, which other programs hardly move.

    The ways take turns; a ratio is the median over rounds of the first way to each other one.
    """
    clock = time.perf_counter if CUDA else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = clock()
            way()
            if CUDA:
                torch.cuda.synchronize()
            seconds[name].append(clock() - started)
    first = next(iter(ways))
    figures: dict[str, Any] = {name: round(work / statistics.median(taken), 2) for name, taken in seconds.items()}
    for name in list(ways)[1:]:
        ratios = [other / own for own, other in zip(seconds[first], seconds[name], strict=True)]
        figures[f"ratio to {name}"] = round(statistics.median(ratios), 2)
    return figures
