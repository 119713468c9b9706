"""Splits by the command line: made, chosen, told apart, and honoured by models, tuning and blends."""

from __future__ import annotations

import json

import pytest

from llmseq_cli.workspace import Workspace


@pytest.fixture
def both(llmseq, shop_files, tmp_path, prepared):
    """The dataset "shop" with the splits sessions and leave-one-out; returns what ingest printed."""
    clicks, items = shop_files

    def build(workspace):
        more = ["--items", items, "--name", "shop", "--split", "sessions,leave-one-out", "--json"]
        done = llmseq("ingest", clicks, *more)
        assert done.status == 0, done.err
        (workspace.folder / "ingested.json").write_text(done.out)
        assert llmseq("embed", "--source", "lexical").status == 0

    workspace = prepared(Workspace(tmp_path / "workspace"), "shop-of-two-splits", build)
    return json.loads((workspace.folder / "ingested.json").read_text())


def test_ingest_makes_several_splits(llmseq, both):
    assert list(both["splits"]) == ["sessions", "leave-one-out"]
    assert both["splits"]["leave-one-out"]["evaluated_sessions"] == 120
    assert both["evaluated_sessions"] == both["splits"]["sessions"]["evaluated_sessions"] == 24
    assert llmseq("datasets", "--json").json[0]["splits"] == ["leave-one-out", "sessions"]
    assert llmseq("datasets").out.splitlines()[1].split()[-1] == "2"
    facts = llmseq("describe", "shop", "--split", "leave-one-out", "--json").json
    assert (facts["name"], facts["split"], len(facts["splits"])) == ("shop/leave-one-out", "leave-one-out", 2)
    rows = llmseq("sql", "select split, count(*)::int as n from splits group by 1 order by 1", "--json").json
    assert rows == [{"split": "leave-one-out", "n": 120}, {"split": "sessions", "n": 120}]
    targets = llmseq("sql", "select part, count(*)::int as n from targets group by 1 order by 1", "--json").json
    assert targets == [{"part": "test", "n": 144}, {"part": "validation", "n": 120}]


def test_another_split_needs_no_files(llmseq, both, shop_files):
    for file in shop_files:
        file.unlink()
    made = llmseq("split", "shop", "--split", "global-time", "--targets", "successive", "--as", "each", "--json")
    assert made.status == 0, made.err
    assert made.json["evaluated_sessions"] > made.json["test_sessions"] > 0
    again = llmseq("split", "shop", "--split", "users", "--as", "each")
    assert (again.status, "already has a split 'each'" in again.err) == (1, True)
    wrong = llmseq("split", "shop", "--split", "leave-one-out", "--targets", "all", "--as", "x")
    assert (wrong.status, "--targets does not apply" in wrong.err) == (2, True)
    assert llmseq("split", "shop", "--split", "users", "--as", "a/b").status == 2
    assert llmseq("train", "most-popular", "--split", "each").status == 0
    row = llmseq("report", "--split", "each", "--json").json[0]
    assert (row["dataset"], row["split"], row["sessions"]) == ("shop/each", "each", made.json["evaluated_sessions"])
    ranks = llmseq("sql", "select count(*)::int as n, count(distinct session)::int as s from ranks", "--json").json[0]
    assert ranks == {"n": made.json["evaluated_sessions"], "s": made.json["test_sessions"]}


def test_a_command_asks_which_split_is_meant(llmseq, both):
    refused = llmseq("train", "most-popular")
    assert (refused.status, "several splits" in refused.err) == (1, True)
    assert "sessions, leave-one-out" in refused.err
    assert llmseq("train", "most-popular", "--split", "monthly").status == 1
    assert llmseq("train", "most-popular", "--dataset", "shop/sessions", "--split", "sessions").status == 2


def test_runs_of_two_splits_stand_in_two_tables(llmseq, both):
    for split in ("sessions", "leave-one-out"):
        assert llmseq("train", "most-popular", "--split", split).status == 0
    out = llmseq("report").out
    assert "shop/leave-one-out" in out
    assert "last 20% held out, 24 sessions scored" in " ".join(out.split())
    assert "leave-one-out: the last item of each session, 120 sessions scored" in " ".join(out.split())
    refused = llmseq("compare", "most-popular-1", "most-popular-2")
    assert (refused.status, "compare runs on the same dataset" in refused.err) == (2, True)
    alone = llmseq("report", "--split", "leave-one-out", "--json").json
    assert [row["run"] for row in alone] == ["most-popular-2"]
    assert llmseq("show", "most-popular", "--split", "leave-one-out", "--json").json["run"] == "most-popular-2"


def test_validation_belongs_to_the_split(llmseq, both):
    """Early stopping, tuning and blend weights use the validation items, and training keeps all sessions."""
    small = ("--set", "dim=16", "--set", "epochs=3", "--split", "leave-one-out")
    assert llmseq("train", "sasrec", *small).status == 0
    figures = json.loads(llmseq("sql", "select figures from runs where model = 'sasrec'", "--json").json[0]["figures"])
    assert "validation_ndcg" in figures
    assert "refit_epochs" not in figures, "nothing was held out of training"
    for model in (("v-sknn",), ("llmseqsim", "--embeddings", "lexical")):
        assert llmseq("train", *model, "--split", "leave-one-out").status == 0
    blended = llmseq("train", "blend", "--split", "leave-one-out", "--runs", "v-sknn,llmseqsim,sasrec")
    assert blended.status == 0, blended.err
    assert "Training v-sknn" not in blended.err, "members were trained on just these sessions already"
    figures = json.loads(llmseq("sql", "select figures from runs where model = 'blend'", "--json").json[0]["figures"])
    assert figures["validation_sessions"] == 120
    assert llmseq("tune", "v-sknn", "--trials", "3", "--split", "leave-one-out").status == 0
    trials = llmseq("sql", "select split, folds from trials", "--json").json
    assert {(row["split"], len(row["folds"])) for row in trials} == {("leave-one-out", 1)}
    assert llmseq("train", "v-sknn", "--from-tuning", "--split", "leave-one-out").status == 0
    missing = llmseq("train", "v-sknn", "--from-tuning", "--split", "sessions")
    assert (missing.status, "no trial" in missing.err) == (1, True)


def test_defaults_follow_the_split(llmseq, both):
    words = ("train", "sasrec", "--set", "epochs=1", "--set", "dim=8")
    for split in ("sessions", "leave-one-out"):
        assert llmseq(*words, "--split", split).status == 0
    assert llmseq(*words, "--split", "leave-one-out", "--set", "max_length=7").status == 0
    stored = [json.loads(row["settings"]) for row in llmseq("sql", "select settings from runs", "--json").json]
    names = ("last_weight", "max_length", "dim_without_embeddings", "dim")
    assert [tuple(one[name] for name in names) for one in stored] == [(4, 20, 64, 8), (1, 50, 128, 8), (1, 7, 128, 8)]
    told = {one["name"]: one["by_split"] for one in llmseq("models", "sasrec", "--json").json[0]["settings"]}
    assert (told["last_weight"], told["dropout"]) == ({"leave-one-out": 1}, {})
    assert "leave-one-out" in llmseq("models", "sasrec").out
    tuned = llmseq(
        "tune", "sasrec", "--split", "leave-one-out", "--trials", 1, "--set", "epochs=1", "--set", "dim=8",
        "--search", "dropout=0.1,0.2", "--search", "last_weight=1..4", "--json",
    )  # fmt: skip
    assert tuned.json["best"]["settings"]["last_weight"] == 1


@pytest.fixture
def repeating(llmseq, tmp_path, prepared):
    """Users who take the same two items again and again, under both rules."""
    prepared(Workspace(tmp_path / "workspace"), "again-and-again", lambda _: ingest_repeats(llmseq, tmp_path))


def ingest_repeats(llmseq, tmp_path):
    lines = ["user_id,item_id,timestamp,title"]
    for user in range(40):
        pair = (user % 5) * 2
        lines += [
            f"u{user},i{pair + step % 2},{1_600_000_000 + 3600 * user + step},thing {pair + step % 2}"
            for step in range(8)
        ]
    (tmp_path / "again.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = llmseq("ingest", tmp_path / "again.csv", "--name", "again", "--k-core", "0", "--split", "leave-one-out")
    assert done.status == 0, done.err
    assert llmseq("split", "again", "--split", "leave-one-out", "--repeats", "allow", "--as", "buy-again").status == 0
    assert llmseq("embed", "--source", "lexical").status == 0


@pytest.mark.parametrize(
    "model",
    [
        ("most-popular",),
        ("v-sknn",),
        ("llmseqsim", "--embeddings", "lexical"),
        ("sasrec", "--set", "dim=16", "--set", "epochs=2"),
    ],
    ids=lambda words: words[0],
)
def test_repeats_can_be_hit_where_they_are_allowed(llmseq, repeating, model):
    for split in ("leave-one-out", "buy-again"):
        done = llmseq("train", *model, "--split", split)
        assert done.status == 0, done.err
    excluded, allowed = (
        llmseq("report", "--dataset", "again", "--split", split, "--json").json[0]
        for split in ("leave-one-out", "buy-again")
    )
    assert excluded["hr@10"] == 0, "every ground truth stands in its prompt"
    assert allowed["hr@10"] == 1
    out = " ".join(llmseq("report").out.split())
    assert "repeats excluded" in out
    assert "repeats allowed" in out
    prompt = llmseq("recommend", allowed["run"], "i0", "i1", "--json").json
    assert {"i0", "i1"} <= {row["item"] for row in prompt}
    assert not {"i0", "i1"} & {row["item"] for row in llmseq("recommend", excluded["run"], "i0", "i1", "--json").json}
    audit = llmseq("describe", "again", "--split", "leave-one-out", "--audit", "--json").json
    assert any("40 ground truths stand in their history" in row["consequence"] for row in audit)


def test_blends_and_tuning_hit_repeats(llmseq, repeating):
    for model in (("v-sknn",), ("most-popular",)):
        assert llmseq("train", *model, "--split", "buy-again").status == 0
    assert llmseq("train", "blend", "--split", "buy-again", "--runs", "v-sknn,most-popular").status == 0
    assert llmseq("report", "--split", "buy-again", "--models", "blend", "--json").json[0]["hr@10"] == 1
    assert llmseq("tune", "v-sknn", "--trials", "2", "--split", "buy-again").status == 0
    assert llmseq("sql", "select min(value) as v from trials", "--json").json[0]["v"] > 0


def test_a_dataset_goes_with_its_splits(llmseq, both, shop_files):
    assert llmseq("train", "most-popular", "--split", "leave-one-out").status == 0
    clicks, items = shop_files
    assert llmseq("ingest", clicks, "--items", items, "--name", "shop", "--replace").status == 0
    assert llmseq("report", "--json").json == []
    tables = ("split_session", "split_item", "target")
    left = [llmseq("sql", f"select count(distinct split_id)::int as n from core.{t}", "--json").json for t in tables]
    assert left == [[{"n": 1}]] * 3


def test_popularity_of_a_window_alone_and_in_a_blend(llmseq, both):
    for given in (("--set", "window=6h"), ("--set", "half_life=1d"), ("--set", "last=50")):
        assert llmseq("train", "most-popular", *given, "--split", "sessions").status == 0
    figures = json.loads(
        llmseq("sql", "select figures from runs where run = 'most-popular-3'", "--json").json[0]["figures"]
    )
    assert figures["counted_interactions"] == 50
    assert llmseq("train", "v-sknn", "--split", "sessions").status == 0
    done = llmseq("train", "blend", "--split", "sessions", "--runs", "v-sknn,most-popular-1")
    assert done.status == 0, done.err


def test_recall_is_hit_rate_by_another_name_at_any_cutoffs(llmseq, both):
    assert llmseq("train", "v-sknn", "--split", "leave-one-out").status == 0
    [row] = llmseq("report", "--k", "1,5,10,20,50", "--json").json
    assert [row[f"recall@{k}"] for k in (1, 5, 10, 20, 50)] == [row[f"hr@{k}"] for k in (1, 5, 10, 20, 50)]
    assert row["recall@1"] == row["ndcg@1"] <= row["recall@5"] <= row["recall@50"]
    table = llmseq("report", "--columns", "run,recall@10,ndcg@10", "--sort", "recall@10").out
    assert "Recall@10" in table
    assert "Recall" not in llmseq("report").out


def test_published_figures_are_those_of_the_protocol(llmseq, both):
    """A dataset with the counts of the field's Beauty gets its leave-one-out figures, and no others."""
    for split in ("sessions", "leave-one-out"):
        assert llmseq("train", "v-sknn", "--split", split).status == 0
    none = " ".join(llmseq("report", "--split", "leave-one-out", "--paper").out.split())
    assert "no published leave-one-out results" in none
    counts = "update core.dataset set statistics = json_merge_patch(statistics, '%s')"
    known = '{"sessions": 22363, "items": 12101, "ties_at_end": %s}'
    assert llmseq("sql", counts % (known % 0.0), "--write").status == 0
    assert "--tie-break input" not in " ".join(llmseq("report", "--split", "leave-one-out", "--paper").out.split())
    assert llmseq("sql", counts % (known % 0.4), "--write").status == 0
    shown = llmseq("report", "--split", "leave-one-out", "--paper").out
    assert "0.0523  0.0928" in shown  # at ten, as published, and with its digits
    assert "NDCG@20" in llmseq("report", "--split", "leave-one-out", "--paper", "--sort", "ndcg@20").out
    for label in ("eSASRec", "TIGER", "HSTU", "ActionPiece"):
        assert label in shown
    notes = " ".join(shown.split())
    assert "recall@10 (the same as HR@10 here)" in notes
    assert "ingest with --tie-break input" in notes
    assert "hold out the last sessions, another protocol" in notes
    assert "LLM2BERT4Rec" not in shown
    paper = llmseq("report", "--split", "sessions", "--paper").out
    assert "LLM2BERT4Rec" in paper
    assert "eSASRec" not in paper
    assert "8 published models use leave-one-out, another protocol" in " ".join(paper.split())


def test_the_recipe_of_the_fields_table_is_planned(llmseq):
    plan = llmseq("reproduce", "beauty-leave-one-out", "--dry-run", "--json")
    assert plan.status == 0, plan.err
    assert {"most-popular", "v-sknn", "llmseqsim", "llm2sasrec", "blend"} <= {row["step"] for row in plan.json} | {
        row["what"] for row in plan.json
    }
    assert plan.json[0]["with"] == "download of beauty"
    missing = llmseq("reproduce", "beauty-leave-one-out", "--dry-run", "--data", "nowhere/")
    assert (missing.status, "nowhere/ does not exist" in missing.err) == (1, True)
    toys = llmseq("reproduce", "toys-leave-one-out", "--dry-run", "--json")
    assert toys.status == 0, toys.err
    assert [row["what"] for row in toys.json if row["step"] == "train"][-2:] == ["sasrec", "sasrec-from-sessions"]


def test_sampled_metrics_only_on_request_and_never_beside_others(llmseq, both):
    assert llmseq("train", "v-sknn", "--split", "leave-one-out").status == 0
    whole = llmseq("report", "--json").json[0]
    about = llmseq("show", "latest", "--sampled", "10", "--json").json["sampled"]
    assert (about["comparable"], about["negatives"], about["drawn"]) == (False, 10, "uniform")
    everything = llmseq("show", "latest", "--sampled", "4000", "--json").json["sampled"]
    few = " ".join(llmseq("show", "latest", "--sampled", "4000").out.split())
    assert f"among {everything['fewest']} to {everything['most']} uniform items each, as there are no 4000" in few
    assert 0 < everything["fewest"] < everything["most"] < 40
    assert everything["metrics"]["mrr@10"] == pytest.approx(whole["mrr@10"]), "among all items it is the whole catalog"
    shown = " ".join(llmseq("show", "latest", "--sampled", "10", "--drawn", "popular").out.split())
    assert "among 10 popular items each; not comparable with figures over the whole catalog" in shown
    assert llmseq("report", "--json").json[0] == whole, "nothing of it is stored"
    assert llmseq("show", "latest", "--sampled", "10", "--drawn", "often").status == 2
