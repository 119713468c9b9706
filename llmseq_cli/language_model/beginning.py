"""What all questions begin with is read once: its keys and values are kept, and every batch continues from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_LEAST = 8  # tokens that are worth a pass of their own


@dataclass(frozen=True)
class Beginning:
    """The first `length` tokens of all prompts of a job. states: keys and values of every layer, of one row."""

    length: int = 0
    states: Sequence[tuple[Tensor, Tensor]] = ()

    def cache(self, rows: int) -> Any:
        """A cache that holds this beginning in every row; None if there is nothing to hold."""
        if not self.states:
            return None
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self.states):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
        return cache


NOTHING = Beginning()


@torch.inference_mode()
def read_beginning(model: Any, prompts: Sequence[Sequence[int]]) -> Beginning:
    """Reads what the prompts share. Models that keep more or less than all keys and values share nothing."""
    from transformers.cache_utils import DynamicLayer

    length = shared_tokens(prompts)
    if length < _LEAST:
        return NOTHING
    tokens = torch.tensor([list(prompts[0][:length])], device=model.device)
    layers = model(input_ids=tokens, use_cache=True, logits_to_keep=1).past_key_values.layers
    if any(type(layer) is not DynamicLayer for layer in layers):
        return NOTHING
    return Beginning(length, [(layer.keys, layer.values) for layer in layers])


def shared_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with; one at least is left of each. 0 if there are fewer than two."""
    if len(prompts) < 2:
        return 0
    first, last = min(map(list, prompts)), max(map(list, prompts))  # what these two share, all between them share
    most = min(map(len, prompts)) - 1
    return next((place for place in range(most) if first[place] != last[place]), max(0, most))


@dataclass
class Reading:
    """A batch of prompts that have been read. logits: float32[n, vocabulary] of what follows each. mask: int64[n,
    longest], the prompts on the right. positions: int64[n], of the last token of each.
    """

    logits: Tensor
    cache: Any
    mask: Tensor
    positions: Tensor


def read_prompts(model: Any, prompts: Sequence[Sequence[int]], begun: Beginning = NOTHING) -> Reading:
    """One pass over the prompts, all of which begin as `begun` says."""
    device = model.device
    tokens, mask = _padded([prompt[begun.length :] for prompt in prompts], device)
    mask = torch.cat([mask.new_ones(len(prompts), begun.length), mask], dim=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions[:, begun.length :],
        past_key_values=begun.cache(len(prompts)),
        use_cache=True,
        logits_to_keep=1,
    )
    return Reading(out.logits[:, -1].float(), out.past_key_values, mask, positions[:, -1])


def _padded(prompts: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    """Tokens and mask int64[n, longest], padded on the left."""
    width = max(len(prompt) for prompt in prompts)
    tokens, mask = np.zeros((2, len(prompts), width), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    return torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)
