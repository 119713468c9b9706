"""What the networks read of the times of a session."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.planted import DAY, LEARNING, N_ITEMS, fitted, timed

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.models.bert4rec import _known
from llmseq_cli.models.neural.times import SessionTimes
from llmseq_cli.models.registry import model_class


def hits(model, test: Sessions) -> float:
    """Share of the sessions of three items and more whose last item is the first of the list."""
    test = test.take(np.flatnonzero(test.lengths > 2))
    return float((model.recommend(test.histories(), 1).items[:, 0] == test.targets()).mean())


QUICK = LEARNING | {"epochs": 8, "patience": 0, "dropout": 0.0}


def test_gaps_tell_what_comes_next():
    test = timed(100, seed=1)
    model, _ = fitted("sasrec", QUICK | {"time": "input", "epochs": 14}, train=timed())
    assert hits(model, test) > 0.88
    blind, _ = fitted("sasrec", QUICK, train=timed())
    assert hits(blind, test) < 0.75
    unknown = hits(model, replace(test, times=None))
    assert 0.3 < unknown < 0.75, "a session without times is read without them"


@pytest.mark.parametrize(
    ("name", "use"),
    [("sasrec", "bias"), ("esasrec", "both"), ("hstu", "bias"), ("gru4rec", "input"), ("bert4rec", "both")],
)
def test_times_change_lists_and_survive_saving(name, use, tmp_path):
    model, _ = fitted(name, {"epochs": 1, "time": use, "ema_decay": 0.0, "learning_rate": 0.05}, train=timed(60))
    assert type(model).needs_times(model.settings)
    histories = timed(20, seed=2).histories()
    lists = model.recommend(histories, N_ITEMS)
    model.save(tmp_path)
    again = model_class(name).load(tmp_path).recommend(histories, N_ITEMS)
    np.testing.assert_array_equal(again.scores, lists.scores)
    later = replace(histories, times=histories.times + 400 * DAY)
    np.testing.assert_array_equal(model.recommend(later, N_ITEMS).scores, lists.scores)
    slower = replace(histories, times=histories.times * 50)
    assert not np.array_equal(model.recommend(slower, N_ITEMS).scores, lists.scores)


def test_times_count_only_where_they_are_asked_for():
    with_times, _ = fitted("sasrec", {"epochs": 1}, train=timed(60))
    without, _ = fitted("sasrec", {"epochs": 1}, train=replace(timed(60), times=None))
    for name, array in with_times.arrays().items():
        np.testing.assert_array_equal(array, without.arrays()[name])


@pytest.mark.parametrize(
    ("name", "settings", "train", "said"),
    [
        ("gru4rec", {"time": "bias"}, timed(60), "time can be none or input"),
        ("sasrec", {"time": "input", "layout": "paper"}, timed(60), "layout=paper reads no times"),
        ("sasrec", {"time": "bias"}, replace(timed(60), times=None), "have no times"),
        (
            "sasrec",
            {"time": "bias"},
            replace(timed(60), times=np.arange(len(timed(60).items))),
            "only give the order",
        ),
    ],
)
def test_what_cannot_be(name, settings, train, said):
    with pytest.raises(UsageError) as error:
        fitted(name, settings, train=train)
    assert said in f"{error.value} {error.value.hint}"


def test_steps_of_equal_ratio():
    module = SessionTimes("both", 4, 2)
    with torch.no_grad():
        module.gaps.copy_(torch.arange(72.0)[:, None].expand(72, 4))
        module.ages.copy_(torch.arange(72.0)[:, None].expand(72, 2))
    module.eval()
    seconds = torch.tensor([[0.0, 0.3, 0.3 + 60, 0.3 + 60 + 86_400 * 30]])
    x, bias = module(torch.zeros(1, 4, 4), (seconds * 1e6).long())
    assert x[0, :, 0].tolist() == [0, 1, 14, 50]
    assert bias.shape == (1, 2, 4, 4)
    assert bias[0, 0, 3].tolist() == bias[0, 1, :, 3].tolist()
    assert bias[0, 0].diagonal().tolist() == [1, 1, 1, 1]


def test_the_time_of_what_is_masked_is_not_told():
    times = torch.tensor([[1, 5, 9, 30, 0], [2, 3, 0, 0, 0]])
    known = torch.tensor([[True, False, True, False, False], [True, True, False, False, False]])
    assert _known(times, known).tolist() == [[1, 1, 9, 9, 9], [2, 3, 3, 3, 3]]
