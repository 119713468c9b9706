"""Losses over a catalog: full softmax, sampled softmax, gBCE.

All take `hidden` (what the network says at the places that count, float32[n, d]), `items` (the output vectors of the
catalog, float32[n_items, d]) and `targets` (int64[n], rows of `items`), and return the mean loss.

The full softmax computes both gradients in the forward pass, and the logits of the whole batch never stand in memory.
There are three ways, equal up to rounding:
- on a CPU with a C compiler: softmax_kernel.py; on CUDA with Triton: softmax_triton.py;
- else transposed, a chunk of targets at a time: Z = E·hᵀ of [n_items, chunk] is one buffer that is exponentiated in
  place and never normalised; 1/Σ goes to the hidden vectors instead, and both gradients are products with the buffer;
- where the catalog is so large that this buffer would be: blocks of items, twice, first for the sums, then for the
  gradients.
In bfloat16 only the products and the exponentials are: sums over targets and the target's own term stay in float32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from llmseq_cli.models.neural import softmax_kernel

_SAFE_LOGIT = 40.0  # exp(±40), and sums of millions of them, are far from the ends of float32's and bfloat16's range
LARGE_CATALOG = 2**18  # items: beyond, blocks of items
_BLOCK = 2**23  # logits of a block of items: 32 MiB

Parts = tuple[Tensor, Tensor, Tensor]
"""The loss, its gradient by `hidden`, its gradient by `items`."""


def softmax_loss(
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    chunk: int = 128,
    precision: torch.dtype = torch.float32,
    counts: Tensor | None = None,
) -> Tensor:
    """Mean of −log softmax(items·h)[target], exact in float32.

    chunk: targets whose logits stand in memory. counts: int64[n], how often every target counts; None: once.
    """
    n = len(hidden)
    weights = hidden.new_full((n,), 1 / max(1, n)) if counts is None else (counts / counts.sum()).to(hidden.dtype)
    loss: Tensor
    if hidden.is_cuda and (kernel := fused()) and kernel.works(hidden.device, hidden.shape[1], precision):
        loss = kernel.fused_softmax_loss(hidden, items, targets, weights, precision)
        return loss
    loss = _FullSoftmax.apply(hidden, items, targets, weights, chunk, precision)  # type: ignore[no-untyped-call]  # torch gives `apply` no types
    return loss


@functools.cache
def fused() -> Any:
    """The kernel for GPUs if Triton is installed, else None."""
    try:
        from llmseq_cli.models.neural import softmax_triton
    except ImportError:
        return None
    return softmax_triton


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        weights: Tensor,
        chunk: int,
        precision: torch.dtype,
    ) -> Tensor:
        kernel = softmax_kernel.kernel(precision) if _fits_kernel(hidden, items, targets) else None
        if kernel is not None:
            loss, *grads = kernel.softmax(
                hidden.contiguous(),
                items.contiguous(),
                targets.contiguous(),
                weights.contiguous(),
                low=precision == torch.bfloat16,
                threads=torch.get_num_threads(),
            )
            ctx.gradients = grads
            return hidden.new_tensor(loss)
        compute = _by_items if len(items) > LARGE_CATALOG else _by_targets
        loss_of_all, *grads = compute(hidden, items, targets, weights, chunk, precision)
        ctx.gradients = grads
        return loss_of_all

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        # Let go of, so that torch adds to them in place: each is as large as the catalog.
        (grad_hidden, grad_items), ctx.gradients = ctx.gradients, None
        scale = grads[0]
        if scale.device.type == "cpu" and scale == 1:
            return grad_hidden, grad_items, None, None, None, None
        return grad_hidden.mul_(scale), grad_items.mul_(scale), None, None, None, None


def _fits_kernel(hidden: Tensor, items: Tensor, targets: Tensor) -> bool:
    n, dim = hidden.shape
    return (
        n > 0
        and dim == items.shape[1]
        and targets.shape == (n,)
        and all(tensor.device.type == "cpu" for tensor in (hidden, items, targets))
        and hidden.dtype == items.dtype == torch.float32
        and targets.dtype == torch.int64
    )


def _by_targets(
    hidden: Tensor, items: Tensor, targets: Tensor, weights: Tensor, chunk: int, precision: torch.dtype
) -> Parts:
    n, n_items = len(hidden), len(items)
    matrix, low = items.to(precision), hidden.to(precision)
    ones = matrix.new_ones(1, n_items)
    buffer = matrix.new_empty(n_items * min(chunk, n))
    # ‖h‖·‖e‖ bounds every logit: only where it is large is the largest logit looked for and taken off.
    shifted = not bool(hidden.norm(dim=1).max() * items.norm(dim=1).max() < _SAFE_LOGIT)
    grad_hidden, grad_items = torch.empty_like(hidden), torch.zeros_like(items)
    total = hidden.new_zeros(())
    for start in range(0, n, chunk):
        h = low[start : start + chunk]
        z = torch.mm(matrix, h.T, out=buffer[: n_items * len(h)].view(n_items, len(h)))
        if shifted:
            largest = z.amax(dim=0)
            z.sub_(largest)
            total += largest.float() @ weights[start : start + chunk]
        sums = torch.mm(ones, z.exp_()).float()[0]
        shares = weights[start : start + chunk]
        total += sums.log() @ shares
        shares = (shares / sums)[:, None]
        torch.mul(torch.mm(z.T, matrix), shares, out=grad_hidden[start : start + chunk])
        grad_items += torch.mm(z, (hidden[start : start + chunk] * shares).to(precision))
    return _without_targets(total, grad_hidden, grad_items, hidden, items, targets, weights)


def _by_items(
    hidden: Tensor, items: Tensor, targets: Tensor, weights: Tensor, chunk: int, precision: torch.dtype
) -> Parts:
    """Memory for _BLOCK logits, whatever the number of items and targets. `chunk` has no meaning here."""
    low = hidden.to(precision)
    size = max(256, _BLOCK // len(hidden))
    blocks = [slice(start, start + size) for start in range(0, len(items), size)]
    largest, sums = hidden.new_full((len(hidden),), -torch.inf), hidden.new_zeros(len(hidden))
    for block in blocks:
        z = (items[block].to(precision) @ low.T).float()
        higher = torch.maximum(largest, z.amax(dim=0))
        sums = sums * (largest - higher).exp_() + z.sub_(higher).exp_().sum(dim=0)
        largest = higher
    log_sums = largest + sums.log_()
    grad_hidden, grad_items = torch.zeros_like(hidden), torch.empty_like(items)
    weighted = (hidden * weights[:, None]).to(precision)
    for block in blocks:
        rows = items[block].to(precision)
        shares = (rows @ low.T).float().sub_(log_sums).exp_().to(precision)
        grad_hidden += shares.T @ rows
        grad_items[block] = shares @ weighted
    grad_hidden *= weights[:, None]
    return _without_targets(log_sums @ weights, grad_hidden, grad_items, hidden, items, targets, weights)


def _without_targets(
    total: Tensor,
    grad_hidden: Tensor,
    grad_items: Tensor,
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    weights: Tensor,
) -> Parts:
    """From Σ w log Σ exp and its gradients to the loss and its gradients; all change in place."""
    own = items[targets] * weights[:, None]
    grad_hidden -= own
    grad_items.index_add_(0, targets, hidden * weights[:, None], alpha=-1)
    return total.sub_((hidden * own).sum()), grad_hidden, grad_items


def sampled_softmax_loss(
    hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor, log_expected: Tensor | None = None
) -> Tensor:
    """−log of the target's share of exp(z_t) + Σ_j exp(z_j) / E[times that j is drawn].

    negatives: int64[m], rows drawn with replacement, shared by all targets; or int64[g, m], each row of them shared by
    the next ⌈n / g⌉ targets. log_expected: float32[m], log(m·q_j); None
    leaves the weights out: the target against m items, not against all.
    The sum estimates the softmax's denominator without bias (Bengio & Senécal, "Adaptive importance sampling to
    accelerate training of a neural probabilistic language model", 2008); a negative that is the target does not count.
    """
    positive = (hidden * functional.embedding(targets, items)).sum(dim=1, keepdim=True)
    z, same = _against(hidden, items, targets, negatives)
    if log_expected is not None:
        z = z - _for_targets(log_expected, len(hidden))
    z = z.masked_fill(same, float("-inf"))
    return (torch.logsumexp(torch.cat([positive, z], dim=1), dim=1) - positive[:, 0]).mean()


def gbce_loss(hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor, t: float = 0.75) -> Tensor:
    """−β log σ(z_t) − Σ_j log σ(−z_j), with β from the calibration t and the share α of the catalog that is drawn:

        β = α (t (1 − 1/α) + 1/α)

    Petrov & Macdonald, "gSASRec: Reducing overconfidence in sequential recommendation trained with negative sampling"
    (RecSys 2023). negatives: as in `sampled_softmax_loss`, drawn uniformly.
    """
    share = min(1.0, negatives.shape[-1] / max(1, len(items) - 1))
    beta = share * (t * (1 - 1 / share) + 1 / share)
    positive = (hidden * functional.embedding(targets, items)).sum(dim=1)
    z, same = _against(hidden, items, targets, negatives)
    return (-beta * functional.logsigmoid(positive) - (functional.logsigmoid(-z) * ~same).sum(dim=1)).mean()


def _against(hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(the products of every target with its negatives, float32[n, m], and where a negative is the target)."""
    if negatives.ndim == 1:
        return hidden @ functional.embedding(negatives, items).T, negatives == targets[:, None]
    (n, dim), g = hidden.shape, len(negatives)
    grouped = functional.pad(hidden, (0, 0, 0, -n % g)).view(g, -1, dim)
    z = (grouped @ functional.embedding(negatives, items).mT).flatten(0, 1)[:n]
    return z, _for_targets(negatives, n) == targets[:, None]


def _for_targets(of_groups: Tensor, n: int) -> Tensor:
    """[n, m], for every target what its group has. of_groups: [g, m], or [m] of all."""
    return of_groups if of_groups.ndim == 1 else of_groups.repeat_interleave(-(-n // len(of_groups)), dim=0)[:n]
