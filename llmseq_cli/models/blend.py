"""Blend: the weighted sum of what several runs say, by score or by rank.

Reciprocal-rank fusion follows Cormack, Clarke & Büttcher (SIGIR 2009), weighted ranks are a Borda count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import block_size, top_k
from llmseq_cli.models.base import FitContext
from llmseq_cli.models.blend_weights import Candidates, learnt_weights
from llmseq_cli.models.members import MadeOfRuns, MembersSettings
from llmseq_cli.settings import setting

METHODS = ("zscore", "rrf", "weighted-rank")

_HELD_OUT = 0.2
_MOST_HELD_OUT = 5000
_BLOCK_NUMBERS = 2**22  # entries of a member's lists that stand in memory at once


@dataclass(frozen=True)
class BlendSettings(MembersSettings):
    method: str = setting("zscore", "what of the members is added up", choices=METHODS, tune=METHODS)
    weights: str = setting("auto", "of the members, as 0.5,0.3,0.2; auto: learnt on the latest training sessions")
    depth: int = setting(500, "items of each member's list that count", low=1, high=1_000_000)
    rrf_k: float = setting(60.0, "what rrf adds to a rank: 1/(rrf_k + rank)", low=0, high=1e6, tune=(1.0, 100.0))


class Blend(MadeOfRuns):
    """Σ w · g over the members' lists, g being what `gains` makes of a member's scores or ranks.

    With weights=auto the members are trained anew without the latest fifth of the training sessions (at most 5,000),
    and the weights are those under which the items that follow there are most likely; the test sessions have no part in
    it. Then the members that were trained on everything are blended.
    """

    name = "blend"
    title = "Blend"
    summary = "weighted sum of the scores or ranks of any runs, weights learnt on the training side"
    Settings = BlendSettings
    fewest, most = 2, None

    settings: BlendSettings
    weights: np.ndarray

    def fit(self, train: Sessions, context: FitContext) -> dict[str, Any]:
        """Figures: weights, by run and summing to 1, and where they are learnt the NDCG@20 of the held-out sessions."""
        self.take_members(context)
        runs = [member.run for member in context.members]
        figures: dict[str, Any] = {}
        if self.settings.weights == "auto":
            self.weights, figures = self._learn(train, context)
        else:
            self.weights = parse_weights(self.settings.weights, len(runs))
        figures["weights"] = dict(zip(runs, [round(float(w), 4) for w in self.weights], strict=True))
        words = ", ".join(f"{run} {weight:g}" for run, weight in figures["weights"].items())
        context.progress.message(f"weights: {words}")
        return figures

    def _learn(self, train: Sessions, context: FitContext) -> tuple[np.ndarray, dict[str, Any]]:
        earlier, held_out = latest_held_out(train, self.n_items, keep_unseen=context.keeps_unseen)
        prompts, targets = held_out.prompts(), held_out.targets()
        members = []
        for member in context.members:
            ranking = member.refitted_lists(earlier, prompts, min(self.settings.depth, self.n_items))
            members.append((ranking, self._gains(ranking, prompts)))
        found = learnt_weights(Candidates.of(members, prompts, targets, self.n_items), len(prompts))
        alone = dict(zip([member.run for member in context.members], found.alone, strict=True))
        return found.weights, {
            "validation_ndcg": found.ndcg,
            "validation_ndcg_alone": alone,
            "validation_sessions": len(prompts),
        }

    def recommend(self, prompts: Sessions, k: int, *, exclude_prompt: bool = True) -> Ranking:
        size = max(block_size(self.n_items), _BLOCK_NUMBERS // min(self.settings.depth, self.n_items))
        parts = [
            self._lists(prompts.slice(start, min(start + size, len(prompts))), k, exclude_prompt)
            for start in range(0, max(len(prompts), 1), size)
        ]
        return Ranking.concatenate(parts)

    def _lists(self, prompts: Sessions, k: int, exclude_prompt: bool) -> Ranking:
        depth = min(self.settings.depth, self.n_items)
        counted = [place for place, weight in enumerate(self.weights) if weight > 0]
        # Prompt items are asked for even where they are not wanted: the others' scores must not depend on it.
        rankings = [self.members[place].recommend(prompts, depth, exclude_prompt=False) for place in counted]
        gains = [self.weights[place] * self._gains(r, prompts) for place, r in zip(counted, rankings, strict=True)]
        size = block_size(self.n_items)
        parts = []
        for start in range(0, max(len(prompts), 1), size):
            block = prompts.slice(start, min(start + size, len(prompts)))
            scores = np.full((len(block), self.n_items), -np.inf, dtype=np.float32)
            for ranking, gain in zip(rankings, gains, strict=True):
                rows, places = np.nonzero(ranking.items[start : start + size] != NO_ITEM)
                items = ranking.items[start + rows, places]
                before = scores[rows, items]
                scores[rows, items] = np.where(before == -np.inf, 0, before) + gain[start + rows, places]
            parts.append(top_k(scores, k, exclude=block if exclude_prompt else None))
        return Ranking.concatenate(parts)

    def _gains(self, ranking: Ranking, prompts: Sessions) -> np.ndarray:
        own = is_in_prompt(ranking, prompts, self.n_items)
        return gains(ranking, own, self.settings.method, self.settings.rrf_k)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.weights = arrays["weights"]


def gains(ranking: Ranking, own: np.ndarray, method: str, rrf_k: float = 60.0) -> np.ndarray:
    """What a member says for the items of its lists, beyond what it says for all others: float64[n, depth], ≥ 0.

    own: bool[n, depth], the items of the prompt, which do not count in the figures of their list.
    zscore: (score − floor) / standard deviation of the list's scores. The floor is the lowest score of the list; of a
        list that ends early with scores above 0, it is 0, and the missing places count in the deviation with 0.
    rrf: 1 / (rrf_k + rank). weighted-rank: (depth + 1 − rank) / depth.
    """
    listed = ranking.items != NO_ITEM
    if method == "zscore":
        values = _standardised(ranking.scores, listed, listed & ~own)
    else:
        # The rank among the other items, also for an item of the prompt.
        counted = listed & ~own
        rank = np.cumsum(counted, axis=1) + ~counted
        values = 1 / (rrf_k + rank) if method == "rrf" else (ranking.k + 1 - rank) / ranking.k
    return np.where(listed, values, 0.0)


def _standardised(scores: np.ndarray, listed: np.ndarray, counted: np.ndarray) -> np.ndarray:
    scores = np.where(listed, scores, 0).astype(np.float64)
    lowest = np.where(listed, scores, np.inf).min(axis=1, initial=np.inf)
    ends_early = ~listed[:, -1] & (lowest >= 0)
    floor = np.where(ends_early | np.isinf(lowest), 0, lowest)[:, None]
    above = np.where(counted, scores - floor, 0)
    n = np.where(ends_early, scores.shape[1] - (listed & ~counted).sum(axis=1), counted.sum(axis=1))
    n = np.maximum(n, 1)
    variance = (above**2).sum(axis=1) / n - (above.sum(axis=1) / n) ** 2
    deviation = np.sqrt(np.maximum(variance, 0))[:, None]
    return np.divide(scores - floor, deviation, out=np.zeros_like(scores), where=deviation > 0)


def is_in_prompt(ranking: Ranking, prompts: Sessions, n_items: int) -> np.ndarray:
    """bool[n, depth]: which items of every list stand in its prompt."""
    keys = np.arange(len(prompts))[:, None] * n_items + ranking.items
    return np.isin(keys, prompts.rows() * n_items + prompts.items) & (ranking.items != NO_ITEM)


def latest_held_out(train: Sessions, n_items: int, *, keep_unseen: bool = False) -> tuple[Sessions, Sessions]:
    """(the earlier sessions, the latest fifth of them, at most 5,000).

    As with test sessions, items that the earlier ones lack are taken out of the latest (unless they are kept there,
    too), and sessions that are left with fewer than two. Raises LlmseqError where there is none.
    """
    order = np.argsort(train.ids, kind="stable")
    n = min(int(len(train) * _HELD_OUT), _MOST_HELD_OUT)
    earlier, latest = train.take(order[: len(train) - n]), train.take(order[len(train) - n :])
    known = (earlier.counts(n_items) > 0)[latest.items] | keep_unseen
    lengths = np.bincount(latest.rows()[known], minlength=len(latest))
    cleaned = Sessions.from_lengths(latest.items[known], lengths, latest.ids)
    held_out = cleaned.take(np.flatnonzero(lengths >= 2))
    if not len(held_out):
        raise LlmseqError("there are too few training sessions to learn weights from", "give them: --set weights=1,1")
    return earlier, held_out


def parse_weights(words: str, n: int) -> np.ndarray:
    """float64[n] that sum to 1, of "0.5,0.3,0.2". Raises UsageError for anything but n numbers, none below 0."""
    try:
        weights = np.array([float(word) for word in words.split(",")])
    except ValueError:
        raise UsageError(
            f"'{words}' is no list of weights", "say --set weights=auto, or numbers: --set weights=0.6,0.4"
        ) from None
    if len(weights) != n:
        raise UsageError(f"there are {n} runs and {len(weights)} weights", "give one weight a run, in their order")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise UsageError(f"weights cannot be {words}", "give numbers from 0 up, not all of them 0")
    return weights / weights.sum()
