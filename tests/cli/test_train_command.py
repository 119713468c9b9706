"""`llmseq embed`, `train` and `models`: what they print and leave in the store."""

from __future__ import annotations

import pytest

MODELS = ["most-popular", "sknn", "v-sknn", "s-sknn", "sf-sknn"]


def test_embed_and_list(llmseq, shop):
    made = llmseq("embed", "--json").json
    assert made["sparse"] is True
    assert made["texts"] == 40
    dense = llmseq("embed", "--dimensions", "8", "--text", "{title} {brand}", "--json").json
    assert (dense["dimensions"], dense["sparse"], dense["model"]) == (8, False, "tfidf-svd-8")
    rows = llmseq("embeddings", "--json").json
    assert [(row["source"], row["items"]) for row in rows] == [("lexical", 40), ("lexical", 40)]
    assert "tfidf-svd-8" in llmseq("embeddings").out
    counted = llmseq("sql", "select count(*) as n from item_embeddings where len(vector) = 8", "--json").json
    assert counted == [{"n": 40}]
    two = "select e.template, bool_and(e.text = i.title) as plain from item_embeddings e join items i using (item)"
    two += " group by all order by 1"
    assert llmseq("sql", two, "--json").json == [
        {"template": "{title}", "plain": True}, {"template": "{title} {brand}", "plain": False}
    ]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_train_stores_a_run_with_ranks_lists_and_metrics(llmseq, shop, model):
    [row] = llmseq("train", model, "--json").json
    assert row["model"] == model
    assert row["sessions"] == 24
    ranks = llmseq("sql", "select rank from ranks", "--json").json
    assert len(ranks) == 24
    found = [r["rank"] for r in ranks if r["rank"] is not None and r["rank"] <= 20]
    assert row["hr@20"] == pytest.approx(len(found) / 24)
    assert row["mrr@20"] == pytest.approx(sum(1 / rank for rank in found) / 24)
    hits = llmseq(
        "sql",
        "select count(*) as n from ranks join recommendations using (run, session)"
        " where ground_truth = item and ranks.rank = recommendations.rank",
        "--json",
    ).json
    assert hits == [{"n": sum(r["rank"] is not None for r in ranks)}]


def test_seeds_make_one_run_each(llmseq, shop):
    rows = llmseq("train", "v-sknn", "--set", "sample_size=3", "--seeds", "3", "--json").json
    assert sorted(row["seed"] for row in rows) == [0, 1, 2]


def test_models_lists_settings(llmseq):
    rows = {row["model"]: row for row in llmseq("models", "--json").json}
    assert set(MODELS) <= set(rows)
    [k] = [one for one in rows["v-sknn"]["settings"] if one["name"] == "k"]
    assert k["default"] == 320
    assert k["tune"] == [50, 500]
    assert "sample_size" in llmseq("models", "sknn").out
