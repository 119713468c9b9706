"""Sampled metrics: the rank among drawn items, on request."""

from __future__ import annotations

import numpy as np
import pytest

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.sampled import sampled_metrics

N_ITEMS = 30


def by_id(histories: Sessions, k: int) -> Ranking:
    """Items by their number, those of the history left out, and the last five never."""
    lists = np.full((len(histories), k), -1, dtype=np.int32)
    for place in range(len(histories)):
        items = [item for item in range(N_ITEMS - 5) if item not in histories[place]][:k]
        lists[place, : len(items)] = items
    return Ranking(lists, np.zeros_like(lists, dtype=np.float32))


def test_all_other_items_drawn_give_the_rank_in_the_whole_list():
    test = Sessions.from_lists([[0, 3], [1, 2, 0], [5, 29]])  # ranks 3, 1 and not ranked
    sampled = sampled_metrics(by_id, test, np.ones(N_ITEMS, dtype=np.int64), 1000, "uniform", 0)
    found = sampled.metrics
    assert (sampled.fewest, sampled.most) == (27, 28)  # all but the target and the history
    assert found["hr@1"] == pytest.approx(1 / 3)
    assert found["hr@5"] == pytest.approx(2 / 3)
    assert found["mrr@10"] == pytest.approx((1 / 3 + 1) / 3)
    assert found["ndcg@5"] == pytest.approx((1 / np.log2(4) + 1) / 3)


def test_drawn_items_are_neither_the_target_nor_of_the_prompt_and_none_comes_twice():
    test = Sessions.from_lists([[1, 24]] * 2000)
    n = 5
    # 24 is behind all others that are ranked, 23 of 28 possible ones: chance says how often it is first among six.
    first = sampled_metrics(by_id, test, np.ones(N_ITEMS, dtype=np.int64), n, "uniform", 1).metrics["hr@1"]
    assert first == pytest.approx(5 / 28 * 4 / 27 * 3 / 26 * 2 / 25 * 1 / 24, abs=0.001)
    one = sampled_metrics(by_id, test, np.ones(N_ITEMS, dtype=np.int64), 1, "uniform", 1).metrics["hr@1"]
    assert one == pytest.approx(5 / 28, abs=0.03)


def test_popular_items_are_drawn_as_often_as_they_are_popular():
    popularity = np.zeros(N_ITEMS, dtype=np.int64)
    popularity[[2, 20]] = [30, 10]
    test = Sessions.from_lists([[1, 10]] * 4000)
    # Item 2 stands before the target, item 20 behind it.
    found = sampled_metrics(by_id, test, popularity, 1, "popular", 2).metrics["hr@1"]
    assert found == pytest.approx(0.25, abs=0.03)
    assert sampled_metrics(by_id, test, popularity, 1, "uniform", 2).metrics["hr@1"] == pytest.approx(19 / 28, abs=0.03)


def test_a_seed_draws_the_same_and_another_does_not():
    test = Sessions.from_lists([[1, 10]] * 50)
    draws = [sampled_metrics(by_id, test, np.ones(N_ITEMS, dtype=np.int64), 3, "uniform", seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_what_cannot_be_drawn_is_refused():
    test = Sessions.from_lists([[1, 2]])
    with pytest.raises(UsageError, match="no sampling 'often'"):
        sampled_metrics(by_id, test, np.ones(N_ITEMS, dtype=np.int64), 5, "often", 0)
    with pytest.raises(UsageError, match="--sampled is 0"):
        sampled_metrics(by_id, test, np.ones(N_ITEMS, dtype=np.int64), 0, "uniform", 0)
    assert (
        sampled_metrics(by_id, Sessions.from_lists([]), np.ones(3, dtype=np.int64), 5, "uniform", 0).metrics["hr@1"]
        == 0
    )
