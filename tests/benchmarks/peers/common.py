"""What the scripts of all libraries share: the data of a file, the figures they print. Needs numpy and torch only."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

K = 20
LENGTH, DIM, LAYERS, HEADS, BATCH, MASK, HIDDEN = 20, 64, 2, 2, 128, 0.2, 128


@dataclass(frozen=True)
class Data:
    """items, offsets: of the training sessions. histories, prompt_offsets, targets: of the evaluated ones."""

    n_items: int
    items: np.ndarray
    offsets: np.ndarray
    histories: np.ndarray
    prompt_offsets: np.ndarray
    targets: np.ndarray

    def lists(self, items: str = "items", offsets: str = "offsets") -> list[np.ndarray]:
        return np.split(getattr(self, items), getattr(self, offsets)[1:-1])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=["sasrec", "bert4rec", "gru4rec"])
    parser.add_argument("data")
    parser.add_argument("--seconds", type=float, default=30, help="how long to measure training, after a warm-up")
    parser.add_argument("--minutes", type=float, default=0, help="of the processor, to train for and measure NDCG@20")
    parser.add_argument("--precision", default="auto", help="of llmseq's products with the catalog")
    parser.add_argument("--threads", type=int, default=1, help="of llmseq")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return options


def load(path: str) -> Data:
    arrays = np.load(path)
    return Data(int(arrays["n_items"]), *(arrays[name] for name in list(Data.__annotations__)[1:]))


class Rate:
    """Targets and seconds of training, from the warm-up's end to the last step; cpu_seconds: those on the processor.

    It is over after so many seconds by the clock or, where minutes are given, after these on the processor.
    """

    def __init__(self, seconds: float, minutes: float = 0, warm_up: int = 3) -> None:
        self.wanted, self.cpu_wanted, self.warm_up = seconds, 60 * minutes, warm_up
        self.steps, self.targets = 0, 0
        self.seconds, self.cpu_seconds = 0.0, 0.0
        self._started = self._cpu_started = 0.0

    def step(self, targets: int) -> bool:
        """Count a finished step; True when enough was seen."""
        self.steps += 1
        now, cpu_now = time.perf_counter(), time.process_time()
        if self.steps <= self.warm_up:
            self._started, self._cpu_started = now, cpu_now
            return False
        self.targets += targets
        self.seconds, self.cpu_seconds = now - self._started, cpu_now - self._cpu_started
        return self.cpu_seconds >= self.cpu_wanted if self.cpu_wanted else self.seconds >= self.wanted


def peak_mb() -> float:
    """Largest resident memory of this process so far.

    On Linux from /proc: there getrusage counts what the process that started this one held, too.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        in_bytes = sys.platform == "darwin"
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if in_bytes else 1 << 10)
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def report(
    trained: int,
    seconds: float,
    cpu_seconds: float,
    targets_per_epoch: float,
    score: Callable[[], np.ndarray],
    data: Data,
    full: bool,
) -> None:
    """Print the figures as one line of JSON. score: → items int[n, 20] for all histories; the second call is timed."""
    score()
    clock, cpu_clock = time.perf_counter(), time.process_time()
    items = score()
    score_seconds, score_cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu_clock
    hits = items == data.targets[: len(items), None]
    ndcg = float((hits / np.log2(np.arange(K) + 2)).sum(axis=1).mean())
    rate = trained / seconds
    figures = {
        "positions_per_second": rate,
        "positions_per_cpu_second": trained / cpu_seconds,
        "targets_per_epoch": targets_per_epoch,
        "seconds_per_epoch": targets_per_epoch / rate,
        "peak_mb": peak_mb(),
        "sessions_per_second": len(items) / score_seconds,
        "sessions_per_cpu_second": len(items) / score_cpu_seconds,
        "ndcg": ndcg if full else None,
    }
    print("FIGURES " + json.dumps(figures), flush=True)
