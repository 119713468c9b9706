"""Generate answers: batches of similar length, one pass over each prompt, and a cache of keys and values.

Answers to a prompt that begin alike share one row with a count. Counts are drawn from the multinomial distribution of
the next token, which is equivalent to drawing each answer separately and, if a model is confident, costs little more
than one answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from llmseq_cli.language_model.beginning import NOTHING, Beginning, read_prompts


@dataclass(frozen=True)
class Drawing:
    """How to draw tokens: temperature 0 takes the most likely. top_p: nucleus sampling (Holtzman et al. 2020). ends:
    tokens that end an answer.
    """

    temperature: float
    top_p: float
    max_tokens: int
    ends: frozenset[int]


@dataclass(frozen=True)
class GeneratedAnswer:
    """An answer that was drawn `count` times. said: places of its titles, if a guide was used; ended: whether it ended
    by itself."""

    tokens: list[int]
    count: int
    ended: bool
    said: list[int] | None = None


class Guide(Protocol):
    """Restricts the next token of each row; its rows correspond to those of `generate`."""

    def narrow(self, logits: Tensor) -> Tensor:
        """Logits [n_rows, vocabulary], minus infinity for tokens that are not allowed."""
        ...

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        """Row i continues row parents[i] with tokens[i]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows."""
        ...

    def said(self, row: int) -> list[int]:
        """Places of the titles that a row has named."""
        ...


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    counts: Sequence[int],
    drawing: Drawing,
    random: torch.Generator,
    guide: Guide | None = None,
    begun: Beginning = NOTHING,
) -> list[list[GeneratedAnswer]]:
    """Generate `counts` answers to each prompt (its tokens); equal answers are merged.

    begun: the common beginning of the prompts, already read.
    """
    device = model.device
    read = read_prompts(model, prompts, begun)
    logits, cache, mask, positions = read.logits, read.cache, read.mask, read.positions
    owner = torch.arange(len(prompts), device=device)
    count = torch.as_tensor(list(counts), device=device)
    written = torch.empty(len(prompts), 0, dtype=torch.int64, device=device)
    answers: list[list[GeneratedAnswer]] = [[] for _ in prompts]
    ends = torch.tensor(sorted(drawing.ends), device=device)
    for length in range(1, drawing.max_tokens + 1):
        if guide is not None:
            logits = guide.narrow(logits)
        parents, drawn, count = _draw(logits, count, drawing, random)
        if guide is not None:
            guide.advance(parents, drawn)
        owner, written = owner[parents], torch.cat([written[parents], drawn[:, None]], dim=1)
        ended = torch.isin(drawn, ends)
        for row in torch.nonzero(ended if length < drawing.max_tokens else torch.ones_like(ended))[:, 0].tolist():
            stops = bool(ended[row])
            said = None if guide is None else guide.said(row)
            text = written[row, : -1 if stops else None].tolist()
            answers[int(owner[row])].append(GeneratedAnswer(text, int(count[row]), stops, said))
        going = torch.nonzero(~ended)[:, 0]
        if not len(going) or length == drawing.max_tokens:
            break
        owner, written, count, kept = owner[going], written[going], count[going], parents[going]
        if guide is not None and len(going) < len(parents):
            guide.keep(going)
        if len(kept) != len(mask) or not torch.equal(kept, torch.arange(len(mask), device=device)):
            cache.batch_select_indices(kept)
            mask = mask[kept]
            positions = positions[kept]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = positions + 1
        out = model(
            input_ids=drawn[going][:, None],
            attention_mask=mask,
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, logits = out.past_key_values, out.logits[:, -1].float()
    return answers


def _draw(logits: Tensor, count: Tensor, drawing: Drawing, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the continuations of rows with `count` answers each: (parent row, token, count)."""
    rows = torch.arange(len(logits), device=logits.device)
    if drawing.temperature == 0:
        return rows, logits.argmax(dim=1), count
    shares = torch.softmax(logits / drawing.temperature, dim=1)
    if drawing.top_p < 1:
        shares = _nucleus(shares, drawing.top_p)
    most = int(count.max())
    drawn = torch.multinomial(shares, most, replacement=True, generator=random)
    valid = torch.arange(most, device=logits.device) < count[:, None]
    keys, counts = (rows[:, None] * logits.shape[1] + drawn)[valid].unique(return_counts=True)
    return keys // logits.shape[1], keys % logits.shape[1], counts


def _nucleus(shares: Tensor, top_p: float) -> Tensor:
    """Probabilities of the most likely tokens that together reach top_p, 0 for the others."""
    ordered, places = shares.sort(dim=1, descending=True)
    beyond = ordered.cumsum(1) - ordered >= top_p
    return torch.zeros_like(shares).scatter(1, places, ordered.masked_fill(beyond, 0))
