"""SKNNEmb: items of the training sessions whose text is most similar to the history's.

Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339), Section 5, Equation 2. With e the
embedding of a session, a weighted mean of its items' vectors, and N the k nearest training sessions of a history s:

    score(i, s) = Σ_{n ∈ N, i ∈ n} sim(e_n, e_s)^power · idf(i)

    cosine  e_n·e_s / (‖e_n‖ ‖e_s‖)      dot  e_n·e_s      euclidean  1 / (1 + ‖e_n − e_s‖)

A session with a similarity of 0 or less is not a neighbour. idf(i) = 1 + ln(sessions / sessions with i), or 1.

Candidates are all training sessions, or (`sample_size`) a sample of those that share an item with the history, as in
SKNN. Of equally similar sessions, the more recent one is nearer; with equal scores, the item with the lower id comes
first. Similarities are compared after rounding (`without_noise`), so a list depends neither on other histories in the
block nor on the hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.pooling import POOLINGS, pool, weight_matrix
from llmseq_cli.embeddings.products import Products, item_products, sessions_at_once
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.small_blocks import SmallBlocks
from llmseq_cli.evaluation.sparse_top_k import blocks, sparse_top_k
from llmseq_cli.evaluation.top_k import block_size, rank_in_blocks
from llmseq_cli.models import saved_arrays
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.session_index import SessionIndex
from llmseq_cli.settings import Settings, setting

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SIMILARITIES = ("cosine", "dot", "euclidean")
_BLOCK_ENTRIES = 2_000_000  # votes and scores in memory at once
_SESSIONS_PER_BLOCK = 16_384


@dataclass(frozen=True)
class SKNNEmbSettings(Settings):
    """The defaults had the best NDCG@20 on the last fifth of Beauty's training sessions, with whitened vectors."""

    k: int = setting(100, "number of nearest training sessions", low=1, tune=(50, 500))
    sample_size: int | str = setting(
        "all",
        "number of training sessions to compare, of those that share an item; or all, sharing or not",
        low=1,
        choices=("all",),
        tune=(500, 2000),
    )
    sampling: str = setting(
        "recent", "which sessions to compare", choices=("recent", "random"), tune=("recent", "random")
    )
    similarity: str = setting("cosine", "similarity of session vectors", choices=SIMILARITIES, tune=("cosine", "dot"))
    power: float = setting(2.5, "power of the similarity in the score", low=0, high=64, tune=(1, 8))
    history_pooling: str = setting(
        "harmonic", "how to combine a history's item vectors", choices=POOLINGS, tune=POOLINGS
    )
    training_pooling: str = setting(
        "mean", "how to combine a training session's item vectors", choices=POOLINGS, tune=POOLINGS
    )
    idf: bool = setting(True, "rare items score higher", tune=(False, True))


class SKNNEmb(Recommender):
    """Finds neighbours by dense or sparse products of session vectors; see the module for the formula.

    Vectors of training sessions are not saved, but computed from item vectors when the model is fitted or loaded.
    """

    name = "sknn-emb"
    title = "SKNNEmb"
    summary = "items of the training sessions whose text is most similar to the history's"
    Settings = SKNNEmbSettings
    embeddings_use = "required"

    train: Sessions
    """The training sessions, most recent first."""
    order: np.ndarray
    """int64[n_train]: places in `train` in sampling order."""
    vectors: Any

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        if context.embeddings is None:
            raise UsageError(
                "sknn-emb needs item embeddings",
                "make some with `llmseq embed --source lexical`, then use --embeddings lexical",
            )
        train = train.take(np.argsort(train.ids, kind="stable")[::-1])
        shuffled = np.random.default_rng(context.seed).permutation(len(train))
        order = shuffled if self.settings.sampling == "random" else np.arange(len(train))
        self._index(train, order, context.embeddings.vectors.astype(np.float32, copy=False))
        return {}

    def _index(self, train: Sessions, order: np.ndarray, vectors: Any) -> None:
        self.train, self.order, self.vectors = train, order, vectors
        self._small_blocks = SmallBlocks()
        self.norms = _session_norms(train, vectors, self.settings.training_pooling)
        factors = _inverse(self.norms) if self.settings.similarity == "cosine" else np.ones_like(self.norms)
        self.products = _session_products(train, vectors, self.settings.training_pooling, factors)
        self.votes_for = train.to_csr(self.n_items).astype(np.float64)
        """Sparse float64[n_train, n_items], the value of a vote for a session to its items."""
        if self.settings.idf:
            counts = np.bincount(self.votes_for.indices, minlength=self.n_items)
            self.votes_for.data = (1 + np.log(max(len(train), 1) / np.maximum(counts, 1)))[self.votes_for.indices]
        size = self.settings.sample_size
        self.sharing = None if size == "all" else SessionIndex(train, order, self.n_items, int(size))

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        parts = [Ranking(np.empty((0, k), dtype=np.int32), np.empty((0, k), dtype=np.float32))]
        n_neighbors = min(self.settings.k, len(self.train))
        most = max(1, self.votes_for.nnz * n_neighbors // max(len(self.train), 1))  # scores per history
        for rows in blocks(np.full(len(histories), most), _BLOCK_ENTRIES):
            block = histories.slice(rows.start, rows.stop)
            scores = self._votes(self.neighbors(block, n_neighbors)) @ self.votes_for
            parts.append(sparse_top_k(scores, k, exclude=block if exclude_history else None))
        return Ranking.concatenate(parts)

    def neighbors(self, histories: Sessions, k: int) -> Ranking:
        """The k nearest training sessions of every history, as places in `train`, with their similarities."""
        usual = block_size(len(self.train))
        size = sessions_at_once(len(histories), usual, self.vectors, self.products, self._small_blocks)
        return rank_in_blocks(
            histories,
            self._similarities,
            k,
            len(self.train),
            exclude_history=False,
            candidates=self.norms > 0,
            size=size,
        )

    def _similarities(self, histories: Sessions) -> np.ndarray:
        """float32[n_histories, n_train]; −inf if a history has no vector or a session is not in its sample."""
        vectors = pool(histories, self.vectors, self.settings.history_pooling)
        norms = _norms(vectors)
        scores = self.products(vectors)
        if self.settings.similarity == "cosine":
            scores *= _inverse(norms)[:, None]
        elif self.settings.similarity == "euclidean":  # ‖s − n‖² = ‖s‖² − 2 s·n + ‖n‖²
            scores *= -2
            scores += self.norms**2
            scores += (norms**2)[:, None]
            np.sqrt(np.maximum(scores, 0, out=scores), out=scores)
            np.reciprocal(np.add(scores, 1, out=scores), out=scores)
        scores[norms == 0] = -np.inf
        return scores if self.sharing is None else _only(scores, *self._sampled(self.sharing, histories))

    def _sampled(self, index: SessionIndex, histories: Sessions) -> tuple[np.ndarray, np.ndarray]:
        """Histories and places in `train` of the pairs to compare."""
        pairs = index.sample(histories, histories.to_csr(self.n_items).astype(np.float64), with_ages=False)
        return pairs.per_pair(np.arange(len(histories))), self.order[pairs.sessions]

    def _votes(self, neighbors: Ranking) -> csr_array:
        """Sparse float64[n_histories, n_train], similarity^power of neighbours with a similarity above 0."""
        from scipy.sparse import csr_array

        positive = neighbors.scores > 0
        offsets = np.concatenate([[0], np.cumsum(positive.sum(axis=1))])
        votes = neighbors.scores[positive].astype(np.float64) ** self.settings.power
        return csr_array((votes, neighbors.items[positive], offsets), shape=(len(neighbors), len(self.train)))

    def arrays(self) -> dict[str, np.ndarray]:
        sessions = {"items": self.train.items, "offsets": self.train.offsets, "ids": self.train.ids}
        arrays = sessions | {"order": self.order}
        if isinstance(self.vectors, np.ndarray):
            return arrays | {"vectors": self.vectors}
        v = self.vectors
        return arrays | {"data": v.data, "indices": v.indices, "indptr": v.indptr, "shape": np.array(v.shape)}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        train = saved_arrays.sessions(arrays, self.n_items)
        vectors = saved_arrays.vectors(arrays, self.n_items)
        self._index(train, saved_arrays.order(arrays, len(train)), vectors)


def _session_products(sessions: Sessions, vectors: Any, pooling: str, factors: np.ndarray) -> Products:
    """A function that multiplies vectors of histories with those of the sessions, scaled by factors
    float32[n_sessions].

    The mean of sparse vectors has many terms. Products with items, of which a session has few, need less work and
    memory: with e_n = Σ_i w(n, i) v_i, it is e_n·e_s = Σ_i w(n, i) v_i·e_s.
    """
    if isinstance(vectors, np.ndarray):
        return item_products(pool(sessions, vectors, pooling), factors)
    weights = weight_matrix(sessions, vectors.shape[0], pooling)
    weights.data *= np.repeat(factors, np.diff(weights.indptr))
    by_item, size = item_products(vectors), block_size(vectors.shape[0])

    def products(histories: Any) -> np.ndarray:
        starts = range(0, histories.shape[0], size)
        return np.concatenate([(weights @ by_item(histories[start : start + size]).T).T for start in starts])

    return products


def _session_norms(sessions: Sessions, vectors: Any, pooling: str) -> np.ndarray:
    """Lengths of the sessions' embeddings, float32[n_sessions]."""
    starts = range(0, max(len(sessions), 1), _SESSIONS_PER_BLOCK)
    parts = [sessions.slice(start, min(start + _SESSIONS_PER_BLOCK, len(sessions))) for start in starts]
    return np.concatenate([_norms(pool(part, vectors, pooling)) for part in parts])


def _norms(vectors: Any) -> np.ndarray:
    if isinstance(vectors, np.ndarray):
        norms: np.ndarray = np.linalg.norm(vectors, axis=1)
        return norms
    from scipy.sparse.linalg import norm

    return np.asarray(norm(vectors, axis=1), dtype=np.float32)


def _inverse(norms: np.ndarray) -> np.ndarray:
    """1/x, 0 if x is 0."""
    inverse: np.ndarray = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    return inverse


def _only(scores: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    kept = np.full_like(scores, -np.inf)
    kept[rows, columns] = scores[rows, columns]
    return kept
