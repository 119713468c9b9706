"""A last training on the split's validation items, which whatever is judged or learnt by them does without."""

import numpy as np
import pytest
from support.planted import N_ITEMS, fitted, sessions

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.neural.held_out import with_validation

NEW = N_ITEMS - 1
QUICK = {"epochs": 1, "refit_validation": True}


def test_every_session_as_far_as_it_is_known():
    train = Sessions.from_lengths(np.array([1, 2, 3, 4, 5]), np.array([2, 1, 2]), np.array([3, 5, 8]))
    cases = Sessions.from_lengths(
        np.array([1, 2, 6, 1, 2, 6, 7, 9, 9]), np.array([3, 4, 2]), np.array([3, 3, 1]), times=None
    )
    both = with_validation(train, cases)
    assert [list(both[place]) for place in range(4)] == [[9, 9], [1, 2, 6, 7], [3], [4, 5]]
    assert list(both.ids) == [1, 3, 5, 8]


@pytest.fixture(scope="module")
def parts() -> tuple[Sessions, Sessions]:
    """(training sessions, the same with an item after them that training lacks)."""
    train = sessions(60)
    train = train.only(np.arange(N_ITEMS) != NEW)
    train = train.take(np.flatnonzero(train.lengths >= 2))
    return train, Sessions.from_lists([[*session, NEW] for session in map(train.__getitem__, range(len(train)))])


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "bert4rec", "hstu"])
def test_it_knows_items_that_only_validation_has(parts, name):
    train, cases = parts
    known = {"train": train, "validation": cases}
    model, figures = fitted(name, QUICK, **known, refits_validation=True)
    assert NEW in model.item_ids
    assert figures["refit_epochs"] == figures["best_epoch"] == 1
    assert figures["trained_positions"] > fitted(name, {"epochs": 1}, **known)[1]["trained_positions"]


def test_without_patience_it_trains_once_on_all(parts):
    train, cases = parts
    one, figures = fitted("sasrec", QUICK | {"patience": 0}, train=train, validation=cases, refits_validation=True)
    assert "refit_epochs" not in figures
    same, _ = fitted("sasrec", {"epochs": 1, "patience": 0}, train=with_validation(train, cases))
    for key, array in same.arrays().items():
        np.testing.assert_array_equal(array, one.arrays()[key])


def test_it_does_without_where_others_are_judged_by_them(parts):
    train, cases = parts
    known = {"train": train, "validation": cases}
    model, figures = fitted("sasrec", QUICK, **known)
    assert NEW not in model.item_ids
    assert "refit_epochs" not in figures
    plain, _ = fitted("sasrec", {"epochs": 1}, **known, refits_validation=True)
    for key, array in plain.arrays().items():
        np.testing.assert_array_equal(array, model.arrays()[key])


def test_blends_learn_weights_from_a_model_without_them(llmseq, shop):
    assert llmseq("split", "shop", "--split", "leave-one-out", "--as", "last").status == 0
    for extra in ([], ["--set", "refit_validation=true"]):
        small = ["--set", "dim=16", "--set", "epochs=5"]
        assert llmseq("train", "sasrec", "--split", "last", *small, *extra).status == 0
    assert llmseq("train", "most-popular", "--split", "last").status == 0
    learnt = []
    for run in ("sasrec-1", "sasrec-2"):
        done = llmseq("train", "blend", "--split", "last", "--runs", f"{run},most-popular-3", "--json")
        assert done.status == 0, done.err
        [row] = done.json
        figures = llmseq("show", row["run"], "--json").json["figures"]
        learnt.append((list(figures["weights"].values()), figures["validation_ndcg"]))
    assert learnt[0] == learnt[1]
    assert "trained on validation items, too: sasrec-2" in " ".join(llmseq("report", "--split", "last").out.split())
    scores = [llmseq("show", run, "--json").json["metrics"] for run in ("blend-4", "blend-5")]
    assert scores[0] != scores[1], "the model that is blended is the one that knows all"


def test_a_split_without_validation_items_has_none_to_train_on(llmseq, shop):
    done = llmseq("train", "sasrec", "--set", "refit_validation=true", "--set", "epochs=1")
    assert (done.status, "the split has no validation items of its own" in done.err) == (2, True), done.err
