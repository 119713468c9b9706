"""A catalog of a million items on one machine: memory and speed of training with the full softmax, and of scoring,
exact and with LLMSeqSim's index.

    python tests/benchmarks/bench_catalog.py [--items 1000000] [--histories 512] [--no-index] [--only-training]

Vectors are made up: groups of items around centres, 64 numbers each; histories are items of one group. Seconds are
those of the processor, on one thread; peak memory is what the process grew by beyond the vectors, while it scored.
"""

from __future__ import annotations

import argparse
import os
import resource
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.models.llmseqsim import LLMSeqSim, LLMSeqSimSettings, recall
from llmseq_cli.models.neural import softmax_kernel
from llmseq_cli.models.neural.batches import Windows
from llmseq_cli.models.neural.losses import softmax_loss
from llmseq_cli.models.neural.scoring import rank_sessions, target_ranks
from llmseq_cli.models.neural.torch_state import precision
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.sasrec import SASRec, SASRecSettings

DIM, K, PER_GROUP = 64, 20, 500
T = TypeVar("T")


def resident_mb() -> float:
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def watched(name: str, function: Callable[[], T]) -> tuple[T, float]:
    """What the function returns and its seconds on the processor; prints them with the memory that it grew by."""
    before, peak, done = resident_mb(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, resident_mb())

    watching = threading.Thread(target=watch)
    watching.start()
    clock = time.process_time()
    try:
        made = function()
    finally:
        seconds = time.process_time() - clock
        done.set()
        watching.join()
    print(f"{name:<44} {seconds:8.2f} s   {max(peak - before, 0):7,.0f} MB", flush=True)
    return made, seconds


def made_up(n_items: int, n_histories: int) -> tuple[np.ndarray, Sessions, Sessions]:
    """Vectors, training sessions that hold every item, and histories of one to ten items of a group."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(max(1, n_items // PER_GROUP), DIM)).astype(np.float32)
    group = random.integers(len(centres), size=n_items)
    vectors = centres[group] + random.normal(size=(n_items, DIM), scale=1.0).astype(np.float32)
    order = np.argsort(group, kind="stable").astype(np.int32)
    train = Sessions.from_lengths(order, np.full(n_items // 10, 10), np.arange(n_items // 10))
    lengths = random.integers(1, 11, size=n_histories)
    starts = random.integers(n_items - 10, size=n_histories)
    histories = Sessions.from_lists([order[start : start + n] for start, n in zip(starts, lengths, strict=True)])
    return vectors, train, histories


def train_steps(n_items: int, train: Sessions, context: FitContext) -> None:
    """Two steps of SASRec with the full softmax, batch 128; the memory is beside parameters and optimizer."""
    model = SASRec(SASRecSettings(dim=DIM, last_weight=1, threads=1), n_items)
    model.start(train, context)
    model.network.train()
    optimizer = torch.optim.AdamW(model.network.parameters(), fused=True)
    for parameter in model.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # makes its moments
    optimizer.zero_grad(set_to_none=True)
    windows = Windows(train, model.window(), 2)
    random = np.random.default_rng(0)
    batches = windows.batches(128, random)[:2]

    def steps() -> None:
        for batch in batches:
            made = model.make_batch(*windows.cut(batch), random)
            hidden, items = model.network(made)
            softmax_loss(hidden, items, made.targets, 64, precision("auto", "cpu")).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    watched(f"two training steps, full softmax, {softmax_kernel.about().partition(' ')[0]}", steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--histories", type=int, default=512)
    parser.add_argument("--only-training", action="store_true")
    parser.add_argument("--no-index", action="store_true", help="memory of exact scoring alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    vectors, train, histories = made_up(options.items, options.histories)
    nothing = np.full(options.items, "", dtype=object)
    seen = np.ones(options.items, dtype=bool)
    context = FitContext(
        Catalog(nothing, nothing, nothing, np.ones(options.items, dtype=np.int64), seen),
        ItemEmbeddings(vectors, "made up", "made up", "{title}"),
    )
    print(
        f"{options.items:,} items x {DIM}, vectors {vectors.nbytes / 2**20:,.0f} MB; {len(histories)} histories, "
        f"top {K}"
    )
    train_steps(options.items, train, FitContext(context.catalog))
    if options.only_training:
        return
    exact = LLMSeqSim(LLMSeqSimSettings(), options.items)
    exact.fit(train, context)
    all_of_them, seconds = watched("LLMSeqSim, exact", lambda: exact.recommend(histories, K))
    hidden, output = torch.from_numpy(vectors[histories.items[histories.offsets[1:] - 1]]), torch.from_numpy(vectors)
    watched("neural models: top 20", lambda: rank_sessions(hidden, output, seen, histories, K, exclude_history=True))
    targets = np.zeros(len(histories), dtype=np.int64)
    watched("neural models: ranks of held-out items", lambda: target_ranks(hidden, output, histories, targets))
    if options.no_index:
        return
    approximate = LLMSeqSim(LLMSeqSimSettings(index="hnsw"), options.items)
    figures, _ = watched("index=hnsw: built, and its recall measured", lambda: approximate.fit(train, context))
    print(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    assert approximate.index is not None
    print(f"the index takes {approximate.index.to_array().nbytes / 2**20:,.0f} MB")
    for ef_search in (64, 128, 256, 512):
        searching = LLMSeqSim(LLMSeqSimSettings(index="hnsw", ef_search=ef_search), options.items)
        searching.vectors, searching.candidates, searching.index = exact.vectors, exact.candidates, approximate.index
        found, taken = watched(f"index=hnsw, ef_search {ef_search}", partial(searching.recommend, histories, K))
        print(f"    recall@{K} {recall(found, all_of_them):.4f}, {seconds / taken:,.0f} times as fast as exact")


if __name__ == "__main__":
    main()
