import numpy as np
import pytest

from llmseq_cli.embeddings.lexical import LexicalSettings, embed_texts
from llmseq_cli.errors import LlmseqError, UsageError

TEXTS = [
    "",
    "Lavender Hand Cream",
    "lavender hand cream",
    "Rose Hand Cream 50 ml",
    "Steel Nail Clipper",
    "Steel Nail Clippers, large",
]


def similarities(settings: LexicalSettings, texts: list[str] = TEXTS) -> np.ndarray:
    vectors = embed_texts(texts, settings)
    return (vectors @ vectors.T).toarray()


def test_vectors_are_sparse_float32_of_unit_length():
    vectors = embed_texts(TEXTS, LexicalSettings())
    assert vectors.format == "csr"
    assert vectors.dtype == np.float32
    assert vectors.shape[0] == len(TEXTS)
    norms = np.sqrt(vectors.multiply(vectors).sum(axis=1))
    assert norms.tolist() == pytest.approx([0, 1, 1, 1, 1, 1], abs=1e-6)


def test_like_texts_are_near():
    near = similarities(LexicalSettings())
    assert near[1, 2] == pytest.approx(1, abs=1e-6)
    assert near[1, 3] > 0.2 > near[1, 4]
    assert near[4, 5] > 0.4


def test_characters_find_kin_of_words():
    texts = ["moisturizer", "moisturizing", "shampoo"]
    assert similarities(LexicalSettings(characters=0), texts)[0, 1] == 0
    assert similarities(LexicalSettings(), texts)[0, 1] > 0.1
    heavier = similarities(LexicalSettings(character_weight=2.0), texts)
    assert heavier[0, 1] > similarities(LexicalSettings(), texts)[0, 1]


def test_settings_decide_the_terms():
    words = embed_texts(TEXTS, LexicalSettings(characters=0, words=1))
    pairs = embed_texts(TEXTS, LexicalSettings(characters=0, words=2))
    common = embed_texts(TEXTS, LexicalSettings(characters=0, words=1, min_df=2))
    # lavender hand cream rose 50 ml steel nail clipper clippers large
    assert words.shape[1] == 11
    # + lavender hand, hand cream, rose hand, cream 50, 50 ml, steel nail, nail clipper, nail clippers, clippers large
    assert pairs.shape[1] == 20
    # lavender hand cream steel nail
    assert common.shape[1] == 5


def test_tfidf_by_hand():
    # idf = ln((1 + n) / (1 + df)) + 1; "a" twice counts 1 + ln 2.
    vectors = embed_texts(["a a b", "b"], LexicalSettings(characters=0, words=1)).toarray()
    a, b = (1 + np.log(2)) * (np.log(3 / 2) + 1), np.log(3 / 3) + 1
    assert vectors[0].tolist() == pytest.approx([a / np.hypot(a, b), b / np.hypot(a, b)], rel=1e-6)
    assert vectors[1].tolist() == [0, 1]


def test_the_same_vectors_every_time():
    once, again = embed_texts(TEXTS, LexicalSettings()), embed_texts(TEXTS, LexicalSettings())
    assert np.array_equal(once.indptr, again.indptr)
    assert np.array_equal(once.indices, again.indices)
    assert np.array_equal(once.data, again.data)


def many_texts() -> list[str]:
    random = np.random.default_rng(5)
    words = [f"word{number}" for number in range(40)]
    return ["", *(" ".join(random.choice(words, size=6)) for _ in range(80)), " "]


def test_dimensions_reduce_to_dense_unit_vectors():
    reduced = embed_texts(many_texts(), LexicalSettings(), dimensions=8)
    assert isinstance(reduced, np.ndarray)
    assert reduced.shape == (82, 8)
    assert reduced.dtype == np.float32
    assert np.linalg.norm(reduced[1:-1], axis=1) == pytest.approx(np.ones(80), abs=1e-5)
    assert np.array_equal(reduced, embed_texts(many_texts(), LexicalSettings(), dimensions=8))


def test_texts_that_are_empty_stay_zero_when_reduced():
    reduced = embed_texts(many_texts(), LexicalSettings(), dimensions=30)
    assert not reduced[[0, -1]].any()


def test_reduction_keeps_who_is_near():
    texts = many_texts()
    full = embed_texts(texts, LexicalSettings())
    reduced = embed_texts(texts, LexicalSettings(), dimensions=60)
    exact, kept = (full @ full.T).toarray(), reduced @ reduced.T
    np.fill_diagonal(exact, -1)
    np.fill_diagonal(kept, -1)
    assert np.mean(exact[1:-1].argmax(axis=1) == kept[1:-1].argmax(axis=1)) > 0.8


def test_more_dimensions_than_there_are():
    with pytest.raises(LlmseqError, match="100 dimensions") as error:
        embed_texts(TEXTS, LexicalSettings(), dimensions=100)
    assert "at most 5" in error.value.hint


def test_nothing_to_work_with():
    with pytest.raises(UsageError):
        embed_texts(TEXTS, LexicalSettings(words=0, characters=0))
    with pytest.raises(LlmseqError, match="no term"):
        embed_texts(["", ""], LexicalSettings())
    with pytest.raises(LlmseqError, match="no term"):
        embed_texts(["one", "two"], LexicalSettings(min_df=2))
