import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.pooling import POOLINGS, pool, pooling_weights, weight_matrix
from llmseq_cli.errors import UsageError

# Weights of a session of four, the oldest item first (i = 4, 3, 2, 1).
BY_HAND = {
    "mean": [1, 1, 1, 1],
    "last": [0, 0, 0, 1],
    "constant-linear": [0.7, 0.8, 0.9, 1],
    "scaling-linear": [0.25, 0.5, 0.75, 1],
    "scaling-quadratic": [0.0625, 0.25, 0.5625, 1],
    "scaling-cubic": [0.015625, 0.125, 0.421875, 1],
    "log": [1 / (math.log(4) + 1), 1 / (math.log(3) + 1), 1 / (math.log(2) + 1), 1],
    "log-paper": [1 / math.log(5), 1 / math.log(4), 1 / math.log(3), 1 / math.log(2)],
    "harmonic": [1 / 4, 1 / 3, 1 / 2, 1],
    "squared-harmonic": [1 / 16, 1 / 9, 1 / 4, 1],
}


def test_every_pooling_has_its_figures():
    assert set(BY_HAND) == set(POOLINGS)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_weights_by_hand(pooling):
    weights = pooling_weights(Sessions.from_lists([[5, 6, 7, 8], [], [1]]), pooling)
    assert weights.dtype == np.float32
    assert weights[:4].tolist() == pytest.approx(BY_HAND[pooling])
    # A session of one starts from i = 1 again.
    assert weights[4] == pytest.approx(BY_HAND[pooling][3])


def test_constant_linear_never_reaches_zero():
    weights = pooling_weights(Sessions.from_lists([list(range(14))]), "constant-linear")
    assert (weights > 0).all()
    assert weights[:4].max() < 1e-3
    assert weights[4] == pytest.approx(0.1)


def test_unknown_pooling():
    with pytest.raises(UsageError, match="harmnic") as error:
        pooling_weights(Sessions.from_lists([[1]]), "harmnic")
    assert "harmonic" in error.value.hint


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("sparse", [False, True])
def test_weighted_mean_equals_a_plain_loop(pooling, sparse):
    random = np.random.default_rng(3)
    vectors = random.normal(size=(9, 5)).astype(np.float32)
    lists = [[1, 2, 3], [4], [], [8, 8, 0, 8], random.integers(0, 9, size=30).tolist()]
    sessions = Sessions.from_lists(lists)
    weights = pooling_weights(sessions, pooling).astype(float)
    expected = np.zeros((len(lists), 5))
    for s, items in enumerate(lists):
        own = weights[sessions.offsets[s] : sessions.offsets[s + 1]]
        if items:
            expected[s] = (own[:, None] * vectors[items]).sum(axis=0) / own.sum()
    pooled = pool(sessions, csr_array(vectors) if sparse else vectors, pooling)
    assert pooled.dtype == np.float32
    assert np.allclose(pooled.toarray() if sparse else pooled, expected, atol=1e-6)


def test_repeated_items_add_up_and_sessions_stay_as_they_are():
    sessions = Sessions.from_lists([[2, 1, 2]])
    items, offsets = sessions.items.copy(), sessions.offsets.copy()
    matrix = weight_matrix(sessions, 4, "harmonic")
    assert matrix.toarray()[0].tolist() == pytest.approx([0, 3 / 11, (2 + 6) / 11, 0])
    assert np.array_equal(sessions.items, items)
    assert np.array_equal(sessions.offsets, offsets)


def test_a_session_is_pooled_the_same_in_any_company():
    random = np.random.default_rng(4)
    sessions = Sessions.from_lists([random.integers(0, 20, size=random.integers(0, 15)) for _ in range(50)])
    vectors = random.normal(size=(20, 7)).astype(np.float32)
    together = pool(sessions, vectors, "harmonic")
    alone = np.concatenate([pool(sessions.slice(s, s + 1), vectors, "harmonic") for s in range(50)])
    assert np.array_equal(together, alone)


def test_no_sessions():
    assert pool(Sessions.from_lists([]), np.ones((3, 2), dtype=np.float32), "mean").shape == (0, 2)
