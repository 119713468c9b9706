"""Temporal folds: never a look ahead."""

from __future__ import annotations

import numpy as np
import pytest

from llmseq_cli.data.dataset import load_dataset
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError
from llmseq_cli.tuning.folds import temporal_folds


def test_each_fold_learns_from_all_that_came_before():
    train = Sessions.from_lists([[0, 1], [1, 2, 0], [2, 0], [0, 3, 1], [3, 0], [1, 0, 2], [4, 0, 3], [0, 4, 5]])
    folds = temporal_folds(train, 3, 6)
    assert [fold.train.ids.tolist() for fold in folds] == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]
    assert [fold.held_out.ids.tolist() for fold in folds] == [[2, 3], [4, 5], [6]]
    assert folds[0].held_out[1].tolist() == [0, 1]  # item 3 is not known yet
    assert folds[2].held_out[0].tolist() == [0, 3]  # and of the last session too little is left
    for fold in folds:
        assert set(fold.held_out.items.tolist()) <= set(fold.train.items.tolist())
        assert fold.train.ids.max() < fold.held_out.ids.min()


def test_items_that_a_fold_has_not_seen_stay_where_the_test_part_keeps_them():
    train = Sessions.from_lists([[0, 1], [1, 2, 0], [2, 0], [0, 3, 1], [3, 0], [1, 0, 2], [4, 0, 3], [0, 4, 5]])
    folds = temporal_folds(train, 3, 6, keep_unseen=True)
    assert folds[0].held_out[1].tolist() == [0, 3, 1]
    assert folds[2].held_out[1].tolist() == [0, 4, 5]


def test_they_are_the_bins_that_are_stored(shop):
    with shop.store.read("test") as con:
        train = load_dataset(con, "shop").train
        bins = con.execute("select bin from core.split_session where part = 'train' order by session_id").fetchnumpy()[
            "bin"
        ]
    folds = temporal_folds(train, 3, 40)
    assert [len(fold.train) for fold in folds] == np.cumsum(np.bincount(np.asarray(bins))[1:4]).tolist()


def test_too_few_sessions():
    with pytest.raises(LlmseqError, match="too few for 3 temporal folds"):
        temporal_folds(Sessions.from_lists([[0, 1], [1, 0]]), 3, 2)
