"""Learn the weights of a blend that make the held-out sessions' next items most likely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.metrics import per_session
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.models.item_traits import TRAITS, ItemTraits

CUTOFF = 20

_RIDGE = 1e-2  # equal base models then share the weight that one of them would get
_START = 0.5
_LEAST = 1e-4  # the optimiser leaves such small weights instead of 0


@dataclass(frozen=True)
class Candidates:
    """The base models' values for candidate items of the held-out sessions.

    Contains only sessions whose target is in a list (others cannot be hit), with all listed items that are not in the
    history. Entries of a session are adjacent, ordered by item.
    values: float32[n_base_models + n_traits, n_entries], gains, then item traits, if any.
    first: int64[n_sessions], the start of each session's entries.
    targets: int64[n_sessions], which entries are the targets.
    """

    values: np.ndarray
    first: np.ndarray
    targets: np.ndarray
    n_base_models: int

    @staticmethod
    def of(
        base_models: list[tuple[Ranking, np.ndarray]],
        histories: Sessions,
        targets: np.ndarray,
        n_items: int,
        traits: ItemTraits | None = None,
        *,
        exclude_history: bool = True,
    ) -> Candidates:
        """base_models: for each a ranking and its gains (≥ 0), [n_histories, depth]. targets: int[n_histories]."""
        rows = np.arange(len(histories))[:, None] * n_items
        keys = [(rows + ranking.items)[ranking.items != NO_ITEM] for ranking, _ in base_models]
        said = [gain[ranking.items != NO_ITEM] for ranking, gain in base_models]
        own_items = histories.rows() * n_items + histories.items
        union = np.setdiff1d(np.concatenate(keys), own_items if exclude_history else own_items[:0])
        sessions = np.flatnonzero(np.isin(rows[:, 0] + targets, union))
        union = union[np.isin(union // n_items, sessions)]
        values = np.zeros((len(base_models) + (len(TRAITS) if traits else 0), len(union)), dtype=np.float32)
        for base_model, (its_keys, its_gains) in enumerate(zip(keys, said, strict=True)):
            found = np.isin(its_keys, union)
            values[base_model, np.searchsorted(union, its_keys[found])] = its_gains[found]
        if traits:
            values[len(base_models) :] = traits.of_items(union % n_items, (values[: len(base_models)] > 0).mean(axis=0))
        first = np.searchsorted(union // n_items, sessions)
        own = np.searchsorted(union, sessions * n_items + targets[sessions])
        return Candidates(values, first, own, len(base_models))

    def sessions(self) -> np.ndarray:
        """int64[n_entries], the session of each entry."""
        return np.repeat(np.arange(len(self.first)), np.diff(np.append(self.first, self.values.shape[1])))

    def target_ranks(self, weights: np.ndarray) -> np.ndarray:
        """The rank of every session's target, int64[n_sessions]; 0 if neither a weighted base model nor a weighted
        trait has a value for it. With equal sums, the item with the lower number comes first.
        """
        if not len(self.first):
            return np.zeros(0, dtype=np.int64)
        sums, sessions = weights.astype(np.float32) @ self.values, self.sessions()
        own, place = sums[self.targets], np.arange(len(sums))
        ahead = (sums > own[sessions]) | ((sums == own[sessions]) & (place < self.targets[sessions]))
        said = (own > 0) | bool(weights[self.n_base_models :].any())
        return np.where(said, np.add.reduceat(ahead.astype(np.int64), self.first) + 1, 0)


@dataclass(frozen=True)
class Learnt:
    """weights: float64[n_base_models], summing to 1, or all 0 if only traits help. trait_weights: float64[n_traits], on
    their scale. ndcg: NDCG@20 with these weights. alone: the NDCG@20 of every base model alone.
    """

    weights: np.ndarray
    trait_weights: np.ndarray
    ndcg: float
    alone: list[float]


def mean_ndcg(candidates: Candidates, weights: np.ndarray, n_sessions: int) -> float:
    """Mean NDCG@20 of the blend over n_sessions; sessions whose target is in no list count as 0."""
    return float(per_session(candidates.target_ranks(weights), CUTOFF)["ndcg"].sum() / n_sessions)


def learnt_weights(candidates: Candidates, n_sessions: int) -> Learnt:
    """Weights w that maximise Σ log softmax(Σ w·value)[target] over the held-out sessions; those of base models are ≥ 0
    and scaled to sum to 1.

    This is the conditional logit of McFadden ("Conditional logit analysis of qualitative choice behavior", 1974): it
    has a single optimum, and considers how far ahead other items are, not only their rank. On halves of Amazon Beauty's
    latest training sessions, each evaluated with the other's weights, optimising NDCG@20 directly found worse weights.
    If there is nothing to learn from, weights are equal.
    """
    n = candidates.n_base_models
    alone = [mean_ndcg(candidates, one, n_sessions) for one in np.eye(n, len(candidates.values))]
    weights = _most_likely(candidates) if len(candidates.first) else np.zeros(len(candidates.values))
    weights = np.where(np.abs(weights) > _LEAST, weights, 0)
    if weights[:n].any():
        weights = weights / weights[:n].sum()
    elif not weights.any():
        weights[:n] = 1 / n
    return Learnt(weights[:n], weights[n:], mean_ndcg(candidates, weights, n_sessions), alone)


def _most_likely(candidates: Candidates) -> np.ndarray:
    """float64[n_base_models + n_traits]."""
    from scipy.optimize import minimize

    values, first, sessions = candidates.values, candidates.first, candidates.sessions()
    scales = _scales(candidates)
    own = values[:, candidates.targets].astype(np.float64)

    def loss(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        weights = scaled / scales
        sums = (weights.astype(np.float32) @ values).astype(np.float64)
        largest = np.maximum.reduceat(sums, first)
        chances = np.exp(sums - largest[sessions])
        total = np.add.reduceat(chances, first)
        chances /= total[sessions] * len(first)
        value = float(np.mean(np.log(total) + largest - weights @ own)) + _RIDGE * float(scaled @ scaled)
        return value, (values @ chances.astype(np.float32) - own.mean(axis=1)) / scales + 2 * _RIDGE * scaled

    n_traits = len(values) - candidates.n_base_models
    start = np.repeat([_START, 0.0], [candidates.n_base_models, n_traits])
    bounds = [(0, None)] * candidates.n_base_models + [(None, None)] * n_traits
    weights: np.ndarray = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x / scales
    return weights


def _scales(candidates: Candidates) -> np.ndarray:
    """float64[n_base_models + n_traits], divisors of the values: one number for all gains, so that the effect of the
    ridge does not depend on a method's scale; 1 for traits.
    """
    said = candidates.values[: candidates.n_base_models]
    size = float(np.sqrt(np.mean(said[said > 0] ** 2))) if (said > 0).any() else 1.0
    return np.repeat([size, 1.0], [candidates.n_base_models, len(candidates.values) - candidates.n_base_models])
