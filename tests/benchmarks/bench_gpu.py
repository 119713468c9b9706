"""Training on the GPU: SASRec at the sizes of Beauty, with the fused loss and with plain torch.

Beside positions a second stands the limit: what the three products of the loss alone would allow on this card, in
bfloat16, by torch. Then the loss alone, forward and backward, and the memory that it takes. `--dry-gpu` runs the same
on the CPU with a few sessions, to see that it runs; its figures mean nothing.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.neural import losses
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.registry import model_class

_SESSIONS, _ITEMS, _MEAN_LENGTH = 17_890, 11_957, 7.6
_BATCH, _EPOCHS = 128, 4
_DIMS = (64, 256)
_LARGE = 1_000_000  # items of the catalog for which the loss alone is measured, too
_ROWS = _BATCH * 6  # targets of a step, about
_MB = 2**20


def run(options: Namespace) -> None:
    if not torch.cuda.is_available() and not options.dry_gpu:
        print("there is no CUDA device: left out")
        return
    device = "cuda" if torch.cuda.is_available() and not options.dry_gpu else "cpu"
    small = device == "cpu"
    print(torch.cuda.get_device_name() if device == "cuda" else "dry run on the CPU: the figures mean nothing")
    train = _sessions(40 if small else _SESSIONS, 60 if small else _ITEMS)
    n_items = int(train.items.max()) + 1
    print(f"\n{'SASRec':<14}{'positions/s':>13}{'of the limit':>14}{'peak MB':>10}")
    for dim in (8,) if small else _DIMS:
        rows = 4 if small else _ROWS
        limit = rows / _seconds(_products(rows, n_items, dim, device), device, small)
        print(f"{dim:<14}{limit:>13,.0f}{'the limit':>14}")
        for name in ("fused", "plain"):
            with _loss(name) as there:
                if not there:
                    print(f"{'  ' + name:<14} Triton is not installed: left out")
                    continue
                positions, peak = _train(train, n_items, dim, device, 1 if small else _EPOCHS)
            print(f"{'  ' + name:<14}{positions:>13,.0f}{positions / limit:>13.0%} {peak:>10,.0f}", flush=True)
    print(f"\n{'loss alone':<14}{'items':>13}{'ms':>14}{'peak MB':>10}")
    for items in (60,) if small else (_ITEMS, _LARGE):
        for name in ("fused", "plain"):
            with _loss(name) as there:
                if there:
                    step = _loss_alone(4 if small else _ROWS, items, 8 if small else 64, device)
                    seconds, peak = _seconds(step, device, small), _peak(step, device)
                    print(f"{'  ' + name:<14}{items:>13,}{1000 * seconds:>14.2f}{peak:>10,.0f}", flush=True)


def _sessions(n: int, n_items: int) -> Sessions:
    """Drawn sessions: popular items are frequent, as in shops."""
    random = np.random.default_rng(0)
    lengths = random.geometric(1 / (_MEAN_LENGTH - 1), n) + 1
    items = np.minimum(random.zipf(1.3, int(lengths.sum())) - 1, n_items - 1)
    return Sessions.from_lists(np.split(items, np.cumsum(lengths)[:-1]))


def _train(train: Sessions, n_items: int, dim: int, device: str, epochs: int) -> tuple[float, float]:
    """(positions a second, peak MB)."""
    cls = model_class("sasrec")

    def fit(epochs: int) -> dict[str, float]:
        settings = cls.Settings(dim=dim, batch_size=_BATCH, epochs=epochs, patience=0, last_weight=1)
        return cls(settings, n_items).fit(train, FitContext(None, device=device))  # type: ignore[arg-type]

    fit(1)  # kernels compile
    _reset(device)
    return fit(epochs)["positions_per_second"], _allocated(device)


def _products(rows: int, n_items: int, dim: int, device: str) -> Callable[[], object]:
    """The loss's three products for that many targets, and nothing else."""
    hidden, items = (torch.randn(n, dim, device=device, dtype=torch.bfloat16) for n in (rows, n_items))
    logits = hidden @ items.T
    return lambda: (torch.mm(hidden, items.T, out=logits), logits @ items, logits.T @ hidden)


def _loss_alone(rows: int, n_items: int, dim: int, device: str) -> Callable[[], object]:
    hidden, items = (torch.randn(n, dim, device=device, requires_grad=True) for n in (rows, n_items))
    targets = torch.randint(n_items, (rows,), device=device)

    def step() -> None:
        hidden.grad = items.grad = None
        losses.softmax_loss(hidden, items, targets, precision=torch.bfloat16).backward()

    return step


def _seconds(function: Callable[[], object], device: str, small: bool) -> float:
    for _ in range(1 if small else 5):
        function()
    _wait(device)
    times = 1 if small else 50
    clock = time.perf_counter()
    for _ in range(times):
        function()
    _wait(device)
    return (time.perf_counter() - clock) / times


def _peak(function: Callable[[], object], device: str) -> float:
    """MB that it takes beside what is there before."""
    before = torch.cuda.memory_allocated() / _MB if device == "cuda" else 0.0
    _reset(device)
    function()
    _wait(device)
    return _allocated(device) - before


@contextmanager
def _loss(name: str) -> Iterator[bool]:
    """The way that the loss is computed on a GPU; whether there is that way."""
    before = losses.fused
    losses.fused = before if name == "fused" else lambda: None
    try:
        yield name == "plain" or before() is not None
    finally:
        losses.fused = before


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _reset(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _allocated(device: str) -> float:
    return torch.cuda.max_memory_allocated() / _MB if device == "cuda" else 0.0
