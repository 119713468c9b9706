from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_array
from support.beauty_split import load_beauty, measure, needs_beauty
from support.similarity_samples import N_ITEMS, as_kind, catalog, some_prompts, some_vectors

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings import products
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.lexical import LexicalSettings, embed_texts
from llmseq_cli.embeddings.pooling import POOLINGS, pool
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.top_k import without_noise
from llmseq_cli.models.llmseqsim import SIMILARITIES, LLMSeqSim, LLMSeqSimSettings
from llmseq_cli.models.recommender import FitContext, Recommender


def fitted(vectors, train: Sessions | None = None, **settings) -> LLMSeqSim:
    n = vectors.shape[0]
    model = LLMSeqSim(LLMSeqSimSettings(**settings), n)
    train = train if train is not None else Sessions.from_lists([list(range(n))])
    assert model.fit(train, FitContext(catalog(n), ItemEmbeddings(vectors, "test", "test", "{title}"))) == {}
    return model


def naive_lists(model: LLMSeqSim, vectors: np.ndarray, histories: Sessions, k: int, exclude: bool) -> list[list[int]]:
    pooled = pool(histories, vectors.astype(np.float64), model.settings.pooling)
    lists = []
    for p, session in enumerate(pooled):
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = {
                "cosine": vectors @ session / (norms * np.linalg.norm(session)),
                "dot": vectors @ session,
                "euclidean": -np.linalg.norm(vectors - session, axis=1),
            }[model.settings.similarity]
        rounded = without_noise(scores.astype(np.float32))
        allowed = [item for item in range(len(vectors)) if norms[item] and not (exclude and item in histories[p])]
        best = sorted(allowed, key=lambda item: (-rounded[item], item))[:k] if session.any() else []
        lists.append(best + [-1] * (k - len(best)))
    return lists


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("exclude", [True, False])
def test_equals_a_plain_loop(similarity, sparse, exclude):
    model = fitted(as_kind(some_vectors(), sparse), similarity=similarity)
    ranking = model.recommend(some_prompts(), 10, exclude_history=exclude)
    expected = np.array(naive_lists(model, some_vectors(), some_prompts(), 10, exclude))
    # Scores that lie at the edge of a rounding step may fall to either side.
    assert (ranking.items == expected).all(axis=1).mean() > 0.98
    assert (ranking.items == expected).mean() > 0.998


def test_similarities_by_hand():
    vectors = np.array([[1, 0], [0, 3], [2, 2], [4, 0]], dtype=np.float32)
    history = Sessions.from_lists([[0]])
    cosine = fitted(vectors).recommend(history, 3)
    assert cosine.items.tolist() == [[3, 2, 1]]
    assert cosine.scores[0].tolist() == pytest.approx([1, np.sqrt(0.5), 0], rel=1e-5)
    dot = fitted(vectors, similarity="dot").recommend(history, 3)
    assert dot.items.tolist() == [[3, 2, 1]]
    assert dot.scores[0].tolist() == pytest.approx([4, 2, 0], rel=1e-5)
    euclidean = fitted(vectors, similarity="euclidean").recommend(history, 3)
    assert euclidean.items.tolist() == [[2, 3, 1]]
    assert euclidean.scores[0].tolist() == pytest.approx([-np.sqrt(5), -3, -np.sqrt(10)], rel=1e-5)


@pytest.mark.parametrize("sparse", [False, True])
def test_planted_pattern_is_found(sparse):
    random = np.random.default_rng(1)
    centres = np.eye(10, dtype=np.float32)
    vectors = np.repeat(centres, 30, axis=0) + random.uniform(0, 0.1, size=(300, 10)).astype(np.float32)
    sessions = [random.permutation(np.arange(30) + 30 * group)[:6] for group in random.integers(0, 10, size=100)]
    ranking = fitted(as_kind(vectors, sparse)).recommend(Sessions.from_lists(sessions), 20)
    assert all((row // 30 == session[0] // 30).all() for row, session in zip(ranking.items, sessions, strict=True))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_lists_do_not_depend_on_the_batch(pooling, sparse):
    model = fitted(as_kind(some_vectors(), sparse), pooling=pooling)
    whole = model.recommend(some_prompts(), 10)
    for size in (1, 7, 64):
        parts = [model.recommend(some_prompts().slice(s, min(s + size, 40)), 10) for s in range(0, 40, size)]
        together = Ranking.concatenate(parts)
        assert np.array_equal(together.items, whole.items[:40])
        # BLAS adds up in an order that depends on a row's place: a score may fall to the other side of a rounding step.
        np.testing.assert_allclose(together.scores, whole.scores[:40], rtol=2**-17)


def test_sparse_products_do_not_depend_on_threads_or_the_width_of_the_buffer(monkeypatch):
    random = np.random.default_rng(3)
    vectors = csr_array((random.random((5000, 90)) * (random.random((5000, 90)) < 0.2)).astype(np.float32))
    histories = Sessions.from_lists([random.integers(0, 5000, size=5) for _ in range(300)])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = fitted(vectors).recommend(histories, 20)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(products, "_MOST_COLUMNS", 13)
    shared = fitted(vectors).recommend(histories, 20)
    assert np.array_equal(alone.items, shared.items)
    assert np.array_equal(alone.scores, shared.scores)


@pytest.mark.parametrize("sparse", [False, True])
def test_items_with_the_same_vector_are_listed_by_id(sparse):
    vectors = np.tile(some_vectors()[:100], (3, 1))
    ranking = fitted(as_kind(vectors, sparse)).recommend(Sessions.from_lists([[p] for p in range(6, 90)]), 3)
    for p, row in zip(range(6, 90), ranking.items.tolist(), strict=True):
        assert row[:2] == [p + 100, p + 200]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_items_without_a_vector_and_unseen_items_are_not_recommended(similarity, sparse):
    train = Sessions.from_lists([[0, 1, 2, 3, 4, 5, 6, 7]])
    model = fitted(as_kind(some_vectors(), sparse), train, similarity=similarity)
    ranking = model.recommend(Sessions.from_lists([[0], [299], [5], []]), 10)
    assert sorted(ranking.items[0].tolist()) == [-1, -1, -1, -1, 1, 2, 3, 4, 6, 7]
    # An unseen item may stand in a history; a history without any vector gets no list.
    assert sorted(ranking.items[1].tolist()) == [-1, -1, -1, 0, 1, 2, 3, 4, 6, 7]
    assert ranking.items[2:].tolist() == [[-1] * 10] * 2
    assert np.isneginf(ranking.scores[2:]).all()


@pytest.mark.parametrize("sparse", [False, True])
def test_no_prompts(sparse):
    ranking = fitted(as_kind(some_vectors(), sparse)).recommend(Sessions.from_lists([]), 4)
    assert ranking.items.shape == ranking.scores.shape == (0, 4)


@pytest.mark.parametrize("sparse", [False, True])
def test_saved_and_loaded(tmp_path, sparse):
    train = Sessions.from_lists([list(range(0, N_ITEMS, 2))])
    model = fitted(as_kind(some_vectors(), sparse), train, pooling="log", similarity="euclidean")
    model.save(tmp_path)
    loaded: Recommender = LLMSeqSim.load(tmp_path)
    assert loaded.settings == model.settings
    before, after = model.recommend(some_prompts(), 7), loaded.recommend(some_prompts(), 7)
    assert np.array_equal(before.items, after.items)
    assert np.array_equal(before.scores, after.scores)


def test_vectors_of_double_precision_are_taken():
    ranking = fitted(some_vectors().astype(np.float64)).recommend(some_prompts(), 5)
    assert np.array_equal(ranking.items, fitted(some_vectors()).recommend(some_prompts(), 5).items)


def test_without_embeddings():
    model = LLMSeqSim(LLMSeqSimSettings(), 3)
    with pytest.raises(UsageError, match="needs item embeddings") as error:
        model.fit(Sessions.from_lists([[0, 1]]), FitContext(catalog(3)))
    assert "--embeddings lexical" in error.value.hint


def test_settings_are_checked():
    with pytest.raises(UsageError, match="similarity"):
        LLMSeqSimSettings(similarity="cosin")
    with pytest.raises(UsageError, match="pooling"):
        LLMSeqSimSettings(pooling="median")


@cache
def beauty_vectors(dimensions: int | None):
    return embed_texts(list(load_beauty().catalog.titles), LexicalSettings(), dimensions)


@cache
def beauty_model(dimensions: int | None) -> LLMSeqSim:
    return fitted(beauty_vectors(dimensions), load_beauty().train)


def beauty_lists(dimensions: int | None, histories: Sessions | None = None) -> Ranking:
    return beauty_model(dimensions).recommend(load_beauty().test.histories() if histories is None else histories, 20)


@needs_beauty
@pytest.mark.beauty
def test_beauty_figures():
    figures = measure(load_beauty(), beauty_lists(None))
    assert figures["ndcg"] == pytest.approx(0.0608, abs=0.0003)
    assert figures["hr"] == pytest.approx(0.1152, abs=0.0006)


@needs_beauty
@pytest.mark.beauty
@pytest.mark.parametrize("dimensions", [None, 64])
def test_beauty_lists_do_not_depend_on_batch_or_threads(dimensions, monkeypatch):
    from threadpoolctl import threadpool_limits

    histories = load_beauty().test.histories()
    whole = beauty_lists(dimensions, histories)
    for size, n in ((1, 20), (7, 70), (64, 600)):
        parts = [beauty_lists(dimensions, histories.slice(s, min(s + size, n))) for s in range(0, n, size)]
        assert np.array_equal(Ranking.concatenate(parts).items, whole.items[:n])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with threadpool_limits(1):
        again = fitted(beauty_vectors(dimensions), load_beauty().train)
        assert np.array_equal(again.recommend(histories, 20).items, whole.items)
