"""Restrict answers to titles: `CatalogGuide` limits each next token to continuations of an allowed answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmseq_cli.errors import UsageError
from llmseq_cli.language_model.chat import plain_tokens
from llmseq_cli.language_model.messages import Constraint
from llmseq_cli.language_model.trie import ROOT, TitleTrie, remaining_counts


class AnswerForm:
    """Titles and the text between them as tokens, for one model, wording (see `Constraint`) and list of titles.

    links[p] is the text after p titles: before the first (p = 0) or between two, including numbers. The space between a
    number and a title belongs to the title, as in tokenizers.
    """

    def __init__(
        self, tokenizer: Any, line: str, separator: str, titles: Sequence[str], most_names: int, device: str
    ) -> None:
        self.end_token = int(tokenizer.eos_token_id)
        befores, after = _around(line, most_names)
        blank = befores[0][len(befores[0].rstrip()) :]
        self.title_tokens = plain_tokens(tokenizer, [blank + title for title in titles])
        texts = [befores[0].rstrip(), *(after + separator + one.rstrip() for one in befores[1:]), after]
        links = plain_tokens(tokenizer, texts)
        self.links, self.last = links[:-1], [*links[-1], self.end_token]
        vocabulary = max(self.end_token, *(max(row) for row in self.title_tokens if row)) + 1
        self.trie = TitleTrie.build(self.title_tokens, vocabulary, device)
        self.sorted_place = torch.empty_like(self.trie.order)  # of each title in the order by tokens
        self.sorted_place[self.trie.order] = torch.arange(len(titles), device=device)
        self.longest = max(len(row) for row in self.title_tokens)

    def most_tokens(self, names: int) -> int:
        """Tokens of the longest answer with this many titles."""
        return names * self.longest + sum(len(link) for link in self.links[:names]) + len(self.last)


def _around(line: str, names: int) -> tuple[list[str], str]:
    """The text before the title at each position of an answer, and after it."""
    parts = [line.format(number=place, title="\0").split("\0") for place in range(1, names + 1)]
    if any(len(part) != 2 for part in parts):
        raise UsageError("the template's answer contains {title} twice", "--constrain needs it once")
    return [before for before, _ in parts], parts[0][1]


class CatalogGuide:
    """See `generation.Guide`. One constraint per prompt; at the start, rows correspond to prompts."""

    def __init__(self, form: AnswerForm, constraints: Sequence[Constraint], device: str) -> None:
        self.form, self.trie = form, form.trie
        n, most = len(constraints), max(constraint.names for constraint in constraints)
        allowed = torch.zeros(n, len(form.sorted_place), dtype=torch.bool, device=device)
        for row, constraint in enumerate(constraints):
            allowed[row, form.sorted_place[torch.as_tensor(constraint.allowed, device=device)]] = True
            allowed[row, form.sorted_place[torch.as_tensor(constraint.without, device=device)]] = False
        open_ = allowed.sum(1).tolist()
        names = [min(one.names, count) for one, count in zip(constraints, open_, strict=True)]
        self.names = torch.tensor(names, device=device)
        self.links, self.link_lengths = _links(form, names, device)
        # Answers with one title share their prompt's set; if used titles are removed, each row has its own set.
        self.one_set_a_row = most > 1
        self.allowed, self.remaining = allowed, remaining_counts(allowed)
        self.set = torch.arange(n, device=device)
        self.layout = torch.arange(n, device=device)  # which prompt's links
        self.place = torch.zeros(n, dtype=torch.int64, device=device)  # titles named
        self.offset = torch.zeros(n, dtype=torch.int64, device=device)  # tokens of the link after them
        self.node = torch.full((n,), ROOT, device=device)
        self.named = torch.full((n, most), -1, device=device)

    def _forced(self) -> Tensor:
        """Whether the next token belongs to a link, bool[n_rows]."""
        return self.offset < self.link_lengths[self.layout, self.place]

    def narrow(self, logits: Tensor) -> Tensor:
        open_ = torch.zeros_like(logits, dtype=torch.bool)
        forced = self._forced()
        rows = torch.nonzero(forced)[:, 0]
        open_[rows, self.links[self.layout[rows], self.place[rows], self.offset[rows]]] = True
        rows = torch.nonzero(~forced)[:, 0]
        if len(rows):
            which, tokens = self.trie.continuations(self.node[rows], self.remaining, self.set[rows])
            which = rows[which]
            # A complete title is followed by the first token of the next link.
            behind = self.links[self.layout[which], self.place[which] + 1, 0]
            open_[which, torch.where(tokens == self.trie.end, behind, tokens)] = True
        return logits.masked_fill(~open_, float("-inf"))

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        self.keep(parents)
        forced = self._forced()
        child = self.trie.child(self.node, tokens)
        child = torch.where(self.trie.has_any(child, self.remaining, self.set), child, -1)
        in_title = ~forced & (child >= 0)
        completes = torch.nonzero(~forced & (child < 0))[:, 0]
        self.node = torch.where(in_title, child, self.node)
        self.offset = torch.where(forced, self.offset + 1, self.offset)
        if len(completes):
            self._complete(completes)

    def _complete(self, rows: Tensor) -> None:
        """Update rows whose token was the first of the link after a title."""
        end = torch.full_like(rows, self.trie.end)
        title = self.trie.title(self.trie.child(self.node[rows], end))
        self.named[rows, self.place[rows]] = self.trie.order[title]
        self.place[rows] += 1
        self.offset[rows] = 1
        self.node[rows] = ROOT
        if self.one_set_a_row:
            self.allowed[rows, title] = False
            self.remaining[rows] = remaining_counts(self.allowed[rows])

    def keep(self, rows: Tensor) -> None:
        self.layout, self.place, self.offset = self.layout[rows], self.place[rows], self.offset[rows]
        self.node, self.named = self.node[rows], self.named[rows]
        if self.one_set_a_row:
            self.allowed, self.remaining = self.allowed[rows], self.remaining[rows]
            self.set = torch.arange(len(rows), device=rows.device)
        else:
            self.set = self.set[rows]

    def said(self, row: int) -> list[int]:
        return self.named[row, : int(self.place[row])].tolist()


def _links(form: AnswerForm, names: Sequence[int], device: str) -> tuple[Tensor, Tensor]:
    """Links of each prompt as tokens int64[n, most + 1, longest], and their lengths int64[n, most + 1]; the link after
    the last title ends the answer.
    """
    most = max(names)
    width = max(len(link) for link in [*form.links, form.last])
    tokens = np.zeros((len(names), most + 1, width), dtype=np.int64)
    lengths = np.zeros((len(names), most + 1), dtype=np.int64)
    for row, count in enumerate(names):
        for place, link in enumerate([*form.links[:count], form.last]):
            tokens[row, place, : len(link)] = link
            lengths[row, place] = len(link)
    return torch.from_numpy(tokens).to(device), torch.from_numpy(lengths).to(device)
