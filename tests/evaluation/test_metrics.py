import math

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, Qrel, ScoredDoc, Success, nDCG

from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.metrics import METRICS, is_among_most_popular, metrics_at, per_session
from llmseq_cli.evaluation.ranking import Ranking

POPULARITY = np.array([8, 4, 2, 1, 1])


def measured(lists: list[list[int]], targets: list[int], k: int) -> dict[str, float]:
    items = np.array(lists, dtype=np.int32)
    ranks = Ranking(items, np.zeros(items.shape, dtype=np.float32)).ranks(np.array(targets))
    return metrics_at(items, ranks, np.array(targets), POPULARITY, k)


def test_by_hand():
    figures = measured([[0, 2, 1], [2, 0, 3], [4, 1, 0]], targets=[0, 0, 3], k=2)
    assert figures == pytest.approx(
        {
            "ndcg": (1 + 1 / math.log2(3)) / 3,
            "hr": 2 / 3,
            "mrr": (1 + 1 / 2) / 3,
            "coverage": 4 / 5,
            "serendipity": 0.0,
            # −log2(count/16): 1, 2, 3, 4, 4 bits
            "novelty": ((1 + 3) / 2 + (3 + 1) / 2 + (4 + 2) / 2) / 3,
        }
    )


def test_a_rank_beyond_k_is_no_hit():
    lists, targets = [[0, 2, 1]], [1]
    assert measured(lists, targets, k=2)["hr"] == 0
    assert measured(lists, targets, k=3)["ndcg"] == pytest.approx(0.5)


def test_serendipity_counts_hits_beyond_the_k_most_popular_items():
    # At k = 2 items 0 and 1 are expected; only the second hit is a surprise.
    assert measured([[0, 2], [1, 3], [2, 4]], targets=[0, 3, 0], k=2)["serendipity"] == pytest.approx(1 / 3)


def test_equally_popular_items_are_expected_by_lower_id():
    assert is_among_most_popular(np.arange(5), np.array([1, 3, 3, 3, 2]), k=2).tolist() == [0, 1, 1, 0, 0]


def test_short_and_empty_lists():
    figures = measured([[3, -1], [-1, -1], [0, 2]], targets=[3, 0, 1], k=2)
    assert figures["hr"] == pytest.approx(1 / 3)
    assert figures["coverage"] == pytest.approx(3 / 5)
    # The empty list has no novelty and does not count as a dull one.
    assert figures["novelty"] == pytest.approx((4 + 2) / 2)


def test_an_item_without_interactions_keeps_novelty_finite():
    items = np.array([[1]], dtype=np.int32)
    figures = metrics_at(items, np.zeros(1), np.zeros(1, dtype=int), np.array([3, 0]), 1)
    assert figures["novelty"] == pytest.approx(2)


def test_no_sessions_and_no_lists():
    none = metrics_at(np.empty((0, 5), dtype=np.int32), np.empty(0), np.empty(0, dtype=int), POPULARITY, 5)
    assert none == dict.fromkeys(METRICS, 0.0)
    assert measured([[-1, -1]], targets=[0], k=2) == dict.fromkeys(METRICS, 0.0)


@pytest.mark.parametrize("k", [0, 4])
def test_lists_that_are_too_shallow_are_refused(k):
    with pytest.raises(UsageError, match="3 items"):
        measured([[0, 1, 2]], targets=[0], k=k)


def test_per_session_values_have_the_metrics_as_means():
    ranks = np.array([0, 1, 3, 21, 20])
    values = per_session(ranks, 20)
    assert values["hr"].tolist() == [0, 1, 1, 0, 1]
    assert values["mrr"].tolist() == pytest.approx([0, 1, 1 / 3, 0, 1 / 20])
    assert values["ndcg"].tolist() == pytest.approx([0, 1, 1 / 2, 0, 1 / math.log2(21)])


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_accuracy_equals_ir_measures(k):
    random = np.random.default_rng(k)
    n, n_items, depth = 300, 60, 20
    items = np.stack([random.permutation(n_items)[:depth] for _ in range(n)]).astype(np.int32)
    lengths = random.integers(1, depth + 1, size=n)
    items[np.arange(depth) >= lengths[:, None]] = -1
    targets = random.integers(0, n_items, size=n)
    qrels = [Qrel(str(s), str(target), 1) for s, target in enumerate(targets)]
    documents = [
        ScoredDoc(str(s), str(item), float(depth - place))
        for s, row in enumerate(items)
        for place, item in enumerate(row)
        if item >= 0
    ]
    expected = ir_measures.calc_aggregate([nDCG @ k, RR @ k, Success @ k], qrels, documents)
    ranks = Ranking(items, np.zeros(items.shape, dtype=np.float32)).ranks(targets)
    figures = metrics_at(items, ranks, targets, np.ones(n_items, dtype=np.int64), k)
    assert figures["hr"] > 0
    assert figures["ndcg"] == pytest.approx(expected[nDCG @ k])
    assert figures["mrr"] == pytest.approx(expected[RR @ k])
    assert figures["hr"] == pytest.approx(expected[Success @ k])


def test_beyond_accuracy_equals_a_plain_loop():
    random = np.random.default_rng(7)
    n, n_items, k = 200, 40, 6
    items = np.stack([random.permutation(n_items)[:k] for _ in range(n)]).astype(np.int32)
    targets = random.integers(0, n_items, size=n)
    popularity = random.integers(1, 9, size=n_items)
    top = sorted(range(n_items), key=lambda item: (-popularity[item], item))[:k]
    surprises, bits = 0.0, 0.0
    for row, target in zip(items.tolist(), targets, strict=True):
        unexpected = {target} - set(top)
        most = min(len(unexpected), len(row))
        surprises += len(unexpected & set(row)) / most if most else 0
        bits += sum(-math.log2(popularity[item] / popularity.sum()) for item in row) / len(row)
    ranks = Ranking(items, np.zeros(items.shape, dtype=np.float32)).ranks(targets)
    figures = metrics_at(items, ranks, targets, popularity, k)
    assert figures["serendipity"] == pytest.approx(surprises / n)
    assert figures["novelty"] == pytest.approx(bits / n)
    assert figures["coverage"] == len(set(items.ravel().tolist())) / n_items
