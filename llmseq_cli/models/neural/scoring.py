"""Make lists from session vectors and item vectors, with numpy on the CPU or on another device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.small_blocks import SmallBlocks, some_rows
from llmseq_cli.evaluation.top_k import block_size, rank_in_blocks

_NOISE_BITS = 6  # as in `without_noise`
_BLOCK_NUMBERS = 2**26  # scores in memory at once, if only ranks are needed


def rank_sessions(
    hidden: Tensor,
    output: Tensor,
    candidates: np.ndarray,
    histories: Sessions,
    k: int,
    *,
    exclude_history: bool,
    small_blocks: SmallBlocks | None = None,
) -> Ranking:
    """The k items with the highest products: Ranking of [n_histories, k].

    hidden: float32[n_histories, d]. output: float32[n_items, d], in catalog order. candidates: bool[n_items].
    small_blocks: of this model; None never uses small ones.
    """
    if hidden.device.type != "cpu":
        return _rank_on_device(hidden, output, candidates, histories, k, exclude_history)
    sessions, items = hidden.numpy(), output
    place = 0

    def products(size: int) -> np.ndarray:
        return torch.mm(torch.from_numpy(some_rows(size, sessions.shape[1])), items.T).numpy()

    size = block_size(len(items))
    if small_blocks is not None:
        size = small_blocks.size(len(histories), size, "products", products)
    buffer = torch.empty(size, len(items))

    def score(block: Sessions) -> np.ndarray:
        nonlocal place
        rows = np.zeros((size, sessions.shape[1]), dtype=np.float32)
        part = sessions[place : place + len(block)]
        rows[: len(part)] = part
        place += len(block)
        return torch.mm(torch.from_numpy(rows), items.T, out=buffer).numpy()

    return rank_in_blocks(
        histories, score, k, len(items), exclude_history=exclude_history, candidates=candidates, size=size
    )


def _rank_on_device(
    hidden: Tensor, output: Tensor, candidates: np.ndarray, histories: Sessions, k: int, exclude_history: bool
) -> Ranking:
    """As `rank_sessions`, with products and selection on the device, under the same tie rule.

    A score and the item's id are packed into one integer, so that the largest integers are the best items and, with
    equal scores, the lower ids.
    """
    device, n_items = hidden.device, len(output)
    barred = torch.from_numpy(~candidates).to(device)
    ids = torch.arange(n_items, device=device)
    size = block_size(n_items)
    width = min(k, n_items)
    parts = []
    for start in range(0, len(histories), size):
        block = histories.slice(start, min(start + size, len(histories)))
        rows = hidden.new_zeros(size, hidden.shape[1])
        rows[: len(block)] = hidden[start : start + len(block)]
        scores = rows @ output.T
        bits = scores.view(torch.int32)
        bits += 1 << (_NOISE_BITS - 1)
        bits &= -1 << _NOISE_BITS
        scores[:, barred] = float("-inf")
        if exclude_history:
            places = (block.rows() * n_items + block.items).astype(np.int64)
            scores.view(-1)[torch.from_numpy(places).to(device)] = float("-inf")
        scores = torch.nan_to_num(scores + 0.0, nan=float("-inf"), posinf=float("inf"), neginf=float("-inf"))
        bits = scores.view(torch.int32).long()
        rising = torch.where(bits < 0, -2147483648 - bits - 1, bits)
        best = torch.topk(rising * 2**31 - ids, width, dim=1).indices[: len(block)]
        values = torch.gather(scores, 1, best).cpu().numpy()
        found = np.where(np.isneginf(values), NO_ITEM, best.cpu().numpy()).astype(np.int32)
        parts.append(Ranking(found, values))
    ranking = Ranking.concatenate(parts)
    if width == k:
        return ranking
    from llmseq_cli.evaluation.top_k import filled_up

    return filled_up(ranking, k)


def target_ranks(
    hidden: Tensor, output: Tensor, histories: Sessions, targets: np.ndarray, *, exclude_history: bool = True
) -> np.ndarray:
    """1-based rank of every history's target among all items, int64[n_histories]; with exclude_history, items of the
    history do not count, and the rank is 0 if the target is one of them. Half of the items with the target's score
    count as before it.

    hidden: float32[n_histories, d]. output: float32[n_items, d]. targets: int[n_histories].
    """
    n_items, device = len(output), hidden.device
    size = max(1, _BLOCK_NUMBERS // n_items)
    parts = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(histories), size):
        block = histories.slice(start, min(start + size, len(histories)))
        scores = hidden[start : start + len(block)] @ output.T
        if exclude_history:
            places = block.rows() * n_items + block.items
            scores.view(-1)[torch.from_numpy(places.astype(np.int64)).to(device)] = -torch.inf
        target = torch.from_numpy(targets[start : start + len(block)].astype(np.int64)).to(device)
        own = scores.gather(1, target[:, None])
        better = (scores > own).sum(dim=1) + ((scores == own).sum(dim=1) - 1).clamp(min=0) / 2
        ranks = (better.floor() + 1).cpu().numpy().astype(np.int64)
        ranks[~np.isfinite(own[:, 0].cpu().numpy())] = 0
        parts.append(ranks)
        del scores
    return np.concatenate(parts)
