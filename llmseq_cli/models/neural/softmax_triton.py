"""The full softmax loss on GPUs, fused: logits live in registers, a tile at a time, and never reach the memory.

    L = Σ_i w_i (log Σ_v exp(h_i·e_v) − h_i·e_target(i))

The forward pass keeps log Σ alone, one number a target. The backward pass computes the tiles again, p = exp(h·e −
log Σ), and multiplies them at once: ∂L/∂h_i = w_i (Σ_v p_iv e_v − e_target(i)), ∂L/∂e_v = Σ_i w_i p_iv h_i −
Σ_{target(i) = v} w_i h_i. This is the cut cross-entropy of Wijmans et al., "Cut your losses in large-vocabulary
language models" (ICLR 2025), without its filter of small p, so that it is exact. No sum is taken in an order that may
change.

Only imported where Triton is installed. With TRITON_INTERPRET=1 set before, the kernels run on the CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

_TILES = {torch.bfloat16: (64, 128), torch.float32: (32, 64)}
"""Targets, and as many items, of a tile of logits; the longest vectors that are read at once, others come _LONG numbers
at a time. Larger ones do not fit the registers of an A100 or H100, by what Triton's compiler says."""

_LONG = 64
_LEAST_DIM = 16  # what a product takes
_MOST_SHARES = 32
_TOLERANCE = 0.02  # of bfloat16; float32 errs less by far


def fused_softmax_loss(
    hidden: Tensor, items: Tensor, targets: Tensor, weights: Tensor, precision: torch.dtype, shares: int | None = None
) -> Tensor:
    """The sum of −log softmax(items·h)[target] with these weights; see `losses.softmax_loss`.

    shares: of the catalog, each of which is summed by itself and then added; None: as many as the card is kept busy by.
    """
    shares = shares or _shares(hidden, items, precision)
    loss: Tensor = _FusedSoftmax.apply(hidden, items, targets, weights, precision, shares)  # type: ignore[no-untyped-call]  # torch gives `apply` no types
    return loss


@functools.cache
def works(device: torch.device, dim: int, precision: torch.dtype) -> bool:
    """Whether the kernels compile on this device and say what plain torch says: tried once, on a small case."""
    numbers = torch.Generator().manual_seed(0)
    h, e = (torch.randn(rows, dim, generator=numbers).div_(dim**0.25).to(device) for rows in (70, 150))
    targets = torch.randint(len(e), (len(h),), generator=numbers).to(device)
    weights = torch.full((len(h),), 1 / len(h), device=device)
    found = []
    ways: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda h, e: fused_softmax_loss(h, e, targets, weights, precision, shares=2),
        lambda h, e: functional.cross_entropy(h @ e.T, targets),
    ]
    for loss in ways:
        leaves = [each.clone().requires_grad_() for each in (h, e)]
        try:
            with torch.enable_grad():
                value = loss(*leaves)
            value.backward()
        except Exception:  # compilers fail in a hundred ways
            return False
        found.append([value.detach(), *(each.grad for each in leaves)])
    return all(bool((ours - plain).norm() <= _TOLERANCE * plain.norm()) for ours, plain in zip(*found, strict=True))


def _shares(hidden: Tensor, items: Tensor, precision: torch.dtype) -> int:
    """So many that there are four programs for every multiprocessor."""
    if not hidden.is_cuda:
        return 1
    tile, _ = _TILES[precision]
    wanted = 4 * torch.cuda.get_device_properties(hidden.device).multi_processor_count
    return max(1, min(_MOST_SHARES, wanted // -(-len(hidden) // tile), -(-len(items) // tile)))


class _FusedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        weights: Tensor,
        precision: torch.dtype,
        shares: int,
    ) -> Tensor:
        h, e = hidden.to(precision).contiguous(), items.to(precision).contiguous()
        n, n_items, blocks = len(h), len(e), _blocks(h.shape[1], precision)
        per_share = triton.cdiv(triton.cdiv(n_items, blocks["ITEMS"]), shares) * blocks["ITEMS"]
        shares = triton.cdiv(n_items, per_share)  # none is empty
        parts = torch.empty(shares, n, dtype=torch.float32, device=h.device)
        with _on(h.device):
            _log_sums[(triton.cdiv(n, blocks["TARGETS"]), shares)](h, e, parts, n, n_items, per_share, **blocks)
        log_sums = parts.logsumexp(dim=0)
        ctx.save_for_backward(hidden, items, targets, weights, log_sums)
        ctx.precision, ctx.shares, ctx.per_share = precision, shares, per_share
        return torch.dot(weights, log_sums - (hidden * items[targets]).sum(dim=1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        hidden, items, targets, weights, log_sums = ctx.saved_tensors
        weights = weights * grads[0]
        h, e = hidden.to(ctx.precision).contiguous(), items.to(ctx.precision).contiguous()
        (n, dim), n_items, blocks = h.shape, len(e), _blocks(h.shape[1], ctx.precision)
        chunks = triton.cdiv(dim, blocks["DIM"])
        grad_hidden = grad_items = None
        with _on(h.device):
            if ctx.needs_input_grad[0]:
                parts = torch.empty(ctx.shares, n, dim, dtype=torch.float32, device=h.device)
                _grad_hidden[(triton.cdiv(n, blocks["TARGETS"]), ctx.shares, chunks)](
                    h, e, log_sums, parts, n, n_items, ctx.per_share, **blocks
                )
                grad_hidden = (parts.sum(dim=0) - items[targets]) * weights[:, None]
            if ctx.needs_input_grad[1]:
                grad_items = torch.empty(n_items, dim, dtype=torch.float32, device=h.device)
                _grad_items[(triton.cdiv(n_items, blocks["ITEMS"]), chunks)](
                    h, e, weights, log_sums, grad_items, n, n_items, **blocks
                )
                grad_items.index_add_(0, targets, hidden * weights[:, None], alpha=-1)
        return grad_hidden, grad_items, None, None, None, None


def _blocks(dim: int, precision: torch.dtype) -> dict[str, Any]:
    tile, most = _TILES[precision]
    return {
        "dim": dim,
        "TARGETS": tile,
        "ITEMS": tile,
        "DIM": max(_LEAST_DIM, triton.next_power_of_2(dim)) if dim <= most else _LONG,
        # Triton's interpreter takes bfloat16 for integers in products: there it is widened, which loses nothing.
        "WIDE": not isinstance(_part, triton.runtime.JITFunction),
        "num_warps": 4,
        "num_stages": 2,
    }


def _on(device: torch.device) -> Any:
    """Kernels start on torch's current device."""
    return torch.cuda.device(device if device.type == "cuda" else -1)


# In the kernels: h [n, dim] and e [n_items, dim] lie row by row; rows and columns beyond the end count for nothing.
# A vector is read DIM numbers at a time; what is read of one side stays for all tiles where that is the whole vector.


@triton.jit
def _part(x, rows, columns, n_rows, dim: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """x[rows, columns], 0 beyond its ends."""
    inside = (rows[:, None] < n_rows) & (columns[None, :] < dim)
    part = tl.load(x + rows[:, None].to(tl.int64) * dim + columns[None, :], mask=inside, other=0.0)
    return part.to(tl.float32) if WIDE else part


@triton.jit
def _logits(h, e, h_part, e_part, rows, items, n, n_items, dim: tl.constexpr, DIM: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """h[rows]·e[items]ᵀ, float32[TARGETS, ITEMS], −∞ for items beyond the end. h_part, e_part: their first columns."""
    z = tl.dot(h_part, tl.trans(e_part), input_precision="ieee")
    for start in range(DIM, dim, DIM):
        columns = start + tl.arange(0, DIM)
        of_items = tl.trans(_part(e, items, columns, n_items, dim, WIDE))
        z = tl.dot(_part(h, rows, columns, n, dim, WIDE), of_items, z, input_precision="ieee")
    return tl.where(items[None, :] < n_items, z, float("-inf"))


@triton.jit
def _log_sums(  # type: ignore[no-untyped-def]
    h,
    e,
    out,
    n,
    n_items,
    per_share,
    dim: tl.constexpr,
    TARGETS: tl.constexpr,
    ITEMS: tl.constexpr,
    DIM: tl.constexpr,
    WIDE: tl.constexpr,
):
    """out[share, i] = log Σ exp(h_i·e_v) over the items v of a share."""
    share, columns = tl.program_id(1), tl.arange(0, DIM)
    rows = tl.program_id(0) * TARGETS + tl.arange(0, TARGETS)
    h_part = _part(h, rows, columns, n, dim, WIDE)
    largest = tl.full((TARGETS,), float("-inf"), dtype=tl.float32)
    sums = tl.zeros((TARGETS,), dtype=tl.float32)
    for start in range(share * per_share, min((share + 1) * per_share, n_items), ITEMS):
        items = start + tl.arange(0, ITEMS)
        e_part = _part(e, items, columns, n_items, dim, WIDE)
        z = _logits(h, e, h_part, e_part, rows, items, n, n_items, dim, DIM, WIDE)
        larger = tl.maximum(largest, tl.max(z, axis=1))
        sums = sums * tl.exp(largest - larger) + tl.sum(tl.exp(z - larger[:, None]), axis=1)
        largest = larger
    tl.store(out + share.to(tl.int64) * n + rows, largest + tl.log(sums), mask=rows < n)


@triton.jit
def _grad_hidden(  # type: ignore[no-untyped-def]
    h,
    e,
    log_sums,
    out,
    n,
    n_items,
    per_share,
    dim: tl.constexpr,
    TARGETS: tl.constexpr,
    ITEMS: tl.constexpr,
    DIM: tl.constexpr,
    WIDE: tl.constexpr,
):
    """out[share, i] = Σ p_iv e_v over the items v of a share, DIM columns a program."""
    share, columns = tl.program_id(1), tl.arange(0, DIM)
    rows = tl.program_id(0) * TARGETS + tl.arange(0, TARGETS)
    own = tl.program_id(2) * DIM + columns
    h_part = _part(h, rows, columns, n, dim, WIDE)
    log_sum = tl.load(log_sums + rows, mask=rows < n, other=0.0)
    total = tl.zeros((TARGETS, DIM), dtype=tl.float32)
    for start in range(share * per_share, min((share + 1) * per_share, n_items), ITEMS):
        items = start + tl.arange(0, ITEMS)
        e_part = _part(e, items, columns, n_items, dim, WIDE)
        p = tl.exp(_logits(h, e, h_part, e_part, rows, items, n, n_items, dim, DIM, WIDE) - log_sum[:, None])
        if dim > DIM:
            e_part = _part(e, items, own, n_items, dim, WIDE)
        total = tl.dot(p.to(h.dtype.element_ty).to(e_part.dtype), e_part, total, input_precision="ieee")
    places = (share.to(tl.int64) * n + rows[:, None]) * dim + own[None, :]
    tl.store(out + places, total, mask=(rows[:, None] < n) & (own[None, :] < dim))


@triton.jit
def _grad_items(  # type: ignore[no-untyped-def]
    h,
    e,
    weights,
    log_sums,
    out,
    n,
    n_items,
    dim: tl.constexpr,
    TARGETS: tl.constexpr,
    ITEMS: tl.constexpr,
    DIM: tl.constexpr,
    WIDE: tl.constexpr,
):
    """out[v] = Σ_i w_i p_iv h_i, DIM columns a program."""
    columns = tl.arange(0, DIM)
    items = tl.program_id(0) * ITEMS + tl.arange(0, ITEMS)
    own = tl.program_id(1) * DIM + columns
    e_part = _part(e, items, columns, n_items, dim, WIDE)
    total = tl.zeros((ITEMS, DIM), dtype=tl.float32)
    for start in range(0, n, TARGETS):
        rows = start + tl.arange(0, TARGETS)
        h_part = _part(h, rows, columns, n, dim, WIDE)
        # Targets beyond the end: exp(0 − ∞) = 0.
        log_sum = tl.load(log_sums + rows, mask=rows < n, other=float("inf"))
        p = tl.exp(_logits(h, e, h_part, e_part, rows, items, n, n_items, dim, DIM, WIDE) - log_sum[:, None])
        p *= tl.load(weights + rows, mask=rows < n, other=0.0)[:, None]
        if dim > DIM:
            h_part = _part(h, rows, own, n, dim, WIDE)
        total = tl.dot(tl.trans(p).to(h.dtype.element_ty).to(h_part.dtype), h_part, total, input_precision="ieee")
    places = items[:, None].to(tl.int64) * dim + own[None, :]
    tl.store(out + places, total, mask=(items[:, None] < n_items) & (own[None, :] < dim))
