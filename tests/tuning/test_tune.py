"""`llmseq tune` on the shop: what it finds, keeps, and goes on with."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from support.tuning_steps import RANDOM, trials_of
from support.warm import Command

from llmseq_cli import EmbedOptions, TrainOptions
from llmseq_cli.progress import SilentProgress
from llmseq_cli.tuning.study import Study


def test_the_best_settings_are_found_kept_and_trained_with(llmseq, shop):
    made = llmseq("tune", "sknn", "--trials", "12", "--startup", "4", "--json")
    assert made.status == 0, made.err
    study = made.json
    assert (study["study"], sum(study["states"].values()), study["folds"]) == ("shop-sknn", 12, 3)
    kept = trials_of(llmseq)
    assert [row["trial"] for row in kept] == list(range(12))
    best = max((row for row in kept if row["state"] == "complete"), key=lambda row: (row["value"], -row["trial"]))
    assert (study["best"]["trial"], study["best"]["value"]) == (best["trial"], best["value"])
    assert best["value"] == pytest.approx(sum(best["folds"]) / 3)
    assert kept[0]["settings"]  # the defaults come first, so that the search cannot end below them
    trained = llmseq("train", "sknn", "--from-tuning", "--json")
    assert trained.status == 0, trained.err
    run = llmseq("sql", "select settings from runs", "--json").json[0]["settings"]
    run = json.loads(run)
    assert {name: run[name] for name in study["best"]["settings"]} == study["best"]["settings"]
    again = llmseq("train", "sknn", "--from-tuning", "--set", "k=77", "--json")
    assert again.status == 0, again.err
    run = llmseq("sql", "select settings ->> 'k' as k from runs order by run desc", "--json").json[0]
    assert run["k"] == "77"


def test_the_value_is_that_of_the_folds(llmseq, shop):
    """One trial computed by hand: fit on each fold's earlier sessions, NDCG@20 on the next ones."""
    from llmseq_cli.data.dataset import load_dataset
    from llmseq_cli.evaluation.metrics import per_session
    from llmseq_cli.models.recommender import FitContext
    from llmseq_cli.models.registry import model_class
    from llmseq_cli.tuning.folds import temporal_folds

    assert llmseq("tune", "sknn", "--trials", "3", *RANDOM).status == 0
    row = trials_of(llmseq)[2]
    with shop.store.read("test") as con:
        dataset = load_dataset(con, "shop")
    cls = model_class("sknn")
    values = []
    for fold in temporal_folds(dataset.train, 3, len(dataset.catalog)):
        model = cls(cls.Settings(**row["settings"]), len(dataset.catalog))
        model.fit(fold.train, FitContext(dataset.catalog))
        ranks = model.recommend(fold.held_out.histories(), 20).ranks(fold.held_out.targets())
        values.append(per_session(ranks, 20)["ndcg"].mean())
    assert row["folds"] == pytest.approx(values)


def test_two_workers_find_what_one_finds(llmseq, shop):
    assert llmseq("tune", "sknn", "--trials", "6", *RANDOM, "--study", "one", "--json").status == 0
    assert llmseq("tune", "sknn", "--trials", "6", *RANDOM, "--study", "two", "--workers", "2", "--json").status == 0
    one, two = ([(r["trial"], r["settings"], r["folds"]) for r in trials_of(llmseq, name)] for name in ("one", "two"))
    assert one == two


def test_a_study_is_not_begun_twice_and_goes_on(llmseq, shop):
    assert llmseq("tune", "sknn", "--trials", "2", *RANDOM).status == 0
    twice = llmseq("tune", "sknn", "--trials", "4")
    assert (twice.status, "--resume continues" in twice.err) == (2, True)
    other = llmseq("tune", "sknn", "--trials", "4", "--resume", "--set", "k=60")
    assert (other.status, "searches something else" in other.err) == (2, True)
    assert llmseq("tune", "sknn", "--trials", "5", "--resume").status == 0
    assert llmseq("tune", "sknn", "--trials", "5", "--resume").status == 0  # nothing is left to do
    assert len(trials_of(llmseq)) == 5


def test_embeddings_reductions_and_dimensions_are_searched(llmseq, shop):
    shop.embed(EmbedOptions("lexical"))
    words = ["--embeddings", "lexical", "--reduce", "none,pca", "--dim", "8,16"]
    made = llmseq("tune", "llmseqsim", "--trials", "10", *RANDOM, *words, "--json")
    assert made.status == 0, made.err
    tried = {(row["reduce"], row["dim"]) for row in trials_of(llmseq, "shop-llmseqsim")}
    assert tried <= {("none", None), ("pca", 8), ("pca", 16)}
    assert len(tried) > 1
    trained = llmseq("train", "llmseqsim", "--from-tuning", "--json")
    assert trained.status == 0, trained.err
    best = made.json["best"]
    assert trained.json[0]["embeddings"].startswith("lexical")
    if best["reduce"] == "pca":
        assert (trained.json[0]["reduce"], trained.json[0]["dim"]) == ("pca", best["dim"])


def test_a_hybrid_is_tuned_with_members_that_do_not_look_ahead(llmseq, shop):
    shop.embed(EmbedOptions("lexical"))
    shop.train(TrainOptions("llmseqsim", embeddings="lexical"))
    shop.train(TrainOptions("sknn"))
    words = ["--runs", "llmseqsim,sknn", "--trials", "4", *RANDOM]
    made = llmseq("tune", "hybrid-sequential", *words, "--json")
    assert made.status == 0, made.err
    assert made.json["searched"] == ["cutoff"]
    assert len(list((shop.folder / "artifacts" / "runs").glob("*/earlier-*"))) == 6  # two base models on three folds
    trained = llmseq("train", "hybrid-sequential", "--from-tuning", "--json")
    assert trained.status == 0, trained.err


def test_settings_that_cannot_be_are_told_and_do_not_end_the_study(llmseq, shop):
    words = ["--search", "heads=1,3", "--set", "dim=16", "--set", "epochs=1"]
    made = llmseq("tune", "sasrec", "--trials", "6", *RANDOM, *words, "--json")
    assert made.status == 0, made.err
    states = {row["settings"]["heads"]: row["state"] for row in trials_of(llmseq, "shop-sasrec")}
    assert states.get(3) == "fail"
    assert states.get(1) in ("complete", "pruned")
    assert any("heads" in (row["error"] or "") for row in trials_of(llmseq, "shop-sasrec"))


def test_time_and_patience_end_a_study(llmseq, shop):
    assert llmseq("tune", "sknn", "--patience", "3", *RANDOM).status == 0
    kept = trials_of(llmseq)
    values = [row["value"] if row["state"] == "complete" else 0 for row in kept]
    assert len(values) - 1 - values.index(max(values)) == 3


def test_time_ends_a_study_in_the_middle_of_a_fold(llmseq, shop):
    long = ["tune", "gru4rec", "--set", "epochs=100000", "--set", "patience=0", "--set", "dim=8", *RANDOM]
    made = llmseq(*long, "--timeout", "5s")
    assert (made.status, "--resume continues" in made.err) == (0, True), made.err
    assert trials_of(llmseq, "shop-gru4rec") == []
    [begun] = Study.open(shop.folder / "artifacts" / "studies" / "shop-gru4rec").trials()
    assert begun.state == "RUNNING"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_killed_and_gone_on_with_no_trial_is_lost_or_run_twice(llmseq, shop, jobs):
    # With two at a time, what has come so far when a trial reaches a rung is a matter of chance.
    rungs = {"1": "1,2", "2": "none"}[jobs]
    searched = ["--set", "epochs=2", "--set", "dim=16", "--rungs", rungs, *RANDOM]
    words = ["tune", "gru4rec", *searched, "--workers", jobs, "--trials", "4"]
    process = Command(*words)
    journal = shop.folder / "artifacts" / "studies" / "shop-gru4rec" / "journal.log"
    while not (journal.exists() and journal.read_text().count('"folds"') >= 4):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    begun = {one.number: one.configuration for one in Study.open(journal.parent).trials()}
    made = llmseq(*words, "--resume", "--json")
    assert made.status == 0, made.err
    kept = trials_of(llmseq, "shop-gru4rec")
    assert [row["trial"] for row in kept] == list(range(4))
    assert all(len(row["folds"]) == 3 or row["state"] == "pruned" for row in kept)
    for number, configuration in begun.items():
        assert kept[number]["settings"] == configuration.settings
    assert llmseq(*words, "--study", "whole", "--json").status == 0
    whole = trials_of(llmseq, "whole")
    assert [(r["settings"], r["folds"]) for r in whole] == [(r["settings"], r["folds"]) for r in kept]


def test_killed_while_it_writes_it_goes_on_at_once(llmseq, shop, monkeypatch):
    """A process that holds every lock of the study, dies with it, and leaves half a line; the path is relative."""
    monkeypatch.chdir(shop.folder.parent)
    monkeypatch.setenv("LLMSEQ_WORKSPACE", shop.folder.name)
    assert llmseq("tune", "sknn", "--trials", "2", *RANDOM).status == 0
    killed = (
        "import os, pathlib, signal\n"
        "from llmseq_cli.tuning.study import Study\n"
        f"study = Study.open(pathlib.Path('{shop.folder.name}/artifacts/studies/shop-sknn'))\n"
        "study.worker.join()\n"
        "study.begin(lambda: False)\n"
        "study._alone().acquire()\n"
        "study._study._storage._backend._lock.acquire()\n"
        "with open(study.folder / 'journal.log', 'a') as file: file.write('{\"op_code')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert Command(before=killed).wait(60) == -signal.SIGKILL
    made = llmseq("tune", "sknn", "--trials", "4", "--resume")
    assert made.status == 0, made.err
    assert [(row["trial"], len(row["folds"])) for row in trials_of(llmseq)] == [(number, 3) for number in range(4)]


def test_an_interrupted_study_goes_on_in_the_same_process(shop, monkeypatch):
    from llmseq_cli.tuning.tune import TuneOptions, Tuning

    work = Tuning(shop.store, TuneOptions("sknn", trials=3, startup=1000), SilentProgress())
    monkeypatch.setattr(work, "_take", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        work.run()
    assert [one["state"] for one in shop.study("shop-sknn")["trials"]] == ["running"]
    shop.tune(TuneOptions("sknn", resume=True, trials=3))
    done = shop.study("shop-sknn")["trials"]
    assert [(one["trial"], one["state"]) for one in done] == [(0, "complete"), (1, "complete"), (2, "complete")]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_training_ends_the_study_and_fails_no_trial(shop, monkeypatch):
    from llmseq_cli.errors import InterruptedByUserError
    from llmseq_cli.tuning.executors import InProcess
    from llmseq_cli.tuning.tune import TuneOptions

    def interrupted(*_: object) -> None:
        raise InterruptedByUserError("stopped in epoch 2")

    monkeypatch.setattr(InProcess, "result", interrupted)
    with pytest.raises(InterruptedByUserError):
        shop.tune(TuneOptions("sknn", trials=3))
    assert [one["state"] for one in shop.study("shop-sknn")["trials"]] == ["running"]


def test_workers_go_with_the_process_that_they_work_for(llmseq, shop):
    import psutil

    words = ["tune", "gru4rec", "--set", "epochs=100000", "--set", "patience=0", "--set", "dim=8", "--workers", "2"]
    process = Command(*words)
    journal = shop.folder / "artifacts" / "studies" / "shop-gru4rec" / "journal.log"
    workers: list[psutil.Process] = []
    while len(workers) < 2 or not journal.exists():
        assert process.poll() is None
        workers = [
            one for one in psutil.Process(process.pid).children() if "popen_loky_posix" in " ".join(one.cmdline())
        ]
        time.sleep(0.1)
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert (len(gone), alive) == (2, [])


def test_two_processes_work_on_one_study(llmseq, shop):
    words = ["tune", "sknn", "--trials", "40", *RANDOM, "--wait-for-lock"]
    assert llmseq(*words[:2], "--trials", "1", *RANDOM).status == 0
    both = [Command(*words, "--resume", "--quiet") for _ in range(2)]
    assert [process.wait(180) for process in both] == [0, 0]
    kept = trials_of(llmseq)
    assert [row["trial"] for row in kept] == list(range(40))
    workers = {
        one.user_attrs["worker"]
        for one in Study.open(shop.folder / "artifacts" / "studies" / "shop-sknn")._study.trials
    }
    assert len(workers) >= 2


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["most-popular"], 2, "nothing to tune of most-popular"),
        (["sknn", "--backend", "spark"], 2, "no backend 'spark'"),
        (["sknn", "--ray-address", "auto"], 2, "--ray-address without Ray"),
        (["sknn", "--timeout", "soon"], 2, "--timeout is 'soon'"),
        (["sknn", "--study", "a/b"], 2, "is not a valid name for a study"),
        (["sknn", "--resume"], 1, "there is no study 'shop-sknn'"),
        (["sknn", "--embeddings", "lexical"], 2, "does not use item embeddings"),
        (["llmseqsim"], 2, "needs item embeddings"),
        (["llmseqsim", "--embeddings", "lexical"], 1, "no embeddings 'lexical'"),
        (["sasrec", "--dim", "x"], 2, "--dim is 'x'"),
        (["sasrec", "--rungs", "x"], 2, "--rungs is 'x'"),
        (["sasrec", "--rungs", "9,3"], 2, "--rungs is 9,3"),
        (["sasrec", "--rungs", "0"], 2, "--rungs is 0"),
        (["sknn", "--rungs", "3"], 2, "sknn does not train by epochs"),
        (["sasrec", "--reduce", "pca"], 2, "no embeddings to reduce"),
        (["hybrid-sequential"], 2, "is made of other runs"),
        (["nope"], 2, "no model is called 'nope'"),
    ],
)
def test_what_is_refused_leaves_nothing(llmseq, shop, words, status, says):
    made = llmseq("tune", *words, "--trials", "2")
    assert (made.status, says in made.err) == (status, True), made.err
    assert not list((shop.folder / "artifacts").glob("studies/*"))


def test_train_from_tuning_without_any(llmseq, shop):
    made = llmseq("train", "sknn", "--from-tuning")
    assert (made.status, "`llmseq tune sknn` makes some" in made.err) == (1, True), made.err
    assert llmseq("train", "sknn", "--study", "x").status == 2


def test_the_report_of_studies(llmseq, shop, monkeypatch):
    nothing = llmseq("report", "--tuning")
    assert (nothing.status, "no model has been tuned" in nothing.err) == (1, True)
    assert llmseq("tune", "sknn", "--trials", "8", *RANDOM).status == 0
    assert llmseq("report", "--tuning", "--format", "html").status == 2
    shown = llmseq("report", "--tuning")
    assert "what matters" in shown.out
    assert "train sknn --from-tuning" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    about = llmseq("report", "--tuning", "--json").json
    assert [one["study"] for one in about] == ["shop-sknn"]
    assert sum(about[0]["importance"].values()) == pytest.approx(1)


def test_a_dataset_that_is_replaced_takes_its_studies_along(llmseq, shop, shop_files):
    assert llmseq("tune", "sknn", "--trials", "2", *RANDOM).status == 0
    clicks, items = shop_files
    assert llmseq("ingest", clicks, "--items", items, "--name", "shop", "--replace").status == 0
    assert trials_of(llmseq) == []
    assert llmseq("tune", "sknn", "--trials", "2", *RANDOM).status == 0
