"""Blend: a weighted sum of several runs' scores or ranks and, optionally, of item traits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import block_size, top_k
from llmseq_cli.models.blend_weights import Candidates, Learnt, learnt_weights
from llmseq_cli.models.gains import METHODS, gains, is_in_history
from llmseq_cli.models.item_traits import TRAITS, ItemTraits
from llmseq_cli.models.list_combiner import ListCombiner, ListCombinerSettings, held_out_of
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.saved_arrays import DamagedError, array
from llmseq_cli.settings import setting


@dataclass(frozen=True)
class BlendSettings(ListCombinerSettings):
    method: str = setting(
        "zscore", "how to make scores or ranks comparable before summing", choices=METHODS, tune=METHODS
    )
    weights: str = setting(
        "auto",
        "weights of the base models, as 0.5,0.3,0.2; auto: learnt on sessions held out of training",
    )
    item_traits: bool = setting(False, "also learn weights for how new and how popular an item is")
    rrf_k: float = setting(60.0, "k of reciprocal rank fusion: 1/(k + rank)", low=0, high=1e6, tune=(1.0, 100.0))


class Blend(ListCombiner):
    """Σ w · g over the base models' lists, with g from `gains` of a model's scores or ranks.

    With weights=auto the base models are trained again without the latest fifth of the training sessions (at most
    5,000), and the weights maximise the likelihood of the next items there; test sessions are not used. Then the base
    models that were trained on everything are blended. If the split has validation cases, nothing is trained again: the
    weights are learnt on at most 5,000 of them. With item_traits, `ItemTraits` of listed items are added, with weights
    that are learnt together with those of the base models.
    """

    name = "blend"
    title = "Blend"
    summary = "weighted sum of the scores or ranks of any runs, weights learnt on validation cases"
    Settings = BlendSettings

    settings: BlendSettings
    weights: np.ndarray
    trait_weights: np.ndarray
    traits: ItemTraits | None = None

    def fit(self, train: Sessions, context: FitContext) -> dict[str, Any]:
        """Returns weights (by run, summing to 1), trait_weights (on their scale, with item_traits) and, if learnt, the
        NDCG@20 of the held-out sessions.
        """
        self.take_base_models(context)
        runs = [base_model.run for base_model in context.base_models]
        figures: dict[str, Any] = {}
        self.trait_weights = np.zeros(len(TRAITS) if self.settings.item_traits else 0)
        if self.settings.weights == "auto":
            found, figures = self._learn(train, context)
            self.weights, self.trait_weights = found.weights, found.trait_weights
        elif self.settings.item_traits:
            raise UsageError("weights of item traits are learnt together with the other weights", "leave out weights")
        else:
            self.weights = parse_weights(self.settings.weights, len(runs))
        if self.settings.item_traits:
            self.traits = ItemTraits.of(train, self.n_items)
            figures["trait_weights"] = dict(zip(TRAITS, [round(float(w), 4) for w in self.trait_weights], strict=True))
        figures["weights"] = dict(zip(runs, [round(float(w), 4) for w in self.weights], strict=True))
        told = figures["weights"] | figures.get("trait_weights", {})
        context.progress.message("weights: " + ", ".join(f"{name} {weight:g}" for name, weight in told.items()))
        return figures

    def _learn(self, train: Sessions, context: FitContext) -> tuple[Learnt, dict[str, Any]]:
        earlier, held_out = held_out_of(train, self.n_items, context)
        histories, targets = held_out.histories(), held_out.targets()
        base_models = []
        for base_model in context.base_models:
            ranking = base_model.refitted_lists(earlier, histories, self._list_length)
            base_models.append((ranking, self._gains(ranking, histories)))
        traits = ItemTraits.of(earlier, self.n_items) if self.settings.item_traits else None
        candidates = Candidates.of(
            base_models, histories, targets, self.n_items, traits, exclude_history=not context.allows_repeats
        )
        found = learnt_weights(candidates, len(histories))
        alone = dict(zip([base_model.run for base_model in context.base_models], found.alone, strict=True))
        return found, {
            "validation_ndcg": found.ndcg,
            "validation_ndcg_alone": alone,
            "validation_sessions": len(histories),
        }

    def _lists(self, histories: Sessions, k: int, exclude_history: bool) -> Ranking:
        # With traits, every list counts: a base model with weight 0 still contributes candidates.
        counted = [place for place, weight in enumerate(self.weights) if weight > 0 or self.traits]
        # Always include history items, even if they are not wanted: the others' scores must not depend on it.
        rankings = [
            self.base_models[place].recommend(histories, self._list_length, exclude_history=False) for place in counted
        ]
        said = [self._gains(ranking, histories) for ranking in rankings]
        size = block_size(self.n_items)
        parts = []
        for start in range(0, max(len(histories), 1), size):
            rows = slice(start, min(start + size, len(histories)))
            block = histories.slice(rows.start, rows.stop)
            lists = [ranking.items[rows] for ranking in rankings]
            scores = _sums(lists, [self.weights[p] * g[rows] for p, g in zip(counted, said, strict=True)], self.n_items)
            if self.traits:
                sessions, items = np.nonzero(scores > -np.inf)
                named = _sums(lists, [gain[rows] > 0 for gain in said], self.n_items)[sessions, items]
                scores[sessions, items] += self.trait_weights @ self.traits.of_items(items, named / len(said))
            parts.append(top_k(scores, k, exclude=block if exclude_history else None))
        return Ranking.concatenate(parts)

    def _gains(self, ranking: Ranking, histories: Sessions) -> np.ndarray:
        own = is_in_history(ranking, histories, self.n_items)
        return gains(ranking, own, self.settings.method, self.settings.rrf_k)

    def arrays(self) -> dict[str, np.ndarray]:
        traits = {"traits": self.traits.values} if self.traits else {}
        return {"weights": self.weights, "trait_weights": self.trait_weights, **traits}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.weights = array(arrays, "weights", "f", (len(self.settings.runs.split(",")),), low=0)
        if not self.weights.sum() > 0:
            raise DamagedError("all weights are 0")
        # Blends of older versions have none.
        self.trait_weights = array(arrays, "trait_weights", "f", (None,)) if "trait_weights" in arrays else np.zeros(0)
        self.traits = None
        if "traits" in arrays:
            self.traits = ItemTraits(array(arrays, "traits", "f", (len(TRAITS) - 2, self.n_items)))
            self.trait_weights = array(arrays, "trait_weights", "f", (len(TRAITS),))


def _sums(lists: list[np.ndarray], said: list[np.ndarray], n_items: int) -> np.ndarray:
    """float32[n, n_items], the sum over the lists for each item; -inf if no list contains it."""
    sums = np.full((len(lists[0]), n_items), -np.inf, dtype=np.float32)
    for items, gain in zip(lists, said, strict=True):
        rows, places = np.nonzero(items != NO_ITEM)
        listed = items[rows, places]
        before = sums[rows, listed]
        sums[rows, listed] = np.where(before == -np.inf, 0, before) + gain[rows, places]
    return sums


def parse_weights(words: str, n: int) -> np.ndarray:
    """Parse "0.5,0.3,0.2" as float64[n], scaled to sum to 1. Raises UsageError unless these are n numbers of at least
    0."""
    try:
        weights = np.array([float(word) for word in words.split(",")])
    except ValueError:
        raise UsageError(
            f"'{words}' is not a list of weights", "use --set weights=auto, or numbers: --set weights=0.6,0.4"
        ) from None
    if len(weights) != n:
        raise UsageError(
            f"there are {n} runs and {len(weights)} weights", "give one weight per run, in the order of --runs"
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise UsageError(f"weights cannot be {words}", "give numbers of at least 0, not all of them 0")
    shares: np.ndarray = weights / weights.sum()
    return shares
