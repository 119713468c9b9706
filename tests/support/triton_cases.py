"""The fused softmax on the CPU, by Triton's interpreter, which must be asked for before Triton is imported.

    TRITON_INTERPRET=1 python triton_cases.py '[[n, n_items, dim, scale, "bfloat16", shares], …]'

prints for every case the loss and its two gradients, how far they are from float64's, as shares of its largest numbers.
"""

from __future__ import annotations

import json
import sys

import torch
from torch.nn import functional

from llmseq_cli.models.neural.softmax_triton import fused_softmax_loss, works


def errors(n: int, n_items: int, dim: int, scale: float, precision: str, shares: int | None) -> list[float]:
    numbers = torch.Generator().manual_seed(n * n_items + dim)
    hidden, items = (torch.randn(rows, dim, generator=numbers) / dim**0.25 for rows in (n, n_items))
    hidden *= scale
    targets = torch.randint(n_items, (n,), generator=numbers)
    weights = torch.rand(n, generator=numbers)
    ours = [each.clone().requires_grad_() for each in (hidden, items)]
    exact = [each.double().requires_grad_() for each in (hidden, items)]
    loss = fused_softmax_loss(*ours, targets, weights, getattr(torch, precision), shares)
    own = functional.cross_entropy(exact[0] @ exact[1].T, targets, reduction="none") @ weights.double()
    (3 * loss).backward()
    (3 * own).backward()
    pairs = [(loss, own), *((a.grad, b.grad) for a, b in zip(ours, exact, strict=True))]
    return [float((a.double() - b).abs().max() / b.abs().max()) for a, b in pairs]


if __name__ == "__main__":
    found = [errors(*case) for case in json.loads(sys.argv[1])]
    trusted = [works(torch.device("cpu"), 24, precision) for precision in (torch.float32, torch.bfloat16)]
    print(json.dumps({"errors": found, "works": trusted}))
