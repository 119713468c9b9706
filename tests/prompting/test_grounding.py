"""From answers to items, and from items to lists."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from support.catalogs import catalog_of

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.lexical import LexicalSettings, LexicalVectors
from llmseq_cli.prompting.answer_lists import Named, rank
from llmseq_cli.prompting.grounding import KINDS, Grounder, prefer_options

TITLES = ["Rose Soap", "Lily Cream", "Rose Soap", "", "Oak Oil"]


def catalog():
    made = catalog_of(TITLES)
    popularity = np.array([1, 5, 3, 9, 2])
    in_train = np.array([True, True, True, True, False])
    return Catalog(made.external_ids, made.titles, made.classes, popularity, in_train)


def nobody(texts):
    raise AssertionError(f"nobody should ask for {texts}")


@pytest.mark.parametrize("form", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_titles_first_then_the_nearest_vector(form):
    vectors = np.array([[2, 0], [0, 1], [1, 1], [0, 0], [0, 3]], dtype=np.float32)
    asked = []

    def vectors_of(texts):
        asked.extend(texts)
        return form(np.array([[0, 9], [0, 0]], dtype=np.float32))

    said = ["Rose  Soap", "LILY-cream!", "balm", "%$", "", "balm", "nothing known"]
    grounded = Grounder(catalog(), form(vectors), vectors_of).ground(said)
    # The more popular of two equal titles; an item outside of training is not near to anything.
    assert grounded.items.tolist() == [2, 1, 1, -1, -1, 1, -1]
    assert [KINDS[kind] for kind in grounded.kinds] == [
        "exact", "normalised", "nearest", "empty", "empty", "nearest", "empty"]  # fmt: skip
    assert grounded.similarity.tolist() == [1, 1, 1, 0, 0, 1, 0]
    assert asked == ["balm", "nothing known"]


def test_similarity_is_the_dot_product_of_unit_vectors():
    vectors = np.array([[2, 0], [0, 1], [1, 1], [0, 0], [0, 3]], dtype=np.float32)
    grounded = Grounder(catalog(), vectors, lambda texts: np.array([[3, 4]], dtype=np.float32)).ground(["x"])
    assert grounded.items.tolist() == [2]
    assert grounded.similarity[0] == pytest.approx(7 / 5 / np.sqrt(2))


def test_exact_answers_need_no_vectors():
    vectors = np.ones((5, 2), dtype=np.float32)
    assert Grounder(catalog(), vectors, nobody).ground(["Oak Oil", "rose soap"]).items.tolist() == [4, 2]


def test_of_equal_titles_the_option_of_the_session_is_meant():
    groups = np.array([0, 1, 0, -1, 2])
    options = np.array([[0, 1], [2, -1]], dtype=np.int32)
    items, rows = np.array([2, 1, 2, 4, -1], dtype=np.int32), np.array([0, 0, 1, 1, 1])
    assert prefer_options(items, rows, options, groups).tolist() == [0, 1, 2, 4, -1]
    assert prefer_options(items, rows, np.empty((2, 0), dtype=np.int32), groups).tolist() == items.tolist()


def named(answers):
    """[(row, sample, place, item, similarity)] as Named."""
    columns = list(zip(*answers, strict=True))
    rows, samples, places = (np.array(column, dtype=np.int64) for column in columns[:3])
    return Named(rows, samples, places, np.array(columns[3], dtype=np.int32), np.array(columns[4], dtype=np.float32))


def test_single_items_are_ranked_by_frequency_then_mean_similarity():
    answers = [(0, 0, 0, 5, 0.4), (0, 1, 0, 5, 0.4), (0, 2, 0, 7, 0.9), (0, 3, 0, 3, 1.0), (0, 4, 0, 9, 1.0),
               (0, 5, 0, 1, 1.0), (0, 6, 0, -1, 0.0), (1, 0, 0, 8, 1.0)]  # fmt: skip
    prompts = Sessions.from_lists([[1, 2], [8], [3]])
    ranking = rank(named(answers), prompts, 10, 4)
    # 1 and 8 are of the prompts; 3 goes before 9 by its id.
    assert ranking.items.tolist() == [[5, 3, 9, 7], [-1] * 4, [-1] * 4]
    assert (np.diff(ranking.scores[0]) < 0).all()
    assert np.isneginf(ranking.scores[1:]).all()


def test_lists_keep_their_order_without_repeats_and_prompt_items():
    said = [4, 2, 4, 6, 1, 2, 0]
    answers = [(0, 0, place, item, 0.1 * place) for place, item in enumerate(said)]
    assert rank(named(answers), Sessions.from_lists([[6]]), 10, 3).items.tolist() == [[4, 2, 1]]


def test_ranking_does_not_depend_on_the_order_of_answers():
    random = np.random.default_rng(3)
    answers = [(int(random.integers(9)), sample, 0, int(random.integers(12)), 0.5) for sample in range(300)]
    prompts = Sessions.from_lists([[row] for row in range(9)])
    first = rank(named(answers), prompts, 12, 20)
    random.shuffle(answers)
    again = rank(named(answers), prompts, 12, 20)
    assert np.array_equal(first.items, again.items)


@pytest.mark.parametrize("dimensions", [None, 3])
def test_further_texts_get_vectors_in_the_items_space(dimensions):
    texts = ["rose soap", "lily cream", "oak oil", "rose cream", ""]
    made = LexicalVectors(texts, LexicalSettings(), dimensions)
    again = made.of(["lily cream", "§"])
    dense = [vectors if isinstance(vectors, np.ndarray) else vectors.toarray() for vectors in (made.vectors, again)]
    assert np.allclose(dense[0][1], dense[1][0], atol=1e-6)
    assert not dense[1][1].any()
