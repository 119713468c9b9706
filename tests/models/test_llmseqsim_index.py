"""LLMSeqSim with an approximate index: most of the nearest items, ranked exactly."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_array
from support.similarity_samples import catalog

from llmseq_cli import EmbedOptions, IngestOptions
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import top_k, top_k_of
from llmseq_cli.models import llmseqsim
from llmseq_cli.models.hybrid_popularity import HybridPopularity, HybridPopularitySettings
from llmseq_cli.models.llmseqsim import SIMILARITIES, LLMSeqSim, LLMSeqSimSettings, recall
from llmseq_cli.models.model_parts import put_together, take_apart
from llmseq_cli.models.recommender import FitContext

needs_usearch = pytest.mark.skipif(importlib.util.find_spec("usearch") is None, reason="usearch is not installed")

N_ITEMS, DIM = 3000, 24


@cache
def vectors() -> np.ndarray:
    """Items in groups; item 5 has no vector, items 9 and 2000 have one vector, lengths differ."""
    random = np.random.default_rng(2)
    made = random.normal(size=(60, DIM))[random.integers(60, size=N_ITEMS)] + random.normal(size=(N_ITEMS, DIM))
    made *= random.uniform(0.2, 90, size=(N_ITEMS, 1))
    made[5] = 0
    made[9] = made[2000]
    return made.astype(np.float32)


@cache
def histories() -> Sessions:
    random = np.random.default_rng(3)
    usual = [random.integers(0, N_ITEMS, size=random.integers(1, 9)) for _ in range(60)]
    return Sessions.from_lists([*usual, [], [5], random.integers(0, N_ITEMS, size=400), [9], [7, 7]])


@cache
def train() -> Sessions:
    """Every item but the last hundred occurs."""
    shuffled = np.random.default_rng(4).permutation(N_ITEMS - 100)
    return Sessions.from_lists([*shuffled.reshape(-1, 5).tolist(), [0]])


def fit(index: str, made=None, **settings) -> tuple[LLMSeqSim, dict[str, float]]:
    given = vectors() if made is None else made
    model = LLMSeqSim(LLMSeqSimSettings(index=index, **settings), given.shape[0])
    context = FitContext(catalog(given.shape[0]), ItemEmbeddings(given, "test", "test", "{title}"))
    return model, model.fit(train(), context)


@cache
def fitted(index: str, similarity: str = "cosine") -> tuple[LLMSeqSim, dict[str, float]]:
    return fit(index, similarity=similarity)


@needs_usearch
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_most_of_the_nearest_are_found_and_ranked_exactly(similarity):
    model, figures = fitted("hnsw", similarity)
    exact = fitted("exact", similarity)[0].recommend(histories(), 20)
    found = model.recommend(histories(), 20)
    assert recall(found, exact) > 0.97
    assert figures["index_recall@20"] > 0.97
    assert figures["index_prompts"] == 500
    for p in range(len(histories())):
        scores = dict(zip(exact.items[p].tolist(), exact.scores[p].tolist(), strict=True))
        both = [(item, score) for item, score in zip(found.items[p], found.scores[p], strict=True) if item in scores]
        # A score at the edge of a rounding step may fall to either side.
        assert [score for _, score in both] == pytest.approx([scores[item] for item, _ in both], rel=2e-5)
        listed = found.items[p] != NO_ITEM
        assert np.lexsort((found.items[p][listed], -found.scores[p][listed])).tolist() == list(range(listed.sum()))


@needs_usearch
def test_what_may_not_be_listed_is_not():
    ranking = fitted("hnsw")[0].recommend(histories(), 20)
    for p, items in enumerate(ranking.items):
        assert not set(items) & {5, *range(N_ITEMS - 100, N_ITEMS), *histories()[p].tolist()}
        assert len(set(items)) == (20 if histories().lengths[p] and histories()[p][0] != 5 else 1)
    assert (ranking.items[60:62] == NO_ITEM).all(), "no vector, no list"
    own = fitted("hnsw")[0].recommend(histories(), 20, exclude_history=False)
    assert own.items[63, :2].tolist() == [9, 2000], "among equal scores the lower id"


@needs_usearch
def test_company_and_blocks_change_no_list(monkeypatch):
    model = fitted("hnsw")[0]
    together = model.recommend(histories(), 10)
    alone = Ranking.concatenate([model.recommend(histories().slice(p, p + 1), 10) for p in range(len(histories()))])
    assert np.array_equal(alone.items, together.items)
    monkeypatch.setattr(llmseqsim, "_BLOCK_NUMBERS", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert np.array_equal(model.recommend(histories(), 10).items, together.items)


@needs_usearch
def test_long_lists_are_compared_with_all():
    long = fitted("hnsw")[0].recommend(histories(), N_ITEMS)
    assert np.array_equal(long.items, fitted("exact")[0].recommend(histories(), N_ITEMS).items)


@needs_usearch
def test_same_vectors_same_index_saved_or_put_together(tmp_path):
    model = fitted("hnsw")[0]
    before = model.recommend(histories(), 10)
    assert np.array_equal(fit("hnsw")[0].index.to_array(), model.index.to_array())
    model.save(tmp_path)
    for other in (LLMSeqSim.load(tmp_path), put_together(take_apart(model))):
        assert other.index is not None
        after = other.recommend(histories(), 10)
        assert np.array_equal(after.items, before.items)
        assert np.array_equal(after.scores, before.scores)


@needs_usearch
def test_a_wider_search_finds_more():
    exact = fitted("exact")[0].recommend(histories(), 5)
    narrow, wide = (fit("hnsw", ef_search=ef_search)[0].recommend(histories(), 5) for ef_search in (1, 600))
    assert recall(wide, exact) >= recall(narrow, exact)
    assert recall(wide, exact) > 0.99


@needs_usearch
def test_hybrid_leaves_items_out_of_lists_of_an_index():
    lists = []
    for index in ("exact", "hnsw"):
        hybrid = HybridPopularity(HybridPopularitySettings(cutoff=0.9), N_ITEMS)
        hybrid.base_models, hybrid.counts = [fitted(index)[0]], np.arange(N_ITEMS)
        lists.append(hybrid.recommend(histories(), 20))
    assert (lists[1].items[:60] >= 0.8 * N_ITEMS).all()
    assert recall(lists[1], lists[0]) > 0.97


@needs_usearch
def test_sparse_vectors_have_no_index():
    with pytest.raises(UsageError, match="needs dense vectors"):
        fit("hnsw", csr_array(vectors()))


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(LlmseqError, match="needs the package 'usearch'") as raised:
        fit("hnsw")
    assert "pip install 'llmseq[ann]'" in raised.value.hint


def test_recall_counts_items_wherever_they_stand():
    def lists(items):
        return Ranking(np.array(items, dtype=np.int32), np.zeros((len(items), 3), dtype=np.float32))

    assert recall(lists([[1, 2, 3], [4, 5, 6]]), lists([[3, 2, 1], [4, 9, NO_ITEM]])) == pytest.approx(4 / 5)
    assert recall(lists([[1, 2, 3]]), lists([[NO_ITEM] * 3])) == 1


def test_the_best_of_picked_items_are_those_of_all():
    random = np.random.default_rng(5)
    scores = random.integers(0, 9, size=(40, 50)).astype(np.float32)
    scores[random.random((40, 50)) < 0.1] = -np.inf
    items = np.argsort(random.random((40, 50)), axis=1).astype(np.int32)
    picked = top_k_of(items, np.take_along_axis(scores, items, axis=1), 7)
    expected = top_k(scores.copy(), 7)
    assert np.array_equal(picked.items, expected.items)
    assert np.array_equal(picked.scores, expected.scores)


@needs_usearch
def test_from_the_command_line(llmseq, tmp_path, monkeypatch):
    import csv

    from llmseq_cli.data.ingest import Protocol
    from llmseq_cli.workspace import Workspace

    random = np.random.default_rng(6)
    with (tmp_path / "clicks.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(f"u{n // 5}", f"i{random.integers(400)}", n) for n in range(3000)]
        csv.writer(file).writerows([("user", "item", "time"), *rows])
    with (tmp_path / "items.csv").open("w", newline="", encoding="utf-8") as file:
        words = ["red", "blue", "wool", "silk", "sock", "hat", "scarf", "glove", "long", "short"]
        titles = [" ".join(random.choice(words, 4)) for _ in range(400)]
        csv.writer(file).writerows([("item", "title"), *((f"i{n}", title) for n, title in enumerate(titles))])
    shop = Workspace(tmp_path / "workspace")
    shop.ingest(
        IngestOptions([tmp_path / "clicks.csv"], "shop", items=[tmp_path / "items.csv"], protocol=Protocol(k_core=0))
    )
    shop.embed(EmbedOptions("lexical", dimensions=8))
    words = ["train", "llmseqsim", "--embeddings", "lexical"]
    assert llmseq(*words, "--set", "index=hnsw").status == 0
    assert "index_recall@20=" in "".join(llmseq("show", "latest", "--sessions", 0).out.split())
    figures = llmseq("show", "latest", "--json").json["figures"]
    assert 0.9 < figures["index_recall@20"] <= 1
    refused = llmseq(*words, "--set", "index=flat")
    assert (refused.status, "did you mean" in refused.err or "known:" in refused.err) == (2, True)
    monkeypatch.setitem(sys.modules, "usearch", None)
    missing = llmseq("recommend", "latest", "i1")
    assert missing.status == 1
    assert "hint: pip install 'llmseq[ann]'" in " ".join(missing.err.split())
