"""Dropout with cheap random bits on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """While training, set every number to 0 with probability `share`, and otherwise divide it by 1 − share.

    On a CPU a share is rounded to a multiple of 1/65,536 and decided by 16 bits: drawing a Bernoulli variable for every
    number would take longer than the products of a small network.
    """
    if not training or share == 0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, share, training)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= round(share * 65536) - 32768
    return x * kept.to(x.dtype).mul_(1 / (1 - share))
