"""Several processes that train one network together, data-parallel.

Every rank holds the whole network, draws the same batches, masks and negatives from the same seeds, and computes its
share of every batch (see `Batch.share`). The gradient of the mean loss over the m targets of a batch is the sum over
ranks of (m_r / m) ∇L_r, with L_r the mean over the m_r targets of a rank. What ranks compute is added up before
clipping and the optimizer's step, which all make alike. So the outcome is that of one process but for the order in
which numbers are added, and for what dropout drops, which every rank draws for its own share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from llmseq_cli.models.neural.batches import Batch
from llmseq_cli.models.neural.checkpoints import Checkpoints


class Ranks:
    """The processes that train a network, and which of them this one is: by itself, the only one."""

    rank = 0
    size = 1

    def checkpoints(self, folder: Path) -> Checkpoints:
        """Where the state of the training is kept; rank 0 writes, all read."""
        return Checkpoints(folder)

    def share(self, batch: Batch) -> Any:
        """What this rank computes of a batch, itself of the batch's class."""
        return batch

    def add_up(self, loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
        """The loss of all ranks, whose gradients become the sum over the ranks on all of them."""
        return loss

    def gather(self, rows: Tensor, n: int) -> Tensor:
        """The rows of all n sessions of a batch, [n, …], of those of the ranks' shares; gradients flow back."""
        return rows

    def from_first(self, compute: Callable[[], float]) -> float:
        """What rank 0 computes."""
        return compute()

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """All ranks get the tensors of rank 0, whose processor may round in its own way."""


ALONE = Ranks()


class ProcessGroup(Ranks):
    """The processes of torch's process group, which is there already: of gloo, or of nccl for CUDA.

    device: where the network lies. make_checkpoints: from a folder, where it is not one that this process sees.
    """

    def __init__(self, device: str = "cpu", make_checkpoints: Callable[[Path], Checkpoints] = Checkpoints) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device = device
        self._make_checkpoints = make_checkpoints

    def checkpoints(self, folder: Path) -> Checkpoints:
        return self._make_checkpoints(folder)

    def share(self, batch: Batch) -> Any:
        return batch.share(self.rank, self.size)

    def add_up(self, loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([loss.detach().view(1), *[gradient.reshape(-1) for gradient in gradients]])
        dist.all_reduce(flat)  # one message a step: many small ones would cost more than what they carry
        parts = flat.split([1, *[gradient.numel() for gradient in gradients]])
        for gradient, part in zip(gradients, parts[1:], strict=True):
            gradient.copy_(part.view_as(gradient))
        total: Tensor = parts[0][0]
        return total

    def gather(self, rows: Tensor, n: int) -> Tensor:
        gathered: Tensor = _Gather.apply(rows, n, self)  # type: ignore[no-untyped-call]  # torch gives `apply` no types
        return gathered

    def from_first(self, compute: Callable[[], float]) -> float:
        value = torch.zeros(1, dtype=torch.float64, device=self.device)
        if self.rank == 0:
            value.fill_(compute())
        dist.broadcast(value, 0)
        return float(value)

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


class _Gather(torch.autograd.Function):
    """Rows of every rank in the order of the batch: row i of rank r is session i · size + r, see `Batch.share`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, n: int, ranks: Ranks) -> Tensor:
        ctx.ranks, ctx.shape = ranks, rows.shape
        own = rows.new_zeros(-(-n // ranks.size), *rows.shape[1:])
        own[: len(rows)] = rows
        every = [torch.empty_like(own) for _ in range(ranks.size)]
        dist.all_gather(every, own)
        return torch.stack(every, dim=1).flatten(0, 1)[:n]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        own = total.new_zeros(ctx.shape)
        mine = total[ctx.ranks.rank :: ctx.ranks.size]
        own[: len(mine)] = mine
        return own, None, None
