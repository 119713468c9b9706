import numpy as np
import pytest
from support.planted import LEARNING, N_ITEMS, embeddings, fitted, hit_rate, sessions

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.neural.cooccurrence import session_vectors


def test_items_of_the_same_sessions_lie_together():
    random = np.random.default_rng(0)
    groups = [random.choice(10, 4, replace=False) + 10 * (number % 3) for number in range(300)]
    vectors = session_vectors(Sessions.from_lists(groups), 31, 8, seed=0)
    assert vectors.shape == (31, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors[:30], axis=1), 1, rtol=1e-5)
    assert not vectors[30].any(), "nothing is known of an item that occurs nowhere"
    alike = vectors[:30] @ vectors[:30].T
    same = np.arange(30)[:, None] // 10 == np.arange(30) // 10
    assert alike[same].min() > alike[~same].max()


def test_the_same_seed_gives_the_same_vectors():
    one, again = (session_vectors(sessions(), N_ITEMS, 8, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize("lists", [[[0], [1]], [[]]])
def test_sessions_that_tell_nothing(lists):
    assert not session_vectors(Sessions.from_lists(lists), 3, 8, seed=0).any()


def test_small_catalogs_fill_up_with_zeros():
    vectors = session_vectors(Sessions.from_lists([[0, 1], [1, 2], [0, 2]]), 3, 8, seed=0)
    assert vectors.shape == (3, 8)
    assert not vectors[:, 2:].any()


def test_networks_start_from_them():
    settings = {"epochs": 1, "learning_rate": 0.0, "patience": 0, "item_init": "sessions"}
    model, _ = fitted("sasrec", settings)
    found = model.arrays()["network.item_vectors.vectors"]
    np.testing.assert_allclose(found, session_vectors(sessions(), N_ITEMS, 32, seed=0), atol=1e-6)
    both, _ = fitted("sasrec", settings | {"dim": None}, embeddings=embeddings())
    joint = both.arrays()["network.item_vectors.vectors"]
    assert joint.shape == (N_ITEMS, 64)
    np.testing.assert_allclose(joint[:, :32] * 2**0.5, embeddings().vectors, atol=1e-5)


def test_training_goes_on_from_there():
    assert hit_rate(fitted("gru4rec", LEARNING | {"item_init": "sessions", "epochs": 6, "patience": 0})[0]) > 0.9
