"""Session-based nearest neighbours: SKNN, V-SKNN, S-SKNN and SF-SKNN.

After Ludewig & Jannach, "Evaluation of Session-based Recommendation Algorithms" (UMUAI 2018), with the options of Boz
et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339). With N the k training sessions most similar
to a history s, among a sample of sessions that share an item with it:

    score(i, s) = Σ_{n ∈ N, i ∈ n} sim(s, n) · v(s, n) · idf(i)

d weights the items of the history by age (`decay`), v weights a neighbour by the age of the most recent shared item
(`sequential`); by default they are 1. idf(i) = 1 + ln(sessions / sessions with i), or 1. Training sessions are sets of
items: n is one of them, |n| its size. With D = Σ_{i ∈ s ∩ n} d(i):

    dot      D                            jaccard  D / (Σ_{i ∈ s} d(i) + |n| − D)
    cosine   D / (‖d‖ √|n|)               binary   2D / (2D + Σ_{i ∈ s} d(i) + |n|)

A repeated item of a history has the age of its last occurrence. Items that do not occur in training are first removed
from the history.

Ties: the sample consists of the first candidates in one order of all training sessions, most recent first or shuffled
by the seed, so there are no ties and a history's sample does not depend on other histories. Of equally similar
sessions, the more recent one (the larger id) is nearer; with equal scores, the item with the lower id comes first. Sums
are computed with 64 bits and compared with 32 bits, so differences by rounding count as equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.pooling import POOLINGS, pooling_weights
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.sparse_top_k import blocks, sparse_top_k
from llmseq_cli.models import saved_arrays
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.session_index import Pairs, SessionIndex
from llmseq_cli.settings import Settings, setting

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DECAYS = ("none", *(name for name in POOLINGS if name not in ("mean", "last")))
# Names in the code of Ludewig & Jannach. ("quadratic" in that of Boz et al. is squared-harmonic.)
_ALIASES = {"same": "none", "linear": "constant-linear", "div": "scaling-linear", "quadratic": "scaling-quadratic"}
SIMILARITIES = ("cosine", "dot", "jaccard", "binary")
_BLOCK_ENTRIES = 2_000_000  # candidates and scores in memory at once


def _k(default: int) -> Any:
    return setting(default, "number of nearest training sessions", low=1, tune=(50, 500))


def _sample_size(default: int) -> Any:
    return setting(
        default,
        "number of training sessions to compare, of those that share an item; or all",
        low=1,
        choices=("all",),
        tune=(500, 2000),
    )


def _sampling(default: str) -> Any:
    return setting(default, "which sessions to compare", choices=("recent", "random"), tune=("recent", "random"))


def _similarity(default: str) -> Any:
    return setting(default, "similarity of history and training session", choices=SIMILARITIES, tune=("cosine", "dot"))


def _decay(default: str) -> Any:
    return setting(default, "weights of the history's items by age", choices=(*DECAYS, *_ALIASES), tune=DECAYS)


def _sequential(default: str) -> Any:
    return setting(
        default,
        "weights of neighbours by the age of the last shared item",
        choices=(*DECAYS, *_ALIASES),
        tune=("none", "scaling-linear"),
    )


@dataclass(frozen=True)
class SessionKNNSettings(Settings):
    """Defaults are the best settings that the paper published for Beauty."""

    k: int = _k(140)
    sample_size: int | str = _sample_size(1020)
    sampling: str = _sampling("recent")
    similarity: str = _similarity("cosine")
    decay: str = _decay("none")
    idf: bool = setting(False, "rare items score higher", tune=(False, True))
    sequential: str = _sequential("none")


@dataclass(frozen=True)
class VSKNNSettings(SessionKNNSettings):
    k: int = _k(320)
    sample_size: int | str = _sample_size(1530)
    sampling: str = _sampling("random")
    similarity: str = _similarity("dot")
    decay: str = _decay("harmonic")


@dataclass(frozen=True)
class SSKNNSettings(SessionKNNSettings):
    k: int = _k(130)
    sample_size: int | str = _sample_size(1920)
    sampling: str = _sampling("random")
    sequential: str = _sequential("scaling-linear")


@dataclass(frozen=True)
class SFSKNNSettings(SessionKNNSettings):
    k: int = _k(290)
    sample_size: int | str = _sample_size(560)
    filter: str = setting(
        "training",
        "where an item must follow the history's last item: in any training session, or in the neighbour",
        choices=("training", "neighbor"),
    )


class SKNN(Recommender):
    """Recommends items of the sessions nearest to the history; see the module for the formula. The other models are
    variants."""

    name = "sknn"
    title = "SKNN"
    summary = "items of the training sessions most similar to the history"
    Settings: ClassVar[type[Settings]] = SessionKNNSettings

    train: Sessions
    """The training sessions, most recent last."""
    order: np.ndarray
    """int64[n_train]: places in `train` in sampling order."""

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        train = train.take(np.argsort(train.ids, kind="stable"))
        recent_first = np.arange(len(train))[::-1]
        shuffled = np.random.default_rng(context.seed).permutation(len(train))
        self._index(train, shuffled if self.settings.sampling == "random" else recent_first)
        return {}

    def _index(self, train: Sessions, order: np.ndarray) -> None:
        self.train, self.order = train, order
        size = self.settings.sample_size
        self.index = SessionIndex(train, order, self.n_items, len(train) if size == "all" else int(size))
        self.item_weights = np.ones(self.n_items)
        if self.settings.idf:
            self.item_weights += np.log(max(len(train), 1) / np.maximum(self.index.item_counts, 1))
        self.votes_for = self.index.sessions.copy()
        self.votes_for.data = self.item_weights[self.votes_for.indices]

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        histories = histories.where(self.index.item_counts[histories.items] > 0)
        candidates = self.index.costs(histories)
        costs = candidates + np.minimum(candidates, self.settings.k) * self.index.mean_size
        parts = [Ranking(np.empty((0, k), dtype=np.int32), np.empty((0, k), dtype=np.float32))]
        for rows in blocks(costs, _BLOCK_ENTRIES):
            block = histories.slice(rows.start, rows.stop)
            scores = self._scores(block, self._neighbors(block).to_csr(len(self.train)))
            parts.append(sparse_top_k(scores, k, exclude=block if exclude_history else None))
        return Ranking.concatenate(parts)

    def _scores(self, histories: Sessions, votes: csr_array) -> csr_array:
        """Sparse float64[n_histories, n_items] from the votes of neighbours, [n_histories, n_train]."""
        return votes @ self.votes_for

    def _neighbors(self, histories: Sessions) -> Pairs:
        """The k nearest sessions of every history, with the value that each adds to the score of its items: sim · v."""
        sequential = _ALIASES.get(self.settings.sequential, self.settings.sequential)
        profiles = histories.to_csr(self.n_items, _weights(histories, self.settings.decay)).astype(np.float64)
        pairs = self.index.sample(histories, profiles, with_ages=sequential != "none")
        pairs = replace(pairs, values=self._similarities(profiles, pairs))
        pairs = self.index.nearest(pairs, self.settings.k)
        if sequential == "none":
            return pairs
        last_shared = pairs.per_pair(histories.offsets[1:]) - pairs.ages
        return replace(pairs, values=pairs.values * _weights(histories, sequential)[last_shared])

    def _similarities(self, profiles: csr_array, pairs: Pairs) -> np.ndarray:
        """float64[n_pairs], from pairs with the summed weights of shared items (D)."""
        shared, similarity = pairs.values, self.settings.similarity
        if similarity == "dot":
            return shared
        sizes = self.index.sizes[pairs.sessions]
        if similarity == "cosine":
            norms = np.sqrt(np.asarray(profiles.multiply(profiles).sum(axis=1)))
            # Equal ratios, such as 1/2 and 4/8, are the same number before the root.
            cosine: np.ndarray = np.sqrt(shared * shared / sizes) / pairs.per_pair(norms)
            return cosine
        both = pairs.per_pair(np.asarray(profiles.sum(axis=1))) + sizes
        ratio: np.ndarray = shared / (both - shared) if similarity == "jaccard" else 2 * shared / (2 * shared + both)
        return ratio

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "items": self.train.items,
            "offsets": self.train.offsets,
            "ids": self.train.ids,
            "order": self.order,
        }

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        train = saved_arrays.sessions(arrays, self.n_items)
        self._index(train, saved_arrays.order(arrays, len(train)))


class VSKNN(SKNN):
    """SKNN whose similarity weights the history's items by age."""

    name = "v-sknn"
    title = "V_SKNN"
    summary = "SKNN that weights recent items of the history more"
    Settings = VSKNNSettings


class SSKNN(SKNN):
    """SKNN that weights neighbours by x/|s|, where x is the position in the history s of the last shared item."""

    name = "s-sknn"
    title = "S_SKNN"
    summary = "SKNN that weights neighbours by the recency of shared items"
    Settings = SSKNNSettings


class SFSKNN(SKNN):
    """SKNN that only recommends items that have directly followed the history's last item.

    filter training: SKNN's scores for items that directly followed it in any training session, as in both papers' code.
    filter neighbor: a neighbour votes only for items that directly follow it there.
    """

    name = "sf-sknn"
    title = "SF_SKNN"
    summary = "SKNN restricted to items that have followed the history's last item"
    Settings = SFSKNNSettings

    def _index(self, train: Sessions, order: np.ndarray) -> None:
        super()._index(train, order)
        ordered = self.index.in_order
        places = np.flatnonzero(ordered.positions_from_end() > 1)
        before, after, session = ordered.items[places], ordered.items[places + 1], ordered.rows()[places]
        if self.settings.filter == "training":
            self.followers = _indicators(before, after, (self.n_items, self.n_items))
            return
        # The items that follow an item in a session have one row; row r is for the session and item in `next_keys[r]`.
        self.next_keys, rows = np.unique(session * self.n_items + before, return_inverse=True)
        self.next_items = _indicators(rows, after, (len(self.next_keys), self.n_items))
        self.next_items.data = self.item_weights[self.next_items.indices]

    def _scores(self, histories: Sessions, votes: csr_array) -> csr_array:
        filled = np.flatnonzero(histories.lengths)
        last = np.zeros(len(histories), dtype=np.int64)
        last[filled] = histories.items[histories.offsets[1:][filled] - 1]
        is_last = _indicators(filled, last[filled], (len(histories), self.n_items))
        if self.settings.filter == "training":
            return super()._scores(histories, votes).multiply(is_last @ self.followers)
        return self._spread(votes.multiply(is_last @ self.index.postings), last)

    def _spread(self, votes: csr_array, last: np.ndarray) -> csr_array:
        """Scores of items that follow the histories' last items (int64[n_histories]) in the voting sessions.

        votes: sparse float64[n_histories, n_train], of sessions with the last item.
        """
        from scipy.sparse import csr_array

        keys = votes.indices * np.int64(self.n_items) + np.repeat(last, np.diff(votes.indptr))
        rows = np.searchsorted(self.next_keys, keys)
        # If the item is the last of a session, there is no row.
        found = np.flatnonzero(self.next_keys.take(rows, mode="clip") == keys) if len(self.next_keys) else keys[:0]
        offsets = np.searchsorted(found, votes.indptr)
        shape = (len(last), len(self.next_keys))
        return csr_array((votes.data[found], rows[found], offsets), shape=shape) @ self.next_items


def _weights(histories: Sessions, decay: str) -> np.ndarray:
    """float32[n_interactions]."""
    decay = _ALIASES.get(decay, decay)
    return pooling_weights(histories, "mean" if decay == "none" else decay)


def _indicators(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Sparse float64 matrix of ones; repeated entries count once."""
    from scipy.sparse import csr_array

    matrix = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.data[:] = 1
    return matrix
