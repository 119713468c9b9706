"""LLMSeqSim: recommend what is nearest to the session in the space of item embeddings.

Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339), Section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.pooling import POOLINGS, pool
from llmseq_cli.embeddings.products import Products, item_products
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.top_k import rank_in_blocks
from llmseq_cli.models.base import FitContext, Recommender
from llmseq_cli.settings import Settings, setting

SIMILARITIES = ("cosine", "dot", "euclidean")


@dataclass(frozen=True)
class LLMSeqSimSettings(Settings):
    pooling: str = setting("harmonic", "how items become a session vector", choices=POOLINGS, tune=POOLINGS)
    similarity: str = setting("cosine", "of session and item vectors", choices=SIMILARITIES, tune=SIMILARITIES)
    unseen: bool = setting(False, "recommend items that training has not seen, too, by their text")


class LLMSeqSim(Recommender):
    """Scores are the similarities of the session's vector to the vectors of the items; nothing is trained.

    cosine: s·v / (‖s‖ ‖v‖); dot: s·v; euclidean: −‖s − v‖. Items without a vector are never recommended, a session
    without one gets no recommendations. Items that never occur in training are recommended with `unseen` alone.
    """

    name = "llmseqsim"
    title = "LLMSeqSim"
    summary = "items whose text is most like the session's"
    Settings = LLMSeqSimSettings
    embeddings_use = "required"

    vectors: Any
    candidates: np.ndarray

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        if context.embeddings is None:
            raise UsageError(
                "llmseqsim needs item embeddings",
                "make some with `llmseq embed --source lexical`, then say --embeddings lexical",
            )
        self.vectors = context.embeddings.vectors.astype(np.float32, copy=False)
        self.candidates = _squared_norms(self.vectors) > 0
        if not self.settings.unseen:
            self.candidates &= train.counts(self.n_items) > 0
        return {}

    def recommend(self, prompts: Sessions, k: int, *, exclude_prompt: bool = True) -> Ranking:
        norms = _squared_norms(self.vectors)
        products = item_products(self.vectors, _inverse_root(norms) if self.settings.similarity == "cosine" else None)

        def score(block: Sessions) -> np.ndarray:
            return self._similarities(pool(block, self.vectors, self.settings.pooling), products, norms)

        return rank_in_blocks(
            prompts, score, k, self.n_items, exclude_prompt=exclude_prompt, candidates=self.candidates
        )

    def _similarities(self, sessions: Any, products: Products, norms: np.ndarray) -> np.ndarray:
        """float32[n_sessions, n_items]; a session whose vector is 0 is similar to nothing (−inf)."""
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

    def arrays(self) -> dict[str, np.ndarray]:
        if isinstance(self.vectors, np.ndarray):
            return {"vectors": self.vectors, "candidates": self.candidates}
        return {
            "data": self.vectors.data,
            "indices": self.vectors.indices,
            "indptr": self.vectors.indptr,
            "shape": np.array(self.vectors.shape),
            "candidates": self.candidates,
        }

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.candidates = arrays["candidates"]
        if "vectors" in arrays:
            self.vectors = arrays["vectors"]
            return
        from scipy.sparse import csr_array

        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        self.vectors = csr_array(parts, shape=tuple(arrays["shape"].tolist()))


def _squared_norms(vectors: Any) -> np.ndarray:
    if isinstance(vectors, np.ndarray):
        return np.einsum("ij,ij->i", vectors, vectors)
    return np.asarray(vectors.multiply(vectors).sum(axis=1), dtype=np.float32).ravel()


def _inverse_root(squares: np.ndarray) -> np.ndarray:
    """1/√x, 0 where x is 0."""
    return np.divide(1, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)


def _scaled_rows(vectors: Any, factors: np.ndarray) -> Any:
    if isinstance(vectors, np.ndarray):
        return vectors * factors[:, None]
    from scipy.sparse import csr_array

    data = vectors.data * np.repeat(factors, np.diff(vectors.indptr))
    return csr_array((data, vectors.indices, vectors.indptr), shape=vectors.shape)
