"""Base models whose lists are written down, to be blended and merged by hand in tests."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.top_k import top_k
from llmseq_cli.models.llmseqsim import LLMSeqSim, LLMSeqSimSettings
from llmseq_cli.models.recommender import BaseRun, FitContext, Recommender
from llmseq_cli.settings import Settings

MISSING = -np.inf


class OnPaper(Recommender):
    """Scores every history alike, or by its last item."""

    name = "on-paper"
    title = "OnPaper"
    summary = "what is written down"
    Settings = Settings

    def __init__(self, scores) -> None:
        table = np.asarray(scores, dtype=np.float32)
        super().__init__(Settings(), table.shape[-1])
        self.table = table

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        return {}

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        last = (
            histories.items[histories.offsets[1:] - 1] if len(histories.items) else np.zeros(len(histories), dtype=int)
        )
        scores = self.table[last] if self.table.ndim == 2 else np.tile(self.table, (len(histories), 1))
        return top_k(scores.copy(), k, exclude=histories if exclude_history else None)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"table": self.table}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.table = arrays["table"]


def base_model(run: str, model: Recommender) -> BaseRun:
    """A base model that is the same however few sessions it is trained on."""
    return BaseRun(run, model, lambda train, histories, k: model.recommend(histories, k, exclude_history=False))


def on_paper(run: str, scores) -> BaseRun:
    return base_model(run, OnPaper(scores))


def llmseqsim(run: str, vectors, train: Sessions, similarity: str = "cosine") -> BaseRun:
    n_items = vectors.shape[0]
    model = LLMSeqSim(LLMSeqSimSettings(similarity=similarity), n_items)
    model.fit(train, FitContext(catalog(n_items), ItemEmbeddings(vectors, "test", "test", "{title}")))
    return base_model(run, model)


def catalog(n_items: int) -> Catalog:
    names = np.array([f"i{item}" for item in range(n_items)], dtype=object)
    ones = np.ones(n_items, dtype=np.int64)
    return Catalog(names, names, np.full(n_items, "", dtype=object), ones, ones > 0)


def context(*base_models: BaseRun) -> FitContext:
    return FitContext(catalog(base_models[0].model.n_items if base_models else 1), base_models=base_models)
