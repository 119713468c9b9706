"""Titles as a trie over tokens, in arrays, to find which tokens continue an allowed title.

Titles are sorted by their tokens, so each node is a range of them; the children of a node are adjacent, ordered by
token. All steps are array operations over a batch of rows, one row per unfinished answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROOT = 0


@dataclass(frozen=True)
class TitleTrie:
    """Nodes ordered by depth, then by titles; node 0 is the root.

    order: int64[n_titles], places of titles sorted by tokens. token: int64[n_nodes], the token that leads to a node;
    `end` for the end of a title. low, high: int64[n_nodes], the node's range of sorted titles. children: int64[n_nodes
    + 1], the start of each node's children. keys: int64[n_nodes − 1], (parent, token) of nodes 1 … as one ascending
    number.
    """

    order: Tensor
    token: Tensor
    low: Tensor
    high: Tensor
    children: Tensor
    keys: Tensor
    end: int

    @classmethod
    def build(cls, titles: Sequence[Sequence[int]], vocabulary: int, device: str = "cpu") -> TitleTrie:
        """titles: tokens of each, all below `vocabulary`, none empty and no two equal."""
        end, n = vocabulary, len(titles)
        width = max(len(title) for title in titles) + 1
        tokens = np.full((n, width), -1, dtype=np.int64)
        for place, title in enumerate(titles):
            tokens[place, : len(title)] = title
            tokens[place, len(title)] = end
        order = np.lexsort(tokens.T[::-1])
        tokens = tokens[order]
        starts = np.ones((n, width), dtype=bool)  # whether a node of this depth starts at this title
        starts[1:] = np.logical_or.accumulate(tokens[1:] != tokens[:-1], axis=1)
        # The title where the next node of this depth starts, and the one where the current node started.
        following = np.where(starts, np.arange(n)[:, None], n)
        following = np.minimum.accumulate(following[::-1], axis=0)[::-1]
        following = np.vstack([following[1:], np.full((1, width), n)])
        is_node = starts & (tokens >= 0)
        depth, low = np.nonzero(is_node.T)
        number = np.zeros((n, width), dtype=np.int64)
        number[low, depth] = np.arange(1, len(low) + 1)
        number = np.maximum.accumulate(number, axis=0)
        parent = np.where(depth > 0, number[low, np.maximum(depth - 1, 0)], ROOT)
        token = np.concatenate([[-1], tokens[low, depth]])
        children = 1 + np.searchsorted(parent, np.arange(len(token) + 1))

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, device=device)

        return cls(
            order=tensor(order),
            token=tensor(token),
            low=tensor(np.concatenate([[0], low])),
            high=tensor(np.concatenate([[n], following[low, depth]])),
            children=tensor(children),
            keys=tensor(parent * (end + 1) + token[1:]),
            end=end,
        )

    def child(self, nodes: Tensor, tokens: Tensor) -> Tensor:
        """The child of each node for each token, int64[n], −1 if there is none."""
        wanted = nodes * (self.end + 1) + tokens
        place = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[place] == wanted, place + 1, -1)

    def continuations(self, nodes: Tensor, remaining: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
        """(row, token) of everything that may follow each node (int64[n]), `end` if a title is complete.

        remaining: int32[n_sets, n_titles + 1], how many of the first sorted titles are allowed. sets: int64[n], the set
        of each row.
        """
        first = self.children[nodes]
        counts = self.children[nodes + 1] - first
        rows = torch.repeat_interleave(torch.arange(len(nodes), device=nodes.device), counts)
        within = torch.arange(len(rows), device=nodes.device) - (counts.cumsum(0) - counts)[rows]
        children = first[rows] + within
        open_ = self.has_any(children, remaining, sets[rows])
        return rows[open_], self.token[children[open_]]

    def has_any(self, nodes: Tensor, remaining: Tensor, sets: Tensor) -> Tensor:
        """Whether a title below a node is allowed, bool[n]; False for node −1."""
        safe = nodes.clamp(min=0)
        return (remaining[sets, self.high[safe]] > remaining[sets, self.low[safe]]) & (nodes >= 0)

    def title(self, nodes: Tensor) -> Tensor:
        """Places in the sorted titles for nodes reached by `end`, int64[n]."""
        return self.low[nodes]


def remaining_counts(allowed: Tensor) -> Tensor:
    """See `TitleTrie.continuations`; allowed: bool[n_sets, n_titles], in the order of sorted titles."""
    counts = torch.zeros(allowed.shape[0], allowed.shape[1] + 1, dtype=torch.int32, device=allowed.device)
    torch.cumsum(allowed, dim=1, dtype=torch.int32, out=counts[:, 1:])
    return counts
