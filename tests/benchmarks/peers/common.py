"""What the scripts of all libraries share: the data of a file, the figures they print. Needs numpy and torch only."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

K = 20
LENGTH, DIM, LAYERS, HEADS, BATCH, MASK, HIDDEN = 20, 64, 2, 2, 128, 0.2, 128


@dataclass(frozen=True)
class Data:
    """items, offsets: of the training sessions. prompts, prompt_offsets, targets: of the evaluated ones."""

    n_items: int
    items: np.ndarray
    offsets: np.ndarray
    prompts: np.ndarray
    prompt_offsets: np.ndarray
    targets: np.ndarray

    def lists(self, items: str = "items", offsets: str = "offsets") -> list[np.ndarray]:
        return np.split(getattr(self, items), getattr(self, offsets)[1:-1])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=["sasrec", "bert4rec", "gru4rec"])
    parser.add_argument("data")
    parser.add_argument("--seconds", type=float, default=20, help="how long to measure training, after a warm-up")
    parser.add_argument("--epochs", type=int, default=0, help="train so many epochs instead, and measure NDCG@20")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return options


def load(path: str) -> Data:
    arrays = np.load(path)
    return Data(int(arrays["n_items"]), *(arrays[name] for name in list(Data.__annotations__)[1:]))


class Rate:
    """Targets a second, from the warm-up's end on."""

    def __init__(self, seconds: float, warm_up: int = 3) -> None:
        self.wanted, self.warm_up = seconds, warm_up
        self.steps, self.targets, self.started = 0, 0, 0.0

    def step(self, targets: int) -> bool:
        """Count a finished step; True when enough was seen."""
        self.steps += 1
        if self.steps <= self.warm_up:
            self.started = time.perf_counter()
            return False
        self.targets += targets
        return self.seconds >= self.wanted

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started


def report(
    trained: int, seconds: float, targets_per_epoch: float, score: Callable[[], np.ndarray], data: Data, full: bool
) -> None:
    """Print the figures as one line of JSON. score: → items int[n, 20] for all prompts."""
    clock = time.perf_counter()
    items = score()
    score_seconds = time.perf_counter() - clock
    hits = items == data.targets[: len(items), None]
    ndcg = float((hits / np.log2(np.arange(K) + 2)).sum(axis=1).mean())
    rate = trained / seconds
    figures = {
        "positions_per_second": rate,
        "targets_per_epoch": targets_per_epoch,
        "seconds_per_epoch": targets_per_epoch / rate,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "sessions_per_second": len(items) / score_seconds,
        "ndcg": ndcg if full else None,
    }
    print("FIGURES " + json.dumps(figures), flush=True)
