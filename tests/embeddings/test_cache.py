"""The cache of text vectors and the sets that are made of it."""

from datetime import UTC, datetime

import numpy as np
import pytest

from llmseq_cli.embeddings.cache import TextVectorCache, text_hash
from llmseq_cli.embeddings.plan import make_plan
from llmseq_cli.embeddings.sources.source import EmbeddingSource, Limits
from llmseq_cli.embeddings.stored import (
    TextEmbeddings,
    list_embeddings,
    load_embeddings,
    save_text_embeddings,
)
from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.connection import Store
from llmseq_cli.store.datasets import delete_embeddings


class Words(EmbeddingSource):
    """A token is a word; nothing is ever embedded."""

    name, remote = "words", True

    def __init__(self, model="m", dimensions=None, variant="", tokens_per_text=None):
        self.model, self.dimensions, self.variant = model, dimensions, variant
        self.limits = Limits(10, tokens_per_text=tokens_per_text)

    def count_tokens(self, texts):
        return np.array([len(text.split()) for text in texts], dtype=np.int64)

    def cut(self, text, tokens):
        return " ".join(text.split()[:tokens])

    def embed(self, texts):
        raise AssertionError


@pytest.fixture
def con(tmp_path):
    with Store(tmp_path).write("testing") as con:
        yield con


def vectors(n, dim=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def texts(n):
    return [f"text {place}" for place in range(n)]


def hashes(n):
    return [text_hash(text) for text in texts(n)]


def test_hashes_are_of_the_text_alone():
    # b2sum -l 128
    assert text_hash("abc") == "cf4ab791c62b8d2b2109c90275287816"
    assert text_hash("abc") != text_hash("abc ")


def test_known_and_width(con):
    cache = TextVectorCache(con, Words())
    assert cache.model_id is None
    assert not cache.known(hashes(3)).any()
    assert cache.width() is None
    cache.keep(1, hashes(3), vectors(3), [(3, 10, 0.5)])
    assert cache.known([*hashes(4)]).tolist() == [True, True, True, False]
    assert cache.width() == 5
    assert cache.known([]).tolist() == []


@pytest.mark.parametrize("other", [{"model": "n"}, {"dimensions": 4}, {"variant": "http://host"}])
def test_models_are_kept_apart(con, other):
    TextVectorCache(con, Words()).keep(1, hashes(3), vectors(3), [])
    cache = TextVectorCache(con, Words(**other))
    assert not cache.known(hashes(3)).any()
    assert TextVectorCache(con, Words()).known(hashes(3)).all()


@pytest.mark.parametrize(("n", "dim"), [(1, 1), (1, 1536), (300, 7), (2100, 64)])
def test_vectors_come_back_as_they_were(con, n, dim):
    cache = TextVectorCache(con, Words())
    cache.keep(1, hashes(n), vectors(n, dim), [])
    rows = con.execute("select text_hash, vector from core.text_vector").fetchall()
    kept = dict(rows)
    assert np.array_equal(np.array([kept[digest] for digest in hashes(n)], dtype=np.float32), vectors(n, dim))


def test_all_of_an_answer_or_nothing(con):
    cache = TextVectorCache(con, Words())
    with pytest.raises(Exception, match="NOT NULL constraint"):
        cache.keep(1, hashes(2), vectors(2), [(None, 3, None)])
    assert not cache.known(hashes(2)).any()


def test_refusals(con):
    cache = TextVectorCache(con, Words())
    cache.set_aside([(text_hash("a"), "a", "why a"), (text_hash("b"), "b", "why b")])
    assert cache.refused([text_hash("c"), text_hash("b")]) == {1: "why b"}
    cache.forget_refusals()
    assert cache.refused([text_hash("b")]) == {}


def test_plan_sends_each_text_once(con):
    source = Words()
    cache = TextVectorCache(con, source)
    cache.keep(1, [text_hash("b")], vectors(1), [])
    cache.set_aside([(text_hash("bad"), "bad", "no")])
    plan = make_plan(["a", "b", "", "a", "bad", "c d"], source, cache)
    assert plan.texts == ["a", "b", "bad", "c d"]
    assert plan.of_items.tolist() == [0, 1, -1, 0, 2, 3]
    assert [plan.texts[place] for place in plan.to_send] == ["a", "c d"]
    assert plan.tokens.tolist() == [1, 2]
    assert (plan.cached, plan.refused, plan.cut) == (1, {2: "no"}, 0)
    estimate = plan.estimate(source, 0.5, 4)
    assert (estimate["tokens"], estimate["requests"], estimate["cost_usd"]) == (3, 1, 1.5)
    assert plan.estimate(source, None, 4)["cost_usd"] is None


def test_plan_cuts_and_joins_what_became_equal(con):
    source = Words(tokens_per_text=3)
    plan = make_plan(["a b c d", "a b c", "", "a b c e", "x"], source, TextVectorCache(con, source))
    assert plan.texts == ["a b c", "x"]
    assert plan.of_items.tolist() == [0, 0, -1, 0, 1]
    assert plan.cut == 2


def test_minutes_go_by_the_tightest_limit(con):
    source = Words()
    texts = [f"{place} {place}" for place in range(1000)]
    plan = make_plan(texts, source, TextVectorCache(con, source))
    assert plan.estimate(source, None, 4)["minutes"] == pytest.approx(100 / 4 / 60)
    source.limits = Limits(10, requests_per_minute=50, tokens_per_minute=10_000)
    assert plan.estimate(source, None, 4)["minutes"] == pytest.approx(2)
    source.limits = Limits(10, requests_per_minute=500, tokens_per_minute=400)
    assert plan.estimate(source, None, 4)["minutes"] == pytest.approx(5)
    assert plan.estimate(source, None, 4, 10)["minutes"] == pytest.approx(10)
    assert plan.estimate(source, None, 4, 1000, 100)["minutes"] == pytest.approx(20)


def add_items(con, categories):
    con.execute(
        "insert into core.dataset values (1, 'shop', ?, '{}', '{}', '{}')", [datetime.now(UTC).replace(tzinfo=None)]
    )
    rows = [[1, item, f"i{item}", None, kind, None, 1] for item, kind in enumerate(categories)]
    con.executemany("insert into core.item values (?, ?, ?, ?, ?, ?, ?)", rows)


def save(con, cache, of_items, dim=5, text="{title}", tokens=9):
    made = TextEmbeddings("words", "m", text, dim, cache.register(), of_items, {"tokens": tokens, "cost_usd": 0.25})
    return save_text_embeddings(con, 1, made, {}, 1.5)


def test_sets_name_texts_and_fill_with_means(con):
    add_items(con, ["x", "x", "x", "y", None, "z"])
    cache, kept = TextVectorCache(con, Words()), vectors(3)
    cache.keep(1, hashes(3), kept, [])
    a, b, c = texts(3)
    save(con, cache, [a, b, None, c, None, None])
    loaded = load_embeddings(con, 1, "words", 6).vectors
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded[[0, 1, 3]], kept)
    assert np.allclose(loaded[2], kept[:2].mean(axis=0))
    assert np.allclose(loaded[[4, 5]], kept.mean(axis=0))
    [row] = list_embeddings(con, None)
    assert (row["items"], row["filled"], row["tokens"], row["cost_usd"]) == (6, 3, 9, 0.25)


def test_equal_texts_weigh_as_often_as_items_have_them(con):
    add_items(con, [None] * 4)
    cache, kept = TextVectorCache(con, Words()), vectors(2)
    cache.keep(1, hashes(2), kept, [])
    a, b = texts(2)
    save(con, cache, [a, a, b, None])
    assert np.allclose(load_embeddings(con, 1, "words", 4).vectors[3], (2 * kept[0] + kept[1]) / 3)


def test_a_set_takes_the_place_of_its_like(con):
    add_items(con, [None] * 2)
    cache = TextVectorCache(con, Words())
    cache.keep(1, hashes(2), vectors(2), [])
    save(con, cache, texts(2))
    second = save(con, cache, texts(2)[::-1])
    assert [row["number"] for row in list_embeddings(con, None)] == [second]
    assert np.array_equal(load_embeddings(con, 1, "words", 2).vectors, vectors(2)[::-1])
    save(con, cache, texts(2), text="{brand}")
    assert len(list_embeddings(con, None)) == 2
    delete_embeddings(con, 1)
    assert list_embeddings(con, None) == []
    assert con.execute("select count(*) from core.item_text").fetchall() == [(0,)]
    assert cache.known(hashes(2)).all()


def test_a_set_that_is_no_different_keeps_its_number_and_what_it_took(con):
    add_items(con, [None] * 3)
    cache = TextVectorCache(con, Words())
    cache.keep(1, hashes(2), vectors(2), [])
    a, b = texts(2)
    first = save(con, cache, [a, None, b])
    assert save(con, cache, [a, None, b], tokens=0) == first
    assert [row["tokens"] for row in list_embeddings(con, None)] == [9]
    assert save(con, cache, [a, b, b], tokens=1) > first  # another set
    second = save(con, cache, [a, None, b], text="{brand}")
    assert [row["tokens"] for row in list_embeddings(con, None)] == [1, 9]
    third = save(con, cache, [a, b, b], tokens=0)  # not the newest any more: a name means the one made last
    assert third > second
    assert [(row["number"], row["tokens"]) for row in list_embeddings(con, None)] == [(second, 9), (third, 1)]
    assert np.array_equal(load_embeddings(con, 1, "words", 3).vectors, vectors(2)[[0, 1, 1]])


def test_many_items_load_in_blocks(con, monkeypatch):
    monkeypatch.setattr("llmseq_cli.embeddings.stored._ITEMS_PER_LOAD", 7)
    add_items(con, [None] * 50)
    cache = TextVectorCache(con, Words())
    cache.keep(1, hashes(10), vectors(10), [])
    save(con, cache, [texts(10)[item % 10] for item in range(50)])
    assert np.array_equal(load_embeddings(con, 1, "words", 50).vectors, vectors(10)[np.arange(50) % 10])


UNUSABLE = [[], [1.0], [1.0] * 6, [float("nan")] * 5, [float("inf"), 0, 0, 0, 0], [None, 0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("vector", UNUSABLE, ids=str)
def test_an_unusable_vector_is_not_known_and_is_replaced(con, vector):
    add_items(con, [None] * 3)
    source = Words()
    cache, kept = TextVectorCache(con, source), vectors(3)
    cache.keep(1, hashes(3), kept, [])
    save(con, cache, [f"text {place}" for place in range(3)])
    con.execute("update core.text_vector set vector = ? where text_hash = ?", [vector, hashes(3)[1]])
    assert cache.known(hashes(3)).tolist() == [True, False, True]
    assert cache.width() == 5
    plan = make_plan([f"text {place}" for place in range(3)], source, cache)
    assert plan.to_send.tolist() == [1]
    with pytest.raises(LlmseqError, match="the vectors of 1 items are missing or unusable"):
        load_embeddings(con, 1, "words", 3)
    assert (cache.forget_unusable(), cache.forget_unusable()) == (1, 0)
    with pytest.raises(LlmseqError, match="the vectors of 1 items are missing or unusable"):
        load_embeddings(con, 1, "words", 3)
    cache.keep(1, hashes(3)[1:2], kept[1:2], [])
    assert np.array_equal(load_embeddings(con, 1, "words", 3).vectors, kept)


def test_a_cache_of_empty_vectors_knows_nothing(con):
    cache = TextVectorCache(con, Words())
    cache.keep(1, hashes(3), np.zeros((3, 0), dtype=np.float32), [])
    assert not cache.known(hashes(3)).any()
    assert (cache.width(), cache.forget_unusable()) == (None, 3)
    cache.keep(1, hashes(3), vectors(3), [])
    assert cache.known(hashes(3)).all()
