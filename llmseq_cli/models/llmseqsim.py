"""LLMSeqSim: recommend the items nearest to the session in the space of item embeddings.

Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339), Section 3.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.nearest_index import NearestIndex
from llmseq_cli.embeddings.pooling import POOLINGS, pool
from llmseq_cli.embeddings.products import Products, item_products, sessions_at_once
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.small_blocks import MOST_HISTORIES, SmallBlocks
from llmseq_cli.evaluation.top_k import block_size, rank_in_blocks, top_k_of, without_noise
from llmseq_cli.models import saved_arrays
from llmseq_cli.models.recommender import FitContext, ItemSpace, Recommender
from llmseq_cli.progress import Progress, SilentProgress
from llmseq_cli.settings import Settings, setting

SIMILARITIES = ("cosine", "dot", "euclidean")
INDEXES = ("exact", "hnsw")

_RECALLED = 20  # list length for comparing exact search with the index, and most histories for it
_RECALL_PROMPTS = 500
_LARGEST_SHARE = 0.25  # above this share of items, comparing all of them is no more work
_BLOCK_NUMBERS = 2**24  # numbers of found items' vectors in memory at once: 64 MiB as float32


@dataclass(frozen=True)
class LLMSeqSimSettings(Settings):
    pooling: str = setting("harmonic", "how to combine a session's item vectors", choices=POOLINGS, tune=POOLINGS)
    similarity: str = setting(
        "cosine", "similarity of session and item vectors", choices=SIMILARITIES, tune=SIMILARITIES
    )
    cold_items: bool = setting(False, "also recommend items that never occur in training, by their text")
    index: str = setting(
        "exact", "nearest-neighbour search: exact, or approximate with a graph (HNSW)", choices=INDEXES
    )
    ef_search: int = setting(
        256,
        "with index=hnsw: size of the search's candidate list; larger finds more and takes longer",
        low=1,
        high=1_000_000,
    )


class LLMSeqSim(Recommender):
    """Scores are similarities between the session's vector and item vectors; nothing is trained.

    cosine: s·v / (‖s‖ ‖v‖); dot: s·v; euclidean: −‖s − v‖. Items without a vector are never recommended, and a session
    without one gets no recommendations. Items that never occur in training are only recommended with `cold_items`.

    index=hnsw, for catalogs of a million items: a graph finds more items than needed, which are scored exactly and
    ranked under the same tie rule. A list may lack some of the nearest; `fit` measures how many.
    """

    name = "llmseqsim"
    title = "LLMSeqSim"
    summary = "items whose text is most similar to the session's"
    Settings = LLMSeqSimSettings
    embeddings_use = "required"

    vectors: Any
    candidates: np.ndarray
    index: NearestIndex | None = None
    unsafe_arrays = ("index",)

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        if context.embeddings is None:
            raise UsageError(
                "llmseqsim needs item embeddings",
                "make some with `llmseq embed --source lexical`, then use --embeddings lexical",
            )
        self.vectors = context.embeddings.vectors.astype(np.float32, copy=False)
        self.__dict__.pop("_comparing", None)
        self.candidates = _squared_norms(self.vectors) > 0
        if not self.settings.cold_items:
            self.candidates &= train.counts(self.n_items) > 0
        return {} if self.settings.index == "exact" else self._build_index(train, context)

    def _build_index(self, train: Sessions, context: FitContext) -> dict[str, float]:
        """Returns the seconds for building, and the recall of 20 items on histories of the training sessions."""
        if not isinstance(self.vectors, np.ndarray):
            raise UsageError("index=hnsw needs dense vectors", "use --reduce whiten --dim 128, or keep index=exact")
        clock = time.perf_counter()
        self.index = self._make_index(context.progress)
        seconds = time.perf_counter() - clock
        places = np.flatnonzero(train.lengths >= 2)
        drawn = np.random.default_rng([context.seed, 5]).permutation(places)[:_RECALL_PROMPTS]
        histories = train.take(np.sort(drawn)).histories()
        with context.progress.task("Comparing the index with exact search"):
            found, all_of_them = self.recommend(histories, _RECALLED), self._exact(histories, _RECALLED)
        return {
            f"index_recall@{_RECALLED}": recall(found, all_of_them),
            "index_prompts": len(histories),
            "index_seconds": seconds,
        }

    def _make_index(self, progress: Progress) -> NearestIndex:
        items = np.flatnonzero(self.candidates)
        return NearestIndex.build(self.vectors, items, self.settings.similarity, progress)

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        if self.index is None:
            return self._exact(histories, k, exclude_history=exclude_history)
        return self._by_index(self.index, histories, k, exclude_history)

    def _by_index(self, index: NearestIndex, histories: Sessions, k: int, exclude_history: bool) -> Ranking:
        """The number of fetched items depends only on k and the history's length, so other histories do not change a
        list. A list that is too short because too many fetched items are not candidates is repeated by exact search.
        """
        lists = Ranking(
            np.full((len(histories), k), NO_ITEM, dtype=np.int32),
            np.full((len(histories), k), -np.inf, dtype=np.float32),
        )
        wanted = 2 * k + (histories.lengths if exclude_history else np.zeros(len(histories), dtype=np.int64))
        widths = 2 ** np.ceil(np.log2(np.maximum(wanted, 1))).astype(np.int64)
        all_compared = widths > _LARGEST_SHARE * len(index)
        for width in np.unique(widths[~all_compared]).tolist():
            places = np.flatnonzero((widths == width) & ~all_compared)
            size = max(1, _BLOCK_NUMBERS // (width * self.vectors.shape[1]))
            for start in range(0, len(places), size):
                rows = places[start : start + size]
                part = self._fetched(index, histories.take(rows), k, width, exclude_history)
                lists.items[rows], lists.scores[rows] = part.items, part.scores
        rest = np.flatnonzero(all_compared | (lists.items[:, -1] == NO_ITEM)) if k else np.empty(0, dtype=np.int64)
        if len(rest):
            part = self._exact(histories.take(rest), k, exclude_history=exclude_history)
            lists.items[rest], lists.scores[rest] = part.items, part.scores
        return lists

    def _fetched(self, index: NearestIndex, histories: Sessions, k: int, width: int, exclude_history: bool) -> Ranking:
        """The k best of the `width` items that the index finds for every history."""
        sessions = pool(histories, self.vectors, self.settings.pooling)
        items = index.search(sessions, width, self.settings.ef_search)
        scores = without_noise(self._scores_of(sessions, items))
        barred = (items == NO_ITEM) | ~self.candidates[items] | (_squared_norms(sessions) == 0)[:, None]
        if exclude_history:
            keys = np.arange(len(histories))[:, None] * self.n_items + items
            barred |= np.isin(keys, histories.rows() * self.n_items + histories.items)
        scores[barred] = -np.inf
        return top_k_of(items, scores, k)

    def _scores_of(self, sessions: np.ndarray, items: np.ndarray) -> np.ndarray:
        """float32[n, width], as `_similarities`, for the sessions and these items."""
        vectors = self.vectors[items]
        norms, session_norms = np.einsum("nij,nij->ni", vectors, vectors), _squared_norms(sessions)
        if self.settings.similarity == "cosine":
            vectors *= _inverse_root(norms)[:, :, None]
            sessions = _scaled_rows(sessions, _inverse_root(session_norms))
        scores: np.ndarray = np.einsum("nj,nij->ni", sessions, vectors)
        if self.settings.similarity == "euclidean":
            scores = -np.sqrt(np.maximum(norms - 2 * scores + session_norms[:, None], 0))
        return scores

    def _exact(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        size = block_size(self.n_items)
        if len(histories) <= MOST_HISTORIES:
            products, norms, small_blocks = self._comparing
            size = sessions_at_once(len(histories), size, self.vectors, products, small_blocks)
        else:
            products, norms = self._compared()

        def score(block: Sessions) -> np.ndarray:
            return self._similarities(pool(block, self.vectors, self.settings.pooling), products, norms)

        return rank_in_blocks(
            histories, score, k, self.n_items, exclude_history=exclude_history, candidates=self.candidates, size=size
        )

    def _compared(self) -> tuple[Products, np.ndarray]:
        """The products with item vectors, and the items' squared norms."""
        norms = _squared_norms(self.vectors)
        factors = _inverse_root(norms) if self.settings.similarity == "cosine" else None
        return item_products(self.vectors, factors), norms

    @cached_property
    def _comparing(self) -> tuple[Products, np.ndarray, SmallBlocks]:
        """The same, cached for repeated calls with a few sessions, because it copies the vectors."""
        return *self._compared(), SmallBlocks()

    def _similarities(self, sessions: Any, products: Products, norms: np.ndarray) -> np.ndarray:
        """float32[n_sessions, n_items]; −inf for a session whose vector is 0."""
        session_norms = _squared_norms(sessions)
        if self.settings.similarity == "cosine":
            scores = products(_scaled_rows(sessions, _inverse_root(session_norms)))
        elif self.settings.similarity == "dot":
            scores = products(sessions)
        else:  # −√(‖s‖² − 2 s·v + ‖v‖²)
            scores = products(-2 * sessions)
            scores += norms
            scores += session_norms[:, None]
            np.maximum(scores, 0, out=scores)
            np.sqrt(scores, out=scores)
            np.negative(scores, out=scores)
        scores[session_norms == 0] = -np.inf
        return scores

    def item_space(self) -> ItemSpace | None:
        if not isinstance(self.vectors, np.ndarray):
            return None
        vectors, pooling = self.vectors, self.settings.pooling
        return ItemSpace(vectors, self.candidates, self.settings.similarity, lambda one: pool(one, vectors, pooling))

    def arrays(self) -> dict[str, np.ndarray]:
        if isinstance(self.vectors, np.ndarray):
            index = {} if self.index is None else {"index": self.index.to_array()}
            return {"vectors": self.vectors, "candidates": self.candidates} | index
        return {
            "data": self.vectors.data,
            "indices": self.vectors.indices,
            "indptr": self.vectors.indptr,
            "shape": np.array(self.vectors.shape),
            "candidates": self.candidates,
        }

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.candidates = saved_arrays.mask(arrays, "candidates", self.n_items)
        self.vectors = saved_arrays.vectors(arrays, self.n_items)
        self.__dict__.pop("_comparing", None)
        if "index" in arrays:
            self.index = NearestIndex.from_array(arrays["index"], self.vectors)
        elif self.settings.index == "hnsw" and isinstance(self.vectors, np.ndarray):
            self.index = self._make_index(SilentProgress())


def recall(found: Ranking, exact: Ranking) -> float:
    """Mean share of the exact lists' items that were found; 1 if there is nothing to find."""
    keys = [(np.arange(len(lists))[:, None] * 2**32 + lists.items)[lists.items != NO_ITEM] for lists in (found, exact)]
    return float(np.isin(keys[1], keys[0]).mean()) if len(keys[1]) else 1.0


def _squared_norms(vectors: Any) -> np.ndarray:
    if isinstance(vectors, np.ndarray):
        squares: np.ndarray = np.einsum("ij,ij->i", vectors, vectors)
        return squares
    return np.asarray(vectors.multiply(vectors).sum(axis=1), dtype=np.float32).ravel()


def _inverse_root(squares: np.ndarray) -> np.ndarray:
    """1/√x, 0 if x is 0."""
    inverse: np.ndarray = np.divide(1, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    return inverse


def _scaled_rows(vectors: Any, factors: np.ndarray) -> Any:
    if isinstance(vectors, np.ndarray):
        return vectors * factors[:, None]
    from scipy.sparse import csr_array

    data = vectors.data * np.repeat(factors, np.diff(vectors.indptr))
    return csr_array((data, vectors.indices, vectors.indptr), shape=vectors.shape)
