"""Neural models from the command line."""

import json

import pytest

from llmseq_cli.bundle import Bundle

FAST = ["--set", "dim=16", "--set", "epochs=2", "--set", "batch_size=32"]


@pytest.mark.parametrize("model", ["gru4rec", "sasrec", "bert4rec", "s3rec"])
def test_train_recommend_and_score(llmseq, shop, tmp_path, model):
    trained = llmseq("train", model, *FAST, "--json")
    assert trained.status == 0, trained.err
    [row] = trained.json
    assert row["epochs"] == 2
    assert row["positions_per_second"] > 0
    assert row["train_seconds"] > 0
    listed = llmseq("recommend", model, "i01", "i02", "-k", 3, "--json").json
    assert len(listed) == 3
    assert not {"i01", "i02"} & {entry["item"] for entry in listed}
    sessions = tmp_path / "today.csv"
    sessions.write_text("session,item\na,i01\na,i02\nb,i09\n")
    done = llmseq("score", model, "--sessions", sessions, "--out", tmp_path / "out.csv", "-k", 3)
    assert done.status == 0, done.err
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == 1 + 6
    assert [line.split(",")[2] for line in lines[1:4]] == [entry["item"] for entry in listed]


def test_embeddings_are_whitened_to_few_dimensions_unless_told_otherwise(llmseq, shop):
    assert llmseq("embed", "--source", "lexical").status == 0
    small = ["--set", "epochs=1", "--json"]
    [row] = llmseq("train", "sasrec", "--embeddings", "lexical", "--dim", 8, *small).json
    assert (row["label"], row["reduce"], row["dim"]) == ("LLM2SASRec", "whiten@0.5", 8)
    [row] = llmseq("train", "gru4rec", "--embeddings", "lexical", "--reduce", "pca", "--dim", 6, *small).json
    assert (row["label"], row["reduce"], row["dim"]) == ("LLM2GRU4Rec", "pca", 6)
    refused = llmseq("train", "sasrec", "--embeddings", "lexical", "--reduce", "none", *small)
    assert (refused.status, "dense" in refused.err) == (2, True)


def test_the_default_dimension_gives_way_to_a_small_catalog(llmseq, shop):
    assert llmseq("embed", "--source", "lexical").status == 0
    trained = llmseq("train", "sasrec", "--embeddings", "lexical", "--set", "epochs=1", "--json")
    assert trained.status == 0, trained.err
    assert trained.json[0]["dim"] <= 40


def test_seeds_give_mean_and_spread(llmseq, shop):
    shown = llmseq("train", "sasrec", *FAST, "--seeds", 3)
    assert shown.status == 0, shown.err
    assert "over 3 seeds" in shown.out
    rows = llmseq("report", "--json").json
    assert sorted(row["seed"] for row in rows) == [0, 1, 2]
    mean = sum(row["ndcg@20"] for row in rows) / 3
    assert f"NDCG@20 {mean:.4f} ±" in shown.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dim=0"], "below its minimum"),
        (["dropout=1"], "above its maximum"),
        (["loss=hinge"], "cannot be 'hinge'"),
        (["heads=3", "dim=16"], "cannot be divided among 3 heads"),
        (["cold_items=true"], "without their text"),
        (["epochs=two"], "takes int"),
        (["layer=1"], "did you mean 'layers'"),
    ],
)
def test_wrong_settings(llmseq, shop, words, said):
    refused = llmseq("train", "sasrec", *[part for word in words for part in ("--set", word)])
    assert (refused.status, said in refused.err) == (2, True), refused.err
    assert llmseq("report", "--json").json == []


def test_a_device_that_is_not_there(llmseq, shop):
    refused = llmseq("train", "sasrec", "--device", "tpu")
    assert (refused.status, "there is no device 'tpu'" in refused.err) == (2, True)


def test_times_from_ingest_to_recommend(llmseq, tmp_path):
    lines = [
        f"u{user},i{(user + place) % 9},{10**6 * user + 10 * place**2}" for user in range(60) for place in range(4)
    ]
    (tmp_path / "clicks.csv").write_text("\n".join(["user,item,timestamp", *lines]) + "\n")
    assert llmseq("ingest", tmp_path / "clicks.csv", "--name", "clicks", "--k-core", 0).status == 0
    small = ["--set", "dim=8", "--set", "epochs=1", "--set", "time=both"]
    trained = llmseq("train", "hstu", *small, "--json")
    assert trained.status == 0, trained.err
    asked = ("recommend", "hstu", "i1", "i2", "-k", 3, "--json")
    without, early, late = (
        llmseq(*asked, *times).json
        for times in ((), ("--times", "0,30"), ("--times", "2024-05-01T12:00:00,2024-05-01T12:00:10"))
    )
    assert len({json.dumps(rows) for rows in (without, early, late)}) == 3
    assert llmseq(*asked, "--times", "1714564800,1714564810").json == late
    refused = llmseq(*asked, "--times", "2024-05-01")
    assert (refused.status, "1 time for 2 items" in refused.err) == (2, True), refused.err
    for name, times, wanted in (("timed", ("0", "30"), early), ("untimed", ("0", ""), without)):
        rows = [f"s,i{item},{time}" for item, time in zip((1, 2), times, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["session,item,time", *rows]) + "\n")
        scored = llmseq(
            "score", "hstu", "--sessions", tmp_path / f"{name}.csv", "--out", tmp_path / "lists.jsonl", "-k", 3
        )
        assert scored.status == 0, scored.err
        assert ("1 of 2 rows have no time" in scored.err) == (name == "untimed")
        lists = [json.loads(line) for line in (tmp_path / "lists.jsonl").read_text().splitlines()]
        assert [(one["item"], one["score"]) for one in lists] == [
            (one["item"], pytest.approx(one["score"], rel=1e-6)) for one in wanted
        ]
    made = llmseq("export", "hstu", "--format", "bundle", "--out", tmp_path / "bundle")
    assert "reads the times of a session" in made.err + made.out
    assert "`times=[" in (tmp_path / "bundle" / "README.md").read_text()
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.recommend(["i1", "i2"], k=3, times=[0, 30]) == early
    assert bundle.recommend_many([["i1", "i2"]] * 2, k=3, times=[None, [0, 30]]) == [without, early]
    tuned = llmseq("tune", "sasrec", "--trials", 1, *small, "--json")
    assert tuned.status == 0, tuned.err


def test_a_dataset_that_tells_only_the_order_has_no_times(llmseq, tmp_path):
    lines = [f"u{user},i{(user + place) % 9},{place}" for user in range(60) for place in range(4)]
    (tmp_path / "order.csv").write_text("\n".join(["user,item,timestamp", *lines]) + "\n")
    assert llmseq("ingest", tmp_path / "order.csv", "--name", "order", "--k-core", 0).status == 0
    refused = llmseq("train", "sasrec", "--set", "time=bias", "--set", "epochs=1")
    assert (refused.status, "only give the order" in refused.err) == (2, True), refused.err
