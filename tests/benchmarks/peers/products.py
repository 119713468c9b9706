"""The limit of what trains with a full softmax: the three products of its head alone, with torch, on one thread.

Positions a second at which logits, and the gradients of the hidden vectors and of the items, could be computed if
nothing else were: in bfloat16 where the processor has it, and float32 otherwise.
"""

from __future__ import annotations

import json
import time

import torch
from common import DIM, arguments, load

from llmseq_cli.models.neural.torch_state import precision

CHUNK = 128
options, data = arguments(), load(arguments().data)
dtype = precision("auto", "cpu")
items, hidden = torch.randn(data.n_items, DIM, dtype=dtype), torch.randn(CHUNK, DIM, dtype=dtype)
z, by_hidden = torch.empty(data.n_items, CHUNK, dtype=dtype), torch.empty(CHUNK, DIM, dtype=dtype)
by_items = torch.empty(data.n_items, DIM, dtype=dtype)


def products() -> None:
    torch.mm(items, hidden.T, out=z)
    torch.mm(z.T, items, out=by_hidden)
    torch.mm(z, hidden, out=by_items)


products()
clock, cpu_clock, steps = time.perf_counter(), time.process_time(), 0
while time.process_time() - cpu_clock < 3:
    products()
    steps += 1
rate = steps * CHUNK
figures = {
    "positions_per_second": rate / (time.perf_counter() - clock),
    "positions_per_cpu_second": rate / (time.process_time() - cpu_clock),
}
print("FIGURES " + json.dumps(figures))
