"""`compare` and `show`."""

from __future__ import annotations

import numpy as np
import pytest

from llmseq_cli import TrainOptions
from llmseq_cli.cli.show import spark
from llmseq_cli.reporting.comparison import overlap


@pytest.fixture
def trained(shop, prepared):
    def build(workspace):
        workspace.train(TrainOptions("v-sknn"))
        workspace.train(TrainOptions("most-popular"))

    return prepared(shop, "two-runs", build)


def rank_biased_overlap(first: list[int], second: list[int], p: float = 0.9) -> float:
    """Equation 32 of Webber, Moffat and Zobel (2010), word for word."""
    k = len(first)
    agreement = [len(set(first[:d]) & set(second[:d])) / d for d in range(1, k + 1)]
    return agreement[-1] * p**k + (1 - p) / p * sum(a * p**d for d, a in enumerate(agreement, 1))


def test_overlap_by_hand():
    first = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.int32)
    second = np.array([[3, 1, 9], [4, 5, 6]], dtype=np.int32)
    found = overlap(first, second)
    assert found["common"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["jaccard"] == pytest.approx((2 / 4 + 1) / 2)
    assert found["rank_biased"] == pytest.approx((rank_biased_overlap([1, 2, 3], [3, 1, 9]) + 1) / 2)
    assert found["same_first"] == 0.5
    assert found["catalog"] == pytest.approx(5 / 7)


def test_short_lists_have_nothing_in_common_where_they_are_empty():
    empty = np.full((2, 4), -1, dtype=np.int32)
    assert set(overlap(empty, empty).values()) == {0.0}
    short = np.array([[7, -1, -1, -1], [7, 8, -1, -1]], dtype=np.int32)
    same = overlap(short, short)
    assert (same["jaccard"], same["common"], same["rank_biased"]) == pytest.approx((1, 1, 1))
    swapped = overlap(short[1:], np.array([[8, 7, 9, -1]], dtype=np.int32))
    assert swapped["common"] == pytest.approx(2 / 3)
    assert swapped["rank_biased"] == pytest.approx(rank_biased_overlap([7, 8, 0], [8, 7, 9]))


def test_compare_agrees_with_the_leaderboard_and_the_store(llmseq, trained):
    found = llmseq("compare", "v-sknn", "most-popular", "--json").json
    rows = {row["run"]: row for row in llmseq("report", "--json").json}
    for entry in found["metrics"]:
        assert entry["first"] == pytest.approx(rows["v-sknn-1"][entry["metric"]])
        assert entry["second"] == pytest.approx(rows["most-popular-2"][entry["metric"]])
        low, high = entry.get("interval", (entry["difference"], entry["difference"]))
        assert (low + high) / 2 == pytest.approx(entry["difference"])
    assert sum(found["found"].values()) == found["sessions"] == 24
    hits = llmseq(
        "sql",
        "select count(*) filter (where a.rank <= 20) as a, count(*) filter (where b.rank <= 20) as b, count(*) filter"
        " (where a.rank <= 20 and b.rank <= 20) as both from ranks a join ranks b using (session)"
        " where a.run = 'v-sknn-1' and b.run = 'most-popular-2'",
        "--json",
    ).json[0]
    assert found["found"]["both"] == hits["both"]
    assert found["found"]["only_first"] == hits["a"] - hits["both"]
    for one in found["only_first"]:
        assert one["runs"][0]["rank"] <= 20
        assert one["runs"][1]["rank"] is None or one["runs"][1]["rank"] > 20
        assert one["history"]


def test_compare_shows_sessions_with_titles(llmseq, trained):
    done = llmseq("compare", "1", "2", "--sessions", "1")
    assert done.status == 0
    assert max(map(len, done.out.splitlines())) <= 80
    for word in ("NDCG@20", "p (Holm)", "only v-sknn-1 finds:", "rank-biased overlap", "scarf"):
        assert word in done.out


def test_what_cannot_be_compared_is_told(llmseq, trained, shop_files):
    clicks, items = shop_files
    llmseq("ingest", clicks, "--items", items, "--name", "other")
    llmseq("train", "sknn", "--dataset", "other")
    assert "both runs are v-sknn-1" in llmseq("compare", "1", "v-sknn").err
    different = llmseq("compare", "1", "sknn-3")
    assert different.status == 2
    assert "v-sknn-1 is on shop, sknn-3 on other" in different.err
    assert llmseq("compare", "1", "2", "-k", "500").status == 1
    assert llmseq("compare", "1", "2", "--test", "z").status == 2
    assert llmseq("compare", "1", "nine").status == 1


def test_runs_on_fewer_sessions_are_compared_on_those(llmseq, trained):
    llmseq("sql", "delete from core.case_rank where run_id = 2 and case_id % 2 = 0", "--write")
    llmseq("sql", "delete from core.recommendation where run_id = 2 and session_id % 2 = 0", "--write")
    llmseq("sql", "update core.run set sessions = 12 where run_id = 2", "--write")
    found = llmseq("compare", "1", "2", "--json").json
    assert found["sessions"] == 12
    assert "compared on the 12 that both have" in llmseq("compare", "1", "2").out


def test_show_tells_all_of_a_run(llmseq, shop):
    shop.train(TrainOptions("gru4rec", settings={"epochs": 3, "dim": 8, "hidden": 8, "patience": 0}, device="cpu"))
    about = llmseq("show", "latest", "--json").json
    assert about["run"] == "gru4rec-1"
    assert about["settings"]["hidden"] == 8
    assert about["environment"]["versions"]["torch"]
    assert [epoch["epoch"] for epoch in about["curve"]] == [1, 2, 3]
    assert about["metrics"]["ndcg@20"] == llmseq("report", "--json").json[0]["ndcg@20"]
    assert len(about["samples"]) == 10
    sample = about["samples"][0]
    [stored] = llmseq(
        "sql",
        f"select title, rank from ranks join items on ground_truth = item where session = '{sample['session']}'",
        "--json",
    ).json
    assert (stored["title"], stored["rank"]) == (sample["ground_truth"], sample["runs"][0]["rank"])
    done = llmseq("show", "gru4rec", "--sessions", "2")
    assert max(map(len, done.out.splitlines())) <= 80
    assert done.out.count("session u") == 2
    for word in ("hidden=8", "device", "cpu", "loss", "epoch", "@20", "then"):
        assert word in done.out
    assert llmseq("show", "none").status == 1
    other = llmseq("show", "latest", "--seed", "1", "--json").json["samples"]
    assert [one["session"] for one in other] != [one["session"] for one in about["samples"]]


def test_show_of_a_run_whose_files_are_gone(llmseq, trained, tmp_path):
    import shutil

    shutil.rmtree(tmp_path / "workspace" / "artifacts" / "runs")
    assert llmseq("show", "1", "--sessions", "0").status == 0


def test_spark():
    assert spark([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert spark([1.0, 1.0]) == "▁▁"
    assert len(spark([float(value) for value in range(1000)])) <= 60
