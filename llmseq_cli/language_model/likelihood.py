"""Exact log-probabilities of given answers; the model reads each question once for all its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmseq_cli.language_model.beginning import NOTHING, Beginning, read_prompts


@torch.inference_mode()
def log_likelihoods(
    model: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Sequence[int]]],
    begun: Beginning = NOTHING,
) -> list[np.ndarray]:
    """For each prompt (tokens) the log-probabilities float64[n] of its answers (tokens, at least one each).

    begun: the common beginning of the prompts, already read.
    """
    device = model.device
    read = read_prompts(model, prompts, begun)
    counts = [len(one) for one in answers]
    owner = torch.repeat_interleave(torch.arange(len(prompts), device=device), torch.tensor(counts, device=device))
    said, held = _padded_right([answer for one in answers for answer in one], device)
    total = _log_probability(read.logits[owner], said[:, 0])
    if said.shape[1] > 1:
        cache = read.cache
        cache.batch_select_indices(owner)
        whole = torch.cat([read.mask[owner], held[:, :-1]], dim=1)
        after = read.positions[owner, None] + 1 + torch.arange(said.shape[1] - 1, device=device)
        out = model(
            input_ids=said[:, :-1], attention_mask=whole, position_ids=after, past_key_values=cache, use_cache=True
        )
        further = torch.stack(
            [_log_probability(out.logits[:, place].float(), said[:, place + 1]) for place in range(said.shape[1] - 1)],
            dim=1,
        )
        total = total + (further * held[:, 1:]).sum(dim=1)
    return np.split(total.double().cpu().numpy(), np.cumsum(counts)[:-1])


def _log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of each token under the logits [n, vocabulary] of its row."""
    return logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=1)


def _padded_right(answers: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    """Tokens and mask int64[n, longest]."""
    width = max(len(answer) for answer in answers)
    tokens, mask = np.zeros((2, len(answers), width), dtype=np.int64)
    for row, answer in enumerate(answers):
        tokens[row, : len(answer)] = answer
        mask[row, : len(answer)] = 1
    return torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)
