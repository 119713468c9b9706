"""LLMSeqSim&Popularity: LLMSeqSim without unpopular items and, optionally, without items that are too similar.

Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339), Section 6.2.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.models.base_models import (
    BaseModelsSettings,
    MadeOfRuns,
    first_kept,
    item_counts,
    popularity_cutoff,
    popularity_setting,
)
from llmseq_cli.models.llmseqsim import LLMSeqSim
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.saved_arrays import array
from llmseq_cli.settings import setting

MOST_COMPARED = 1000
"""Most items of a list to examine for a diverse list."""

_FIRST_LOOK = 2  # first examine this many times the list's length
_BLOCK_NUMBERS = 2**20  # numbers per block of sessions: 4 MiB, which fits the cache


@dataclass(frozen=True)
class HybridPopularitySettings(BaseModelsSettings):
    """The paper's cut-off is 0.5; on the latest training sessions of Amazon Beauty, accuracy falls with every step
    up."""

    cutoff: float = setting(
        0.1, "quantile of item popularity below which items are not recommended", low=0, high=1, tune=(0.0, 1.0)
    )
    popularity: str = popularity_setting()
    filter_first: int | None = setting(
        None,
        "filter only the first items of a list and drop the rest (the paper: 100); none: filter the whole catalog",
        low=1,
        high=100_000,
    )
    filter_keep: int = setting(
        20, "with filter_first: least items to keep in a list, including unpopular ones if necessary", low=0
    )
    diversity: float | None = setting(
        None, "largest cosine between two items' vectors in a list; none: no limit", low=-1, high=1, tune=(0.3, 1.0)
    )


class HybridPopularity(MadeOfRuns):
    """The list of an LLMSeqSim run without items below the popularity cut-off.

    With `diversity`, an item is also left out if its vector is more similar than that to an item above it; lists are
    filled from the best 1,000 items.
    """

    name = "hybrid-popularity"
    title = "LLMSeqSim&Popularity"
    summary = "LLMSeqSim without unpopular or too similar items"
    Settings = HybridPopularitySettings
    fewest = most = 1
    first_models = ("llmseqsim",)

    settings: HybridPopularitySettings
    counts: np.ndarray

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        self.take_base_models(context)
        if self.settings.filter_first and self.settings.diversity is not None:
            raise UsageError("filter_first and diversity do not go together", "leave one of them out")
        self.counts = item_counts(self.settings.popularity, train, self.n_items, context)
        return {"popularity_cutoff": popularity_cutoff(self.counts, self.settings.cutoff)}

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        if self.settings.filter_first:
            return self._first_filtered(self.settings.filter_first, histories, k, exclude_history)
        base_model = self._popular_only()
        if self.settings.diversity is None:
            return base_model.recommend(histories, k, exclude_history=exclude_history)
        most = min(self.n_items, MOST_COMPARED)
        depth = min(most, _FIRST_LOOK * k)
        diverse = self._diverse(base_model, histories, depth, k, exclude_history)
        short = np.flatnonzero(diverse.items[:, -1] == NO_ITEM) if k else np.empty(0, dtype=np.int64)
        if len(short) and depth < most:
            deeper = self._diverse(base_model, histories.take(short), most, k, exclude_history)
            diverse.items[short], diverse.scores[short] = deeper.items, deeper.scores
        return diverse

    def _first_filtered(self, first: int, histories: Sessions, k: int, exclude_history: bool) -> Ranking:
        """The first items of every list without unpopular ones, which are removed from the top as long as enough items
        remain."""
        [base_model] = self.base_models
        ranking = base_model.recommend(histories, first, exclude_history=exclude_history)
        there = ranking.items != NO_ITEM
        unpopular = there & (self.counts[ranking.items] < popularity_cutoff(self.counts, self.settings.cutoff))
        removable = (there.sum(axis=1) - self.settings.filter_keep)[:, None]
        return first_kept(ranking, there & ~(unpopular & (unpopular.cumsum(axis=1) <= removable)), k)

    def _popular_only(self) -> LLMSeqSim:
        [base_model] = self.base_models
        assert isinstance(base_model, LLMSeqSim)
        popular_only = copy.copy(base_model)
        popular = self.counts >= popularity_cutoff(self.counts, self.settings.cutoff)
        popular_only.candidates = base_model.candidates & popular
        return popular_only

    def _diverse(
        self, base_model: LLMSeqSim, histories: Sessions, depth: int, k: int, exclude_history: bool
    ) -> Ranking:
        """The first k of the best `depth` items of every history that are not too similar to an earlier one."""
        ranking = base_model.recommend(histories, depth, exclude_history=exclude_history)
        width = depth * max(depth, base_model.vectors.shape[1] if isinstance(base_model.vectors, np.ndarray) else 0)
        size = max(1, _BLOCK_NUMBERS // max(width, 1))
        starts = range(0, max(len(histories), 1), size)
        most_alike = 1.0 if self.settings.diversity is None else self.settings.diversity
        kept = [_dissimilar(ranking.items[start : start + size], base_model.vectors, most_alike) for start in starts]
        return first_kept(ranking, np.concatenate(kept), k)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.counts = array(arrays, "counts", "if", (self.n_items,), low=0)


def _dissimilar(items: np.ndarray, vectors: Any, most: float) -> np.ndarray:
    """bool[n, depth]: which items of every list have a similarity of at most `most` to those kept before them.

    items: int32[n, depth]. Missing items are not kept.
    """
    too_similar = _cosines(items, vectors) > most
    kept: np.ndarray = items != NO_ITEM
    for place in range(1, items.shape[1]):
        kept[:, place] &= ~(kept[:, :place] & too_similar[:, place, :place]).any(axis=1)
    return kept


def _cosines(items: np.ndarray, vectors: Any) -> np.ndarray:
    """float32[n, depth, depth]: cosines of the vectors of every list's items."""
    n, depth = items.shape
    if isinstance(vectors, np.ndarray):
        of_lists = vectors[items]
        norms = np.sqrt(np.einsum("ndj,ndj->nd", of_lists, of_lists))[:, :, None]
        of_lists = np.divide(of_lists, norms, out=np.zeros_like(of_lists), where=norms > 0)
        cosines: np.ndarray = of_lists @ of_lists.transpose(0, 2, 1)
        return cosines
    from scipy.sparse import csr_array

    # One product for all lists: every list gets its own columns, so lists do not mix.
    rows = vectors[items.ravel()]
    lengths = np.diff(rows.indptr)
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    scale = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    row_of = np.repeat(np.arange(n * depth), lengths)
    columns = (row_of // depth) * np.int64(vectors.shape[1]) + rows.indices
    apart = csr_array((rows.data * scale[row_of], columns, rows.indptr), shape=(n * depth, n * vectors.shape[1]))
    products = (apart @ apart.T).tocoo()
    cosines = np.zeros((n, depth, depth), dtype=np.float32)
    cosines[products.row // depth, products.row % depth, products.col % depth] = products.data
    return cosines
