"""Several processes that train one network together, data-parallel.

Every rank has the whole network, draws the same batches, masks and negatives from the same seeds, and computes its
share of every batch (see `Batch.share`). The gradient of the mean loss over the m targets of a batch is the sum over
ranks of (m_r / m) ∇L_r, with L_r the mean over the m_r targets of a rank. These contributions are summed before
clipping and the optimizer's step, which are the same on all ranks. So the result equals that of one process, except for
the order of additions and for dropout, which every rank draws for its own share.
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
    """The processes that train a network, and the number of this one. This base class is a single process."""

    rank = 0
    size = 1

    def checkpoints(self, folder: Path) -> Checkpoints:
        """Where training state is stored; rank 0 writes, all read."""
        return Checkpoints(folder)

    def share(self, batch: Batch) -> Any:
        """This rank's share of a batch, in the batch's class."""
        return batch

    def add_up(self, loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
        """The loss over all ranks; afterwards every rank has the sum of the gradients."""
        return loss

    def gather(self, rows: Tensor, n: int) -> Tensor:
        """Combine the rows of the ranks' shares to those of all n sessions of a batch, [n, …]; gradients flow back."""
        return rows

    def from_first(self, compute: Callable[[], float]) -> float:
        """The value computed by rank 0."""
        return compute()

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Copy rank 0's tensors to all ranks, since processors may round differently."""


ALONE = Ranks()


class ProcessGroup(Ranks):
    """The processes of torch's existing process group: gloo, or nccl for CUDA.

    device: of the network. make_checkpoints: creates them from a folder, if this process cannot access the folder.
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
        dist.all_reduce(flat)  # one message per step is cheaper than many small ones
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
