"""Weights of a blend: those with the best mean NDCG@20 on held-out sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking

CUTOFF = 20

GRID = np.concatenate([[0.0], 2.0 ** np.arange(-4, 4.25, 0.5)])
"""The weights that are tried for a member while those of the others stand."""

_MOST_ROUNDS = 20


@dataclass(frozen=True)
class Gains:
    """What every member says for the items that stand in any member's list, session by session.

    Only sessions whose target stands in a list are held: the others cannot be hit. Items of the prompts are left out.
    values: float32[n_members, n_entries], 0 where an item is not in the member's list.
    items: int64[n_entries], the entries of a session by rising item. offsets: int64[n_sessions], where each begins.
    targets: int64[n_sessions], the entry of each session's target.
    """

    values: np.ndarray
    items: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray

    @staticmethod
    def of(members: list[tuple[Ranking, np.ndarray]], prompts: Sessions, targets: np.ndarray, n_items: int) -> Gains:
        """members: a ranking and its gains, [n_prompts, depth] each, for every member. targets: int[n_prompts]."""
        rows = np.arange(len(prompts))[:, None] * n_items
        keys = [(rows + ranking.items)[ranking.items != NO_ITEM] for ranking, _ in members]
        said = [gain[ranking.items != NO_ITEM] for ranking, gain in members]
        union = np.setdiff1d(np.concatenate(keys), prompts.rows() * n_items + prompts.items)
        reachable = np.isin(rows[:, 0] + targets, union)
        union = union[reachable[union // n_items]]
        values = np.zeros((len(members), len(union)), dtype=np.float32)
        for member, (its_keys, its_gains) in enumerate(zip(keys, said, strict=True)):
            found = np.isin(its_keys, union)
            values[member, np.searchsorted(union, its_keys[found])] = its_gains[found]
        sessions = np.flatnonzero(reachable)
        return Gains(
            values,
            union % n_items,
            np.searchsorted(union, sessions * n_items),
            np.searchsorted(union, sessions * n_items + targets[sessions]),
        )

    def target_ranks(self, weights: np.ndarray) -> np.ndarray:
        """The rank of every session's target by the weighted sum, among equals by the lower item; int64[n_sessions]."""
        if not len(self.offsets):
            return np.empty(0, dtype=np.int64)
        scores = weights.astype(np.float32) @ self.values
        lengths = np.diff(np.append(self.offsets, len(self.items)))
        target_scores = np.repeat(scores[self.targets], lengths)
        before = scores > target_scores
        tied = np.flatnonzero(scores == target_scores)
        before[tied] = self.items[tied] < np.repeat(self.items[self.targets], lengths)[tied]
        return np.add.reduceat(before.astype(np.int64), self.offsets) + 1


@dataclass(frozen=True)
class Learnt:
    """weights: float64[n_members], summing to 1. ndcg: theirs, at 20. alone: the NDCG@20 of every member alone."""

    weights: np.ndarray
    ndcg: float
    alone: list[float]


def mean_ndcg(gains: Gains, weights: np.ndarray, n_sessions: int) -> float:
    ranks = gains.target_ranks(weights)
    hits = ranks[ranks <= CUTOFF]
    return float(np.sum(1 / np.log2(hits + 1.0)) / n_sessions)


def learnt_weights(gains: Gains, n_sessions: int) -> Learnt:
    """Coordinate ascent from equal weights: each member in turn takes the weight of the grid that is best.

    It ends when a round over all members changes nothing. Of equally good weights the one before is kept, then the
    smaller one, so that the outcome depends on nothing but the gains.
    """
    n_members = len(gains.values)
    alone = [mean_ndcg(gains, one, n_sessions) for one in np.eye(n_members)]
    weights = np.ones(n_members)
    best = mean_ndcg(gains, weights, n_sessions)
    for _ in range(_MOST_ROUNDS):
        before = weights.copy()
        for member in range(n_members):
            for weight in GRID:
                tried = weights.copy()
                tried[member] = weight
                value = mean_ndcg(gains, tried, n_sessions) if tried.any() else -1.0
                if value > best + 1e-9:
                    best, weights = value, tried
        if (weights == before).all():
            break
    return Learnt(weights / weights.sum(), best, alone)
