"""Weights of a blend: those that do best by mean NDCG@20 on held-out sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.metrics import per_session
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking

CUTOFF = 20

GRID = np.concatenate([[0.0], 2.0 ** np.arange(-4, 4.25, 0.5)])
"""The weights that are tried for a member while those of the others stand."""

_MOST_ROUNDS = 20
_PARTS = 6
_LEAST = 0.01  # added to weights whose logarithms are averaged


@dataclass(frozen=True)
class Gains:
    """What the members say for items of the held-out sessions, compared with what they say for the target.

    Held are only sessions whose target stands in a list, for the others cannot be hit, and of their items only those
    that some member puts above the target, for the others cannot pass it; and none of the prompt.
    lead: float32[n_members, n_entries], an item's gain less that of its session's target; the entries of a session
        stand together. first: int64[n_sessions + 1], where each session's entries begin.
    targets: float32[n_members, n_sessions], the targets' gains.
    lower: bool[n_entries], items that come before the target where they tie.
    """

    lead: np.ndarray
    first: np.ndarray
    targets: np.ndarray
    lower: np.ndarray

    @staticmethod
    def of(members: list[tuple[Ranking, np.ndarray]], prompts: Sessions, targets: np.ndarray, n_items: int) -> Gains:
        """members: a ranking and its gains (≥ 0), [n_prompts, depth] each, of every member. targets: int[n_prompts]."""
        rows = np.arange(len(prompts))[:, None] * n_items
        keys = [(rows + ranking.items)[ranking.items != NO_ITEM] for ranking, _ in members]
        said = [gain[ranking.items != NO_ITEM] for ranking, gain in members]
        union = np.setdiff1d(np.concatenate(keys), prompts.rows() * n_items + prompts.items)
        sessions = np.flatnonzero(np.isin(rows[:, 0] + targets, union))
        union = union[np.isin(union // n_items, sessions)]
        values = np.zeros((len(members), len(union)), dtype=np.float32)
        for member, (its_keys, its_gains) in enumerate(zip(keys, said, strict=True)):
            found = np.isin(its_keys, union)
            values[member, np.searchsorted(union, its_keys[found])] = its_gains[found]
        target_keys = sessions * n_items + targets[sessions]
        of_targets = values[:, np.searchsorted(union, target_keys)]
        session = np.searchsorted(sessions, union // n_items)
        lead = values - of_targets[:, session]
        ahead = np.flatnonzero((lead > 0).any(axis=0) | ((lead == 0).all(axis=0) & (union != target_keys[session])))
        return Gains(
            lead[:, ahead],
            np.searchsorted(session[ahead], np.arange(len(sessions) + 1)),
            of_targets,
            union[ahead] < target_keys[session[ahead]],
        )

    def target_ranks(self, leads: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The rank of every session's target, 0 where no member with a weight says anything for it; int64[n_sessions].

        leads: float32[n_entries], the weighted sums of `lead`.
        """
        passing = np.flatnonzero((leads > 0) | ((leads == 0) & self.lower))
        ranks = np.diff(np.searchsorted(passing, self.first)) + 1
        return np.where(weights.astype(np.float32) @ self.targets > 0, ranks, 0)


@dataclass(frozen=True)
class Learnt:
    """weights: float64[n_members], summing to 1. ndcg: theirs, at 20. alone: the NDCG@20 of every member alone."""

    weights: np.ndarray
    ndcg: float
    alone: list[float]


def mean_ndcg(gains: Gains, weights: np.ndarray, n_sessions: int) -> float:
    """Mean NDCG@20 of the blend; of n_sessions, those whose target stands in no list count 0."""
    return float(_ndcg(gains, weights.astype(np.float32) @ gains.lead, weights).sum() / n_sessions)


def learnt_weights(gains: Gains, n_sessions: int) -> Learnt:
    """Weights by coordinate ascent on mean NDCG@20, averaged over the outcomes without each sixth of the sessions.

    On halves of Amazon Beauty's latest training sessions, each judging the other's weights, the average was better
    than one ascent over all sessions (NDCG@20 .0605, .0581; equal weights .0582). Means are of logarithms.
    """
    n_members, n_held = gains.targets.shape
    alone = [mean_ndcg(gains, one, n_sessions) for one in np.eye(n_members)]
    found = [_ascent(gains, np.arange(n_held) % _PARTS != part) for part in range(_PARTS)]
    weights = np.exp(np.mean(np.log(np.array(found) + _LEAST), axis=0)) - _LEAST
    weights = np.maximum(weights, 0) / np.maximum(weights, 0).sum()
    return Learnt(weights, mean_ndcg(gains, weights, n_sessions), alone)


def _ascent(gains: Gains, counted: np.ndarray) -> np.ndarray:
    """float64[n_members], summing to 1: from equal weights each member in turn takes the best one of the grid.

    counted: bool[n_sessions], which of the held sessions count. It ends when a round over all members changes nothing.
    Of equally good weights the one before is kept, then the smaller one, so that the outcome depends on nothing else.
    """
    n_members = len(gains.lead)
    weights = np.ones(n_members)
    best = _ndcg(gains, weights.astype(np.float32) @ gains.lead, weights)[counted].sum()
    for _ in range(_MOST_ROUNDS):
        before = weights.copy()
        for member in range(n_members):
            others = np.where(np.arange(n_members) == member, 0.0, weights)
            of_others = others.astype(np.float32) @ gains.lead
            for weight in GRID if others.any() else ():
                tried = others.copy()
                tried[member] = weight
                value = _ndcg(gains, of_others + np.float32(weight) * gains.lead[member], tried)[counted].sum()
                if value > best + 1e-9:
                    best, weights = value, tried
        if (weights == before).all():
            break
    return weights / weights.sum()


def _ndcg(gains: Gains, leads: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return per_session(gains.target_ranks(leads, weights), CUTOFF)["ndcg"]
