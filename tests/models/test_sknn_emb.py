from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_array
from support.beauty_split import load_beauty, measure, needs_beauty
from support.similarity_samples import N_ITEMS, as_kind, catalog, some_prompts, some_vectors

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.lexical import LexicalSettings, embed_texts
from llmseq_cli.embeddings.pooling import pool
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.top_k import without_noise
from llmseq_cli.models import sknn_emb
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.registry import model_class
from llmseq_cli.models.sknn_emb import SIMILARITIES, SKNNEmb, SKNNEmbSettings


def fitted(vectors, train: Sessions, seed: int = 0, **settings) -> SKNNEmb:
    n = vectors.shape[0]
    model = SKNNEmb(SKNNEmbSettings(**settings), n)
    embeddings = ItemEmbeddings(vectors, "test", "test", "{title}")
    assert model.fit(train, FitContext(catalog(n), embeddings, seed)) == {}
    return model


@cache
def some_sessions() -> Sessions:
    """Sessions of up to 6 of the first 250 items, some of which have the same items as others."""
    random = np.random.default_rng(4)
    lists = [random.integers(0, 250, size=random.integers(1, 7)) for _ in range(200)]
    return Sessions.from_lists([*lists, *lists[:40]])


def naive_lists(model: SKNNEmb, vectors, train: Sessions, histories: Sessions, k: int, exclude: bool):
    """Equation 2 in plain loops; sessions that are sampled must be the most recent ones."""
    own, exact = model.settings, vectors.astype(np.float64)
    sessions, wanted = pool(train, exact, own.training_pooling), pool(histories, exact, own.history_pooling)
    counts = np.bincount(np.concatenate([np.unique(train[s]) for s in range(len(train))]))
    lists = []
    for p, e in enumerate(wanted):
        candidates = list(range(len(train)))[::-1]
        if own.sample_size != "all":
            candidates = [s for s in candidates if set(train[s]) & set(histories[p])][: own.sample_size]
        similar = {
            s: float(without_noise(np.float32([similarity(own.similarity, sessions[s], e)]))[0]) for s in candidates
        }
        near = sorted((s for s in candidates if similar[s] > 0), key=lambda s: (-similar[s], -s))[: own.k]
        scores: dict[int, float] = {}
        for s in near:
            for item in set(train[s].tolist()):
                idf = 1 + np.log(len(train) / counts[item]) if own.idf else 1
                scores[item] = scores.get(item, 0) + similar[s] ** own.power * idf
        allowed = [item for item in scores if not (exclude and item in histories[p])]
        best = sorted(allowed, key=lambda item: (-np.float32(scores[item]), item))[:k]
        lists.append(best + [-1] * (k - len(best)))
    return np.array(lists)


def similarity(name: str, a: np.ndarray, b: np.ndarray) -> float:
    if not (a.any() and b.any()):
        return -np.inf
    if name == "euclidean":
        return 1 / (1 + np.linalg.norm(a - b))
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b) if name == "cosine" else 1)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("settings", [{"k": 7}, {"k": 500, "power": 1, "idf": False}, {"k": 4, "sample_size": 6}])
def test_equals_plain_loops(similarity, sparse, settings):
    train, histories = some_sessions(), some_prompts().slice(0, 60)
    model = fitted(as_kind(some_vectors(), sparse), train, similarity=similarity, **settings)
    for exclude in (True, False):
        expected = naive_lists(model, some_vectors(), train, histories, 10, exclude)
        found = model.recommend(histories, 10, exclude_history=exclude).items
        # Similarities that lie at the edge of a rounding step may fall to either side.
        assert (found == expected).all(axis=1).mean() > 0.95
        assert (found == expected).mean() > 0.98


def test_by_hand():
    vectors = np.array([[1, 0], [0, 1], [3, 4], [-1, 0], [0, 0]], dtype=np.float32)
    train = Sessions.from_lists([[0, 1], [2], [3], [4]])
    model = fitted(vectors, train, power=2.0, idf=False, k=10)
    near = model.neighbors(Sessions.from_lists([[0]]), 4)
    # The session that points away comes last, the one without a vector not at all.
    assert near.scores[0, :3].tolist() == pytest.approx([np.sqrt(0.5), 0.6, -1], rel=1e-5)
    ranking = model.recommend(Sessions.from_lists([[0]]), 3)
    assert ranking.items.tolist() == [[1, 2, -1]]
    assert ranking.scores[0, :2].tolist() == pytest.approx([0.5, 0.36], rel=1e-4)


def test_idf_divides_the_vote_by_how_common_an_item_is():
    train = Sessions.from_lists([[0, 1], [0, 2], [0, 2]])
    vectors = np.ones((4, 2), dtype=np.float32)
    ranking = fitted(vectors, train, idf=True, power=0.0, k=3).recommend(Sessions.from_lists([[3]]), 3)
    assert dict(zip(ranking.items[0].tolist(), ranking.scores[0].tolist(), strict=True)) == pytest.approx(
        {0: 3.0, 2: 2 * (1 + np.log(1.5)), 1: 1 + np.log(3)}, rel=1e-6
    )


def test_of_equally_similar_sessions_the_more_recent_is_nearer():
    vectors = np.ones((6, 3), dtype=np.float32)
    train = Sessions.from_lengths(np.array([0, 1, 2, 3]), np.ones(4, dtype=int), np.array([5, 9, 1, 7]))
    ranking = fitted(vectors, train, k=2).recommend(Sessions.from_lists([[5]]), 3)
    assert sorted(ranking.items[0].tolist()) == [-1, 1, 3]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("size", ["all", 5])
def test_lists_do_not_depend_on_the_prompts_they_are_made_with(sparse, size, monkeypatch):
    model = fitted(as_kind(some_vectors(), sparse), some_sessions(), k=9, sample_size=size)
    whole = model.recommend(some_prompts(), 10)
    monkeypatch.setattr(sknn_emb, "_BLOCK_ENTRIES", 500)
    for step in (1, 7, 64):
        parts = [model.recommend(some_prompts().slice(s, min(s + step, 60)), 10) for s in range(0, 60, step)]
        together = Ranking.concatenate(parts)
        assert np.array_equal(together.items, whole.items[:60])
        np.testing.assert_allclose(together.scores, whole.scores[:60], rtol=2**-17)  # a rounding step


def test_random_sampling_is_of_the_seed_and_survives_saving(tmp_path):
    train, sizes = some_sessions(), {"sample_size": 1, "sampling": "random"}
    model = fitted(some_vectors(), train, **sizes)
    again, other = fitted(some_vectors(), train, **sizes), fitted(some_vectors(), train, seed=1, **sizes)
    lists = model.recommend(some_prompts(), 5).items
    assert np.array_equal(again.recommend(some_prompts(), 5).items, lists)
    assert not np.array_equal(other.recommend(some_prompts(), 5).items, lists)
    model.save(tmp_path)
    assert np.array_equal(SKNNEmb.load(tmp_path).recommend(some_prompts(), 5).items, lists)


@pytest.mark.parametrize("sparse", [False, True])
def test_saved_and_loaded(tmp_path, sparse):
    model = fitted(as_kind(some_vectors(), sparse), some_sessions(), training_pooling="log", similarity="dot", k=8)
    model.save(tmp_path)
    loaded = SKNNEmb.load(tmp_path)
    assert loaded.settings == model.settings
    before, after = model.recommend(some_prompts(), 7), loaded.recommend(some_prompts(), 7)
    assert np.array_equal(before.items, after.items)
    assert np.array_equal(before.scores, after.scores)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_prompts_without_a_vector_and_items_nobody_bought(similarity, sparse):
    model = fitted(as_kind(some_vectors(), sparse), some_sessions(), similarity=similarity)
    ranking = model.recommend(Sessions.from_lists([[5], [], [299]]), N_ITEMS)
    assert (ranking.items[:2] == -1).all()
    assert np.isneginf(ranking.scores[:2]).all()
    bought = set(some_sessions().items.tolist())
    # Item 299 is in no session, but its text is like that of some.
    assert {item for item in ranking.items[2].tolist() if item >= 0} <= bought
    assert (ranking.items[2] >= 0).any()


@pytest.mark.parametrize("sparse", [False, True])
def test_no_prompts(sparse):
    ranking = fitted(as_kind(some_vectors(), sparse), some_sessions()).recommend(Sessions.from_lists([]), 4)
    assert ranking.items.shape == ranking.scores.shape == (0, 4)


def test_without_embeddings_and_settings_are_checked():
    assert model_class("sknn-emb") is SKNNEmb
    with pytest.raises(UsageError, match="needs item embeddings"):
        SKNNEmb(SKNNEmbSettings(), 3).fit(Sessions.from_lists([[0, 1]]), FitContext(catalog(3)))
    with pytest.raises(UsageError, match="sample_size"):
        SKNNEmbSettings(sample_size="some")
    with pytest.raises(UsageError, match="training_pooling"):
        SKNNEmbSettings(training_pooling="median")


@cache
@cache
def beauty_model() -> SKNNEmb:
    data = load_beauty()
    return fitted(embed_texts(list(data.catalog.titles), LexicalSettings()), data.train)


@needs_beauty
@pytest.mark.beauty
def test_beauty_figures():
    figures = measure(load_beauty(), beauty_model().recommend(load_beauty().test.histories(), 20))
    assert figures["ndcg"] == pytest.approx(0.0474, abs=0.0003)
    assert figures["hr"] == pytest.approx(0.0994, abs=0.0006)


@needs_beauty
@pytest.mark.beauty
def test_beauty_lists_do_not_depend_on_batch_or_threads(monkeypatch):
    histories = load_beauty().test.histories().slice(0, 300)
    whole = beauty_model().recommend(histories, 20)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    parts = [beauty_model().recommend(histories.slice(s, min(s + 37, 300)), 20) for s in range(0, 300, 37)]
    assert np.array_equal(Ranking.concatenate(parts).items, whole.items)


def test_sparse_and_dense_agree():
    dense = fitted(some_vectors(), some_sessions(), k=5).neighbors(some_prompts(), 5)
    sparse = fitted(csr_array(some_vectors()), some_sessions(), k=5).neighbors(some_prompts(), 5)
    assert (dense.items == sparse.items).mean() > 0.99
