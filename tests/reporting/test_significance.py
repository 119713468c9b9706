"""Paired tests against scipy, exact enumeration and hand-made figures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from llmseq_cli import TrainOptions
from llmseq_cli.errors import UsageError
from llmseq_cli.reporting.significance import holm, interval, paired_p


@pytest.fixture
def pairs():
    random = np.random.default_rng(5)
    first = random.random((200, 3))
    return first, first + random.normal([0.0, 0.02, 0.1], 0.1, size=(200, 3))


def test_t_and_wilcoxon_are_those_of_scipy(pairs):
    first, second = pairs
    np.testing.assert_allclose(paired_p(first - second), stats.ttest_rel(first, second).pvalue)
    expected = [stats.wilcoxon(first[:, column], second[:, column]).pvalue for column in range(3)]
    np.testing.assert_allclose(paired_p(first - second, "wilcoxon"), expected)


def test_permutations_come_near_all_changes_of_sign():
    differences = np.array([0.5, 0.2, -0.1, 0.4, 0.3, 0.6, -0.2, 0.1])
    means = [abs(np.mean(differences * signs)) for signs in itertools.product([-1, 1], repeat=8)]
    exact = np.mean(np.array(means) >= abs(differences.mean()) - 1e-9)
    assert paired_p(differences[:, None], "permutation")[0] == pytest.approx(exact, abs=0.01)


def test_permutations_agree_with_t_where_there_are_many_sessions(pairs):
    first, second = pairs
    np.testing.assert_allclose(paired_p(first - second, "permutation"), paired_p(first - second), atol=0.02)


def test_what_does_not_differ_has_p_1():
    for test in ("t", "permutation", "wilcoxon"):
        assert paired_p(np.zeros((5, 2)), test).tolist() == [1, 1]
    assert paired_p(np.ones((1, 1))).tolist() == [1]
    with pytest.raises(UsageError):
        paired_p(np.zeros((5, 2)), "z")


def test_holm_by_hand():
    # 0.01·4, 0.02·3, then 0.03·2 = 0.06 and 0.04·1 raised to the one before
    np.testing.assert_allclose(holm(np.array([0.03, 0.01, 0.04, 0.02])), [0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([])).tolist() == []


def test_interval_is_students():
    values = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    low, high = interval(values)
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose([low, high], expected)


def test_report_marks_what_is_worse_than_the_best(llmseq, shop):
    shop.train(TrainOptions("sf-sknn"))
    shop.train(TrainOptions("v-sknn"))
    shop.train(TrainOptions("most-popular"))
    rows = llmseq("report", "--significance", "--json").json
    best, worst = rows[0], rows[-1]
    assert best["significance"] == {}
    assert worst["model"] == "most-popular"
    found = worst["significance"]["ndcg@20"]
    assert found["against"] == best["run"]
    assert found["difference"] == pytest.approx(worst["ndcg@20"] - best["ndcg@20"])
    assert found["p"] <= found["p_holm"] <= 1
    low, high = best["intervals"]["hr@20"]
    assert (low + high) / 2 == pytest.approx(best["hr@20"])
    assert set(best["intervals"]) == {f"{name}@{k}" for name in ("ndcg", "hr", "mrr", "serendipity") for k in (10, 20)}
    assert (low + high) / 2 == pytest.approx(best["hr@20"])
    against = llmseq("report", "--significance", "most-popular-3", "--json", "--test", "permutation").json
    assert against[-1]["significance"] == {}
    assert against[0]["significance"]["hr@20"]["difference"] > 0
    assert "▲" in llmseq("report", "--significance", "most-popular-3", "--k", "20").out
    assert llmseq("report", "--significance", "no-such-run").status == 1
    assert llmseq("report", "--significance", "--test", "z").status == 2
    assert llmseq("report", "v-sknn-1").status == 2


def test_per_session_values_give_the_stored_metrics(llmseq, shop):
    shop.train(TrainOptions("v-sknn"))
    shop.train(TrainOptions("sknn"))
    for row in llmseq("report", "--significance", "--json").json:
        for metric, (low, high) in row["intervals"].items():
            assert (low + high) / 2 == pytest.approx(row[metric])
