"""Successive halving: training that pauses at rungs, and which trials go on from there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.tuning_steps import RANDOM, trials_of

from llmseq_cli.data.dataset import load_dataset
from llmseq_cli.models.registry import model_class
from llmseq_cli.tuning.folds import temporal_folds
from llmseq_cli.tuning.space import Choices, Space, searched_settings
from llmseq_cli.tuning.study import Spec
from llmseq_cli.tuning.units import Unit, catalog_arrays, fold_arrays, measure

SMALL = {"epochs": 4, "dim": 8, "layers": 1, "heads": 1, "threads": 1}


@pytest.fixture
def arrays(shop):
    with shop.store.read("test") as con:
        dataset = load_dataset(con, "shop")
    fold = temporal_folds(dataset.train, 3, len(dataset.catalog))[0]
    return catalog_arrays(dataset.catalog) | fold_arrays(0, fold)


@pytest.mark.parametrize("more", [{}, {"patience": 1, "ema_decay": 0.0}, {"patience": 0, "schedule": "linear"}])
def test_training_in_parts_is_training_at_once(arrays, tmp_path, more):
    whole = Unit(0, 0, "sasrec", SMALL | more, None, 3, "cpu")
    once = measure(whole, arrays)
    parts = replace(whole, checkpoints=str(tmp_path / "trial"))
    reached = [measure(replace(parts, pause=rung), arrays) for rung in (1, 2)]
    assert reached[0].epochs == 1
    assert len(list((tmp_path / "trial" / "search").glob("step-*"))) == 1
    last = measure(parts, arrays)
    assert (last.ndcg, last.epochs) == (once.ndcg, once.epochs)
    anew = measure(replace(whole, pause=2), arrays)  # where no checkpoint is found
    assert (anew.ndcg, anew.epochs) == (reached[1].ndcg, reached[1].epochs)


def test_what_is_pre_trained_is_not_paused(arrays, tmp_path):
    unit = Unit(0, 0, "s3rec", SMALL | {"pretrain_epochs": 2}, None, 3, "cpu")
    once = measure(unit, arrays)
    parts = replace(unit, checkpoints=str(tmp_path / "trial"))
    assert measure(replace(parts, pause=1), arrays).epochs == 1
    assert measure(parts, arrays).ndcg == once.ndcg


def test_the_best_half_goes_on(llmseq, shop):
    words = ["tune", "sasrec", "--set", "dim=8", "--set", "epochs=3", "--set", "layers=1", "--set", "heads=1"]
    made = llmseq(*words, "--set", "threads=1", "--rungs", "1,2", "--trials", "8", *RANDOM, "--json")
    assert made.status == 0, made.err
    trials = made.json["trials"]
    stages: list[list[float]] = [[], [], [], []]
    for trial in trials:
        folds = trial["folds"]
        gone_through = [*trial["rungs"], *(sum(folds[: n + 1]) / (n + 1) for n in range(len(folds)))]
        for number, value in enumerate(gone_through[:4]):  # the fifth is the end
            stages[number].append(value)
            leads = value >= sorted(stages[number], reverse=True)[max(len(stages[number]) // 2 - 1, 0)]
            assert (leads or trial["trial"] == 0) == (len(gone_through) > number + 1)
        assert trial["state"] == ("complete" if len(folds) == 3 else "pruned")
    states = {trial["state"] for trial in trials}
    assert states == {"complete", "pruned"}
    assert any(len(trial["rungs"]) == 1 for trial in trials)
    assert trials[0]["state"] == "complete"
    best = max((one for one in trials if one["state"] == "complete"), key=lambda one: one["value"])
    assert made.json["best"]["trial"] == best["trial"]
    assert {row["trial"]: row["state"] for row in trials_of(llmseq, "shop-sasrec")} == {
        one["trial"]: one["state"] for one in trials
    }
    folder = shop.folder / "artifacts" / "studies" / "shop-sasrec"
    assert not list((folder / "checkpoints").glob("*"))
    other = llmseq(*words[:2], "--resume", "--rungs", "2", "--trials", "9")
    assert (other.status, "the study 'shop-sasrec' has --rungs 1,2" in other.err) == (2, True), other.err
    again = llmseq(*words, "--set", "threads=1", "--rungs", "1,2", "--trials", "8", *RANDOM, "--study", "x", "--json")
    assert [one | {"seconds": 0} for one in again.json["trials"]] == [one | {"seconds": 0} for one in trials]


def test_the_first_trial_has_the_defaults():
    cls = model_class("sasrec").Settings
    found, fixed = searched_settings(cls, "sasrec", {}, {})
    space = Space(found, fixed)
    start = space.defaults(cls, "sessions")
    assert {name: start[name] for name in ("dim", "learning_rate", "grad_clip", "dropout")} == {
        "dim": 64,
        "learning_rate": 0.003,
        "grad_clip": 100,
        "dropout": 0.4,
    }
    assert set(start) == set(space.settings)
    assert space.defaults(cls, "leave-one-out")["dim"] == 128
    assert replace(space, embeddings=Choices(("lexical",))).defaults(cls)["learning_rate"] == 0.001
    assert replace(space, fixed={"item_init": "sessions"}).defaults(cls)["learning_rate"] == 0.001


def test_a_study_of_an_earlier_version_has_no_rungs():
    spec = Spec("sasrec", "shop", 1, Space({}), 3, 0, 40, rungs=(3, 9))
    about = json.loads(json.dumps(spec.to_json()))
    assert Spec.from_json(about) == spec
    del about["rungs"]
    assert Spec.from_json(about).rungs == ()
