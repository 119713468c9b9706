"""How torch computes while a network is trained or recommends: seed, threads, order of sums, number format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from llmseq_cli.devices import has_native_bfloat16


@contextmanager
def torch_state(threads: int | None, seed: int | None, device: str) -> Iterator[None]:
    """Seeds torch, sets its threads, and on CUDA has sums added in one order; what was before comes back afterwards.

    seed: None where nothing is drawn, as in recommending. (Every seeding leaves a note for a GPU that may yet be used.)
    """
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may add in any order
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
    """The number format of products with the catalog; wanted: as the setting `precision` has it."""
    if wanted == "auto":
        return torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32
