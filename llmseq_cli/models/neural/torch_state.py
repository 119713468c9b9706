"""Torch's state while a network trains or recommends: seed, threads, order of sums, precision."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from llmseq_cli.devices import has_native_bfloat16


@contextmanager
def torch_state(threads: int | None, seed: int | None, device: str) -> Iterator[None]:
    """Seed torch, set its threads, and make sums on CUDA deterministic; restore the previous state afterwards.

    seed: None if nothing is random, as in recommending. (Seeding queues work for a GPU that may be initialised later.)
    """
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS may add in any order
        torch.use_deterministic_algorithms(True, warn_only=True)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        if threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(deterministic)


def precision(wanted: str, device: str) -> torch.dtype:
    """The precision of products with the catalog; wanted: value of the setting `precision`."""
    if wanted == "auto":
        return torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32
