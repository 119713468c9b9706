"""Estimate the memory of training before it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from llmseq_cli.errors import LlmseqError
from llmseq_cli.models.neural.losses import LARGE_CATALOG

_CHUNK_BYTES = 2**28  # the buffer of logits: at most 256 MiB
_MOST_TARGETS = {"cpu": 128, "mps": 1024, "cuda": 8192}  # buffers larger than the caches slow down a CPU
_LEAST_TARGETS = 8
_BLOCK_BYTES = 2**27  # what blocks of items take, where a catalog is large


@dataclass(frozen=True)
class Forecast:
    """chunk: targets whose logits are in memory at once. bytes: parameters, gradients, optimizer, buffers."""

    chunk: int
    bytes: int


def forecast(n_rows: int, dim: int, parameters: int, slots: int, loss: str, negatives: int, device: str) -> Forecast:
    """Estimate the memory of training. parameters: trained numbers; slots: positions of a batch, including padding.

    Raises LlmseqError if the device does not have that much.
    """
    most = _MOST_TARGETS.get(device, 128)
    chunk = max(_LEAST_TARGETS, min(most, _CHUNK_BYTES // (4 * n_rows))) if loss == "softmax" else 0
    logits = 4 * (n_rows * min(chunk, slots) if loss == "softmax" else 3 * slots * negatives)
    if loss == "softmax" and n_rows > LARGE_CATALOG:
        logits = _BLOCK_BYTES
    # Parameters with gradients, two moments and the best weights; temporary gradients of the catalog; activations.
    needed = 20 * parameters + 12 * n_rows * dim + logits + 40 * 4 * slots * dim
    free = _free(device)
    if free is not None and needed > free:
        raise LlmseqError(
            f"training needs about {needed / 2**30:.1f} GiB and {device} has {free / 2**30:.1f} GiB free",
            "use a smaller --set dim or batch_size" + (", or --set loss=sampled" if loss == "softmax" else ""),
        )
    return Forecast(chunk, needed)


def _free(device: str) -> int | None:
    """Available bytes, None if unknown."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            facts = dict(line.split(":", 1) for line in file)
        return int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
