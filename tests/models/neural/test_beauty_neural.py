"""A short training on real Beauty: not converged, but far above what an untrained or broken network reaches."""

import numpy as np
import pytest
from support.beauty_split import load_beauty, measure, needs_beauty

from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.lexical import LexicalSettings, embed_texts
from llmseq_cli.embeddings.reduce import reduce
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.registry import model_class

_LATEST = 6_000  # of the training sessions


@needs_beauty
@pytest.mark.beauty
def test_sasrec_from_whitened_lexical_vectors():
    data = load_beauty()
    titles = list(data.catalog.titles)
    sparse = ItemEmbeddings(embed_texts(titles, LexicalSettings()), "lexical", "tfidf", "{title}")
    dense = reduce(sparse, data.catalog.classes, "whiten", 64)
    train = data.train.slice(len(data.train) - _LATEST, len(data.train))
    cls = model_class("sasrec")
    model = cls(cls.Settings(epochs=2, patience=0, learning_rate=0.008), len(titles))
    figures = model.fit(train, FitContext(data.catalog, dense))
    assert figures["trained_positions"] == 2 * np.clip(train.lengths - 1, 0, 20).sum()
    found = measure(data, model.recommend(data.test.histories(), 20))
    assert found["ndcg"] > 0.03
    assert found["hr"] > 0.07
