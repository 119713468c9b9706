"""Models made of runs from the command line."""

import json
import shutil

import pytest

from llmseq_cli import EmbedOptions, IngestOptions, TrainOptions

FAST = ["--set", "dim=16", "--set", "epochs=2", "--set", "batch_size=32"]


@pytest.fixture
def runs(shop, prepared):
    """Two runs of llmseqsim, one of v-sknn; returns (similar, other, neighbours)."""

    def build(workspace):
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("llmseqsim", embeddings="lexical"))
        workspace.train(TrainOptions("llmseqsim", embeddings="lexical", reduce="pca", dim=8))
        workspace.train(TrainOptions("v-sknn"))

    prepared(shop, "similar-and-neighbours", build)
    return ["llmseqsim-1", "llmseqsim-2", "v-sknn-3"]


def figures(llmseq, run):
    [row] = llmseq("sql", f"select figures from runs where run = '{run}'", "--json").json
    return json.loads(row["figures"])


@pytest.mark.parametrize(
    ("model", "label", "taken"),
    [
        ("hybrid-sequential", "LLMSeqSim&Sequential", [0, 2]),
        ("hybrid-popularity", "LLMSeqSim&Popularity", [0]),
        ("embedding-ensemble", "EmbeddingEnsemble", [0, 1]),
        ("blend", "Blend", [0, 1, 2]),
        ("stack", "Stack", [0, 2]),
    ],
)
def test_train_recommend_and_score(llmseq, runs, tmp_path, model, label, taken):
    named = ",".join(runs[place] for place in taken)
    trained = llmseq("train", model, "--runs", named, "--json")
    assert trained.status == 0, trained.err
    [row] = trained.json
    assert (row["model"], row["label"], row["settings"]["runs"]) == (model, label, named)
    assert 0 < row["hr@20"] <= 1
    listed = llmseq("recommend", model, "i01", "i02", "-k", 3, "--json").json
    assert len(listed) == 3
    assert not {"i01", "i02"} & {entry["item"] for entry in listed}
    sessions = tmp_path / "today.csv"
    sessions.write_text("session,item\na,i01\na,i02\nb,i09\n")
    done = llmseq("score", model, "--sessions", sessions, "--out", tmp_path / "out.csv", "-k", 3)
    assert done.status == 0, done.err
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in lines[1:4]] == [entry["item"] for entry in listed]


def test_models_name_their_best_run_and_latest_the_newest(llmseq, runs):
    best = max(llmseq("report", "--models", "llmseqsim", "--json").json, key=lambda row: row["ndcg@20"])["run"]
    trained = llmseq("train", "hybrid-sequential", "--runs", "llmseqsim, latest", "--set", "cutoff=0.5")
    assert trained.status == 0, trained.err
    assert f"hybrid-sequential of {best}, {runs[2]}" in trained.err.replace("\n", " ")


def test_weights_are_learnt_and_kept(llmseq, runs):
    trained = llmseq("train", "blend", "--runs", ",".join(runs))
    assert trained.status == 0, trained.err
    run = llmseq("report", "--models", "blend", "--json").json[0]["run"]
    found = figures(llmseq, run)
    assert list(found["weights"]) == runs
    assert sum(found["weights"].values()) == pytest.approx(1, abs=1e-3)
    assert found["validation_sessions"] > 0
    assert list(found["validation_ndcg_alone"]) == runs
    assert 0 < found["validation_ndcg"] <= 1
    weights = " ".join(trained.err.split())
    assert f"weights: {runs[0]} {found['weights'][runs[0]]:g}" in weights


def test_a_blend_is_the_same_again_and_trains_no_member_twice(llmseq, runs, shop, monkeypatch):
    from llmseq_cli.models.session_knn import VSKNN

    [first] = llmseq("train", "blend", "--runs", ",".join(runs), "--json").json
    with monkeypatch.context() as patched:
        patched.setattr(VSKNN, "fit", lambda *_: pytest.fail("the base model was trained before"))
        [second] = llmseq("train", "blend", "--runs", ",".join(runs), "--json").json
    assert second["run"] != first["run"]
    for metric in ("ndcg@20", "hr@20", "mrr@20"):
        assert second[metric] == first[metric]
    assert figures(llmseq, first["run"])["weights"] == figures(llmseq, second["run"])["weights"]
    kept = [path for path in (shop.folder / "artifacts" / "runs" / runs[2]).iterdir() if path.is_dir()]
    assert len(kept) == 1
    (kept[0] / "model.safetensors").write_bytes(b"damaged")
    third = llmseq("train", "blend", "--runs", ",".join(runs), "--json")
    assert third.status == 0, third.err
    assert third.json[0]["ndcg@20"] == first["ndcg@20"]
    assert shop.health() == []


def test_resume_finds_a_finished_blend(llmseq, runs):
    words = ["train", "blend", "--runs", ",".join(runs[1:]), "--json"]
    [first] = llmseq(*words).json
    [again] = llmseq(*words, "--resume").json
    assert again["run"] == first["run"]


def test_neural_members_are_trained_anew_with_their_own_settings(llmseq, runs, shop):
    trained = llmseq("train", "sasrec", "--embeddings", "lexical", "--dim", 8, *FAST[2:], "--json")
    assert trained.status == 0, trained.err
    neural = trained.json[0]["run"]
    blended = llmseq("train", "blend", "--runs", f"{runs[0]},{neural}", "--json")
    assert blended.status == 0, blended.err
    folder = shop.folder / "artifacts" / "runs" / neural
    [earlier] = [path for path in folder.iterdir() if path.is_dir()]
    settings = [json.loads((path / "model.json").read_text())["settings"] for path in (folder, earlier)]
    assert settings[0] == settings[1]


def test_blends_of_blends(llmseq, runs):
    inner = llmseq("train", "blend", "--runs", f"{runs[0]},{runs[2]}", "--json").json[0]["run"]
    outer = llmseq("train", "blend", "--runs", f"{inner},{runs[1]}", "--set", "method=rrf", "--json")
    assert outer.status == 0, outer.err
    assert llmseq("recommend", outer.json[0]["run"], "i01", "--json").status == 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["blend"], 2, "blend is made of other runs"),
        (["blend", "--runs", ""], 2, "blend is made of other runs"),
        (["blend", "--runs", "v-sknn"], 2, "takes 2 runs or more, not 1"),
        (["blend", "--runs", "v-sknn,v-sknn"], 2, "twice"),
        (["blend", "--runs", "v-sknn,v-sknm-9"], 1, "there is no run 'v-sknm-9'"),
        (["blend", "--runs", "v-sknn,llmseqsim", "--set", "weights=1"], 2, "2 runs and 1 weights"),
        (["blend", "--runs", "v-sknn,llmseqsim", "--set", "method=sum"], 2, "'method' cannot be 'sum'"),
        (["hybrid-sequential", "--runs", "llmseqsim"], 2, "takes 2 runs, not 1"),
        (["hybrid-sequential", "--runs", "v-sknn,llmseqsim"], 2, "must be one of llmseqsim"),
        (["hybrid-popularity", "--runs", "v-sknn"], 2, "must be one of llmseqsim"),
        (["embedding-ensemble", "--runs", "llmseqsim,v-sknn"], 2, "run 2 of embedding-ensemble"),
        (["blend", "--runs", "v-sknn,llmseqsim", "--embeddings", "lexical"], 2, "does not use item embeddings"),
        (["v-sknn", "--runs", "llmseqsim"], 2, "v-sknn is not made of other runs"),
    ],
)
def test_what_cannot_be_made_is_refused(llmseq, runs, words, status, said):
    refused = llmseq("train", *words)
    text = " ".join(refused.err.split())
    assert (refused.status, said in text, "hint:" in text) == (status, True, True), refused.err
    assert len(llmseq("report", "--json").json) == 3


def test_runs_of_another_dataset_are_refused(llmseq, runs, shop, shop_files):
    shop.ingest(IngestOptions([shop_files[0]], "market", items=[shop_files[1]]))
    elsewhere = llmseq("train", "v-sknn", "--dataset", "market", "--json").json[0]["run"]
    refused = llmseq("train", "blend", "--dataset", "shop", "--runs", f"{runs[0]},{elsewhere}")
    assert refused.status == 2
    assert f"run '{elsewhere}' is of the dataset 'market', not of 'shop'" in " ".join(refused.err.split())


def test_members_whose_files_are_gone(llmseq, runs, shop):
    assert llmseq("train", "blend", "--runs", ",".join(runs[1:])).status == 0
    shutil.rmtree(shop.folder / "artifacts" / "runs" / runs[2])
    used = llmseq("recommend", "blend", "i01")
    assert used.status == 1
    assert f"made of '{runs[2]}', whose files are missing" in " ".join(used.err.split())
    blended = llmseq("train", "blend", "--runs", ",".join(runs[1:]))
    assert blended.status == 1
    assert f"the files of run '{runs[2]}' are gone" in " ".join(blended.err.split())


def test_members_whose_embeddings_are_gone(llmseq, runs, shop):
    shop.sql("delete from core.embedding", write=True)
    words = ["train", "blend", "--runs", f"{runs[0]},{runs[2]}"]
    refused = llmseq(*words)
    assert refused.status == 1
    assert f"the embeddings that {runs[0]} was trained with are gone" in " ".join(refused.err.split())
    assert llmseq(*words, "--set", "weights=1,1").status == 0, "given weights need no training"


def test_models_lists_what_is_made_of_runs(llmseq):
    listed = {row["model"]: row for row in llmseq("models", "--json").json}
    assert {"hybrid-sequential", "hybrid-popularity", "embedding-ensemble", "blend"} <= set(listed)
    assert "runs" in {setting["name"] for setting in listed["blend"]["settings"]}
