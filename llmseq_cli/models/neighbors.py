"""Session-based nearest neighbours: SKNN, V-SKNN, S-SKNN and SF-SKNN.

After Ludewig & Jannach, "Evaluation of Session-based Recommendation Algorithms" (UMUAI 2018), with the options of
Boz et al. (arXiv 2402.01339). With the set of items of a session s and its k nearest training sessions N:

    score(i, s) = Σ_{n ∈ N, i ∈ n} sim(s, n) · w(s, n) · (1 + idf(i))

where w is 1, or with sequential weighting x/|s|, x being the position in s of its most recent item that n shares, and
idf(i) = ln(sessions / sessions with i) where that is asked for, else 0. All sums are sparse matrix products over blocks
of prompts.

Ties: of the sessions that share an item with the prompt a sample is taken (the most recent ones, or those that a seeded
shuffle of the training sessions puts last); of sessions that are equally near the more recent one is the nearer; among
items of equal score the lower id comes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.pooling import POOLINGS, pooling_weights
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.sparse_top_k import largest_per_row, sort_keys, sparse_top_k
from llmseq_cli.models.base import FitContext, Recommender
from llmseq_cli.settings import Settings, setting

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DECAYS = ("none", *(name for name in POOLINGS if name not in ("mean", "last")))
SIMILARITIES = ("cosine", "dot")
_CANDIDATES_PER_BLOCK = 4_000_000  # pairs of prompt and training session that stand in memory at once
_DEEPEST = 500  # positions from the end that sequential weighting tells apart: 4⁻⁵⁰⁰ is near the least float64


def _k(default: int) -> Any:
    return setting(default, "nearest training sessions that count", low=1, tune=(50, 500))


def _sample_size(default: int) -> Any:
    return setting(
        default,
        "training sessions that are compared, of those that share an item; or all",
        low=1,
        choices=("all",),
        tune=(500, 2000),
    )


def _sampling(default: str) -> Any:
    return setting(default, "which are compared", choices=("recent", "random"), tune=("recent", "random"))


def _similarity(default: str) -> Any:
    return setting(default, "of prompt and training session", choices=SIMILARITIES, tune=SIMILARITIES)


@dataclass(frozen=True)
class NeighborSettings(Settings):
    """Defaults are the best settings that the paper published for Beauty."""

    k: int = _k(140)
    sample_size: int | str = _sample_size(1020)
    sampling: str = _sampling("recent")
    similarity: str = _similarity("cosine")
    decay: str = setting("none", "weight of the prompt's items by age", choices=DECAYS, tune=DECAYS)
    idf: bool = setting(False, "rare items count more", tune=(False, True))
    sequential: bool = setting(
        False, "neighbours that share recent items of the prompt count more", tune=(False, True)
    )


@dataclass(frozen=True)
class VSKNNSettings(NeighborSettings):
    k: int = _k(320)
    sample_size: int | str = _sample_size(1530)
    sampling: str = _sampling("random")
    similarity: str = _similarity("dot")
    decay: str = setting("harmonic", "weight of the prompt's items by age", choices=DECAYS, tune=DECAYS)


@dataclass(frozen=True)
class SSKNNSettings(NeighborSettings):
    k: int = _k(130)
    sample_size: int | str = _sample_size(1920)
    sampling: str = _sampling("random")
    sequential: bool = setting(True, "neighbours that share recent items of the prompt count more")


@dataclass(frozen=True)
class SFSKNNSettings(NeighborSettings):
    k: int = _k(290)
    sample_size: int | str = _sample_size(560)


class SKNN(Recommender):
    """Sessions are sets of items; see the module for the formula.

    cosine: Σ weights of shared items / (‖weights‖ √|n|); dot: Σ weights of shared items. Weights are 1, or fall with
    the age of the prompt's items (`decay`).
    """

    name = "sknn"
    title = "SKNN"
    summary = "items of the training sessions most like the prompt"
    Settings: type[NeighborSettings] = NeighborSettings

    train: Sessions
    priority: np.ndarray
    """int64[n_train]: of the sessions that could be compared those with the highest priority are."""

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        train = train.take(np.argsort(train.ids, kind="stable"))
        recent_last = np.arange(len(train))
        shuffled = np.random.default_rng(context.seed).permutation(len(train))
        self._index(train, shuffled if self.settings.sampling == "random" else recent_last)
        return {}

    def _index(self, train: Sessions, priority: np.ndarray) -> None:
        self.train, self.priority = train, priority
        self.sessions_by_item = train.to_csr(self.n_items)
        self.items_by_session = self.sessions_by_item.T.tocsr()
        self.session_sizes = np.diff(self.sessions_by_item.indptr)
        self.item_counts = np.diff(self.items_by_session.indptr)

    def recommend(self, prompts: Sessions, k: int, *, exclude_prompt: bool = True) -> Ranking:
        parts = [
            sparse_top_k(self._scores(block), k, exclude=block if exclude_prompt else None)
            for block in self._blocks(prompts)
        ]
        if not parts:
            return Ranking(np.empty((0, k), dtype=np.int32), np.empty((0, k), dtype=np.float32))
        return Ranking.concatenate(parts)

    def _blocks(self, prompts: Sessions) -> Iterator[Sessions]:
        """Consecutive prompts whose candidates fit into memory together."""
        pairs = np.concatenate([[0], np.cumsum(self.item_counts[prompts.items])])[prompts.offsets]
        start = 0
        while start < len(prompts):
            fitting = np.searchsorted(pairs, pairs[start] + _CANDIDATES_PER_BLOCK, side="right") - 1
            stop = max(start + 1, int(fitting))
            yield prompts.slice(start, stop)
            start = stop

    def _scores(self, prompts: Sessions) -> csr_array:
        """Sparse float32[n_prompts, n_items]."""
        from scipy.sparse import csr_array

        scores = csr_array(self._neighbors(prompts) @ self.sessions_by_item)
        if self.settings.idf:
            rarity = np.log(len(self.train) / np.maximum(self.item_counts, 1))
            scores.data *= (1 + rarity).astype(np.float32)[scores.indices]
        return scores

    def _neighbors(self, prompts: Sessions) -> csr_array:
        """Sparse float32[n_prompts, n_train]: what each of the k nearest training sessions adds to its items."""
        weights = None if self.settings.decay == "none" else pooling_weights(prompts, self.settings.decay)
        profile = prompts.to_csr(self.n_items, weights)
        similar = profile @ self.items_by_session
        if self.settings.similarity == "cosine":
            norms = np.sqrt(np.asarray(profile.multiply(profile).sum(axis=1)).ravel())
            rows = np.repeat(norms, np.diff(similar.indptr))
            similar.data /= (rows * np.sqrt(self.session_sizes)[similar.indices]).astype(np.float32)
        closeness = similar.data
        if self.settings.sequential:
            similar.data = closeness * self._recency(prompts, similar)
        if self.settings.sample_size != "all":
            kept = largest_per_row(self.priority[similar.indices], similar.indptr, int(self.settings.sample_size))
            similar, closeness = _filtered(similar, kept), closeness[kept]
        nearest = largest_per_row(sort_keys(closeness, similar.indices), similar.indptr, self.settings.k)
        return _filtered(similar, nearest)

    def _recency(self, prompts: Sessions, similar: csr_array) -> np.ndarray:
        """x/|s| of every stored pair of prompt and training session, float32.

        Weighted by 4⁻ⁱ, i counting from the prompt's end, the sum over shared items lies between 4⁻ⁱ and 4⁻ⁱ·4/3 for
        the most recent shared i: its exponent gives that i exactly.
        """
        from scipy.sparse import csr_array

        i = np.minimum(prompts.positions_from_end(), _DEEPEST)
        last_places = prompts.to_csr(self.n_items, i)
        powers = csr_array((4.0 ** -last_places.data.astype(np.float64), last_places.indices, last_places.indptr),
                           shape=last_places.shape)
        sums = powers @ self.items_by_session.astype(np.float64)
        from_end = np.ceil(-np.log2(sums.data) / 2 - 1e-9)
        length = np.repeat(prompts.lengths, np.diff(similar.indptr))
        return ((length - from_end + 1) / length).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "items": self.train.items,
            "offsets": self.train.offsets,
            "ids": self.train.ids,
            "priority": self.priority,
        }

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        train = Sessions(arrays["items"], arrays["offsets"], arrays["ids"])
        self._index(train, arrays["priority"])


class VSKNN(SKNN):
    """SKNN with the items of the prompt weighted by their age in the similarity."""

    name = "v-sknn"
    title = "V_SKNN"
    summary = "SKNN that weights recent items of the prompt more"
    Settings = VSKNNSettings


class SSKNN(SKNN):
    """SKNN with sequential weighting: neighbours that share recent items of the prompt count more."""

    name = "s-sknn"
    title = "S_SKNN"
    summary = "SKNN that weights neighbours by the recency of what they share"
    Settings = SSKNNSettings


class SFSKNN(SKNN):
    """SKNN that recommends only items which directly followed the prompt's last item in some training session."""

    name = "sf-sknn"
    title = "SF_SKNN"
    summary = "SKNN restricted to items that have followed the prompt's last item"
    Settings = SFSKNNSettings

    def _index(self, train: Sessions, priority: np.ndarray) -> None:
        super()._index(train, priority)
        from scipy.sparse import csr_array

        follows = train.positions_from_end()[:-1] > 1 if len(train.items) else np.empty(0, dtype=bool)
        before, after = train.items[:-1][follows], train.items[1:][follows]
        ones = np.ones(len(before), dtype=np.float32)
        pairs = csr_array((ones, (before, after)), shape=(self.n_items, self.n_items))
        pairs.data[:] = 1
        self.followers = pairs

    def _scores(self, prompts: Sessions) -> csr_array:
        from scipy.sparse import csr_array

        present = prompts.lengths > 0
        last = np.where(present, prompts.items[np.maximum(prompts.offsets[1:] - 1, 0)], 0) if len(prompts.items) else []
        allowed = self.followers[np.asarray(last, dtype=np.int64)] if len(last) else csr_array((len(prompts), self.n_items))
        return csr_array(super()._scores(prompts).multiply(allowed), dtype=np.float32)


def _filtered(matrix: csr_array, kept: np.ndarray) -> csr_array:
    """The matrix with only these stored entries."""
    from scipy.sparse import csr_array

    before = np.concatenate([[0], np.cumsum(kept)])
    return csr_array((matrix.data[kept], matrix.indices[kept], before[matrix.indptr]), shape=matrix.shape)
