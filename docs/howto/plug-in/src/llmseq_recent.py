"""A model and an embedding source for llmseq: a starting point for your own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.sources.registry import SourceOptions
from llmseq_cli.embeddings.sources.source import EmbeddingSource, Limits, VectorAnswer
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.top_k import rank_in_blocks
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.saved_arrays import array
from llmseq_cli.settings import Settings, setting


@dataclass(frozen=True)
class RecentSettings(Settings):
    sessions: int = setting(500, "how many of the latest training sessions are counted", low=1, tune=(50, 5000))


class Recent(Recommender):
    """What was clicked most in the latest sessions; of equally many clicks the lower item id comes first."""

    name = "recent"
    title = "Recent"
    summary = "the most popular items of the latest sessions"
    Settings = RecentSettings

    settings: RecentSettings
    scores: np.ndarray

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        """Items of earlier sessions score below 1, so that lists are full."""
        latest = np.argsort(train.ids, kind="stable")[-self.settings.sessions :]
        counts = train.take(latest).counts(self.n_items) + train.counts(self.n_items) / (1 + len(train.items))
        self.scores = counts.astype(np.float32)
        return {}

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        def score(block: Sessions) -> np.ndarray:
            return np.tile(self.scores, (len(block), 1))

        known = self.scores > 0
        return rank_in_blocks(histories, score, k, self.n_items, exclude_history=exclude_history, candidates=known)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"scores": self.scores}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.scores = array(arrays, "scores", "f", (self.n_items,), low=0)


class Letters(EmbeddingSource):
    """How often each letter occurs in a text."""

    name = "letters"
    remote = False
    model = "a-z"
    dimensions = None
    limits = Limits(texts_per_request=1000)

    def __init__(self, options: SourceOptions) -> None:
        """options: what the user says with --model, --dimensions and --set; this source needs none of it."""

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        return np.array([len(text) for text in texts], dtype=np.int64)

    def cut(self, text: str, tokens: int) -> str:
        return text[:tokens]

    def embed(self, texts: list[str]) -> VectorAnswer:
        counts = [Counter(text.lower()) for text in texts]
        return VectorAnswer(
            np.array([[1 + one[letter] for letter in ascii_lowercase] for one in counts], dtype=np.float32)
        )
