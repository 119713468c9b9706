"""Losses over a catalog: full softmax in chunks of targets, sampled softmax, gBCE.

All take `hidden` (what the network says at the places that count, float32[n, d]), `items` (the output vectors of the
catalog, float32[n_items, d]) and `targets` (int64[n], rows of `items`), and return the mean loss.

The full softmax is computed transposed, a chunk of targets at a time: Z = E·hᵀ of [n_items, chunk] is one buffer that
is exponentiated in place and never normalised; 1/Σ goes to the hidden vectors instead. Both gradients are products with
that same buffer, so they are computed in the forward pass and the logits of the whole batch never stand in memory. In
bfloat16 only the products and the exponentials are: sums over targets and the target's own term stay in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_SAFE_LOGIT = 40.0  # exp(±40), and sums of millions of them, are far from the ends of float32's and bfloat16's range


def softmax_loss(
    hidden: Tensor, items: Tensor, targets: Tensor, chunk: int = 128, precision: torch.dtype = torch.float32
) -> Tensor:
    """Mean of −log softmax(items·h)[target], exact in float32; `chunk`: targets whose logits stand in memory."""
    loss: Tensor = _ChunkedSoftmax.apply(hidden, items, targets, chunk, precision)  # type: ignore[no-untyped-call]  # torch gives `apply` no types
    return loss


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, items: Tensor, targets: Tensor, chunk: int, precision: torch.dtype) -> Tensor:
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
                total += largest.sum(dtype=torch.float32)
            sums = torch.mm(ones, z.exp_()).float()[0]
            total += sums.log().sum()
            torch.div(torch.mm(z.T, matrix), sums[:, None], out=grad_hidden[start : start + chunk])
            grad_items += torch.mm(z, (hidden[start : start + chunk] / sums[:, None]).to(precision))
        own = items[targets]
        total -= (hidden * own).sum()
        grad_hidden -= own
        grad_items.index_add_(0, targets, hidden, alpha=-1)
        ctx.save_for_backward(grad_hidden, grad_items)
        ctx.n = n
        return total / n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad_hidden, grad_items = ctx.saved_tensors
        scale = grads[0] / ctx.n
        return grad_hidden * scale, grad_items * scale, None, None, None


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
