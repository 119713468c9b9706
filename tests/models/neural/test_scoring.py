"""Ranks of held-out items, in blocks of bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.neural import scoring

N, N_ITEMS = 30, 50


def by_hand(scores, history, target):
    if target in history:
        return 0
    others = [score for item, score in enumerate(scores) if item not in history and item != target]
    return 1 + sum(score > scores[target] for score in others) + sum(score == scores[target] for score in others) // 2


@pytest.mark.parametrize("numbers", [2**26, 7 * N_ITEMS, 1])
def test_ranks_are_those_of_a_plain_loop_whatever_the_block(numbers, monkeypatch):
    monkeypatch.setattr(scoring, "_BLOCK_NUMBERS", numbers)
    random = np.random.default_rng(1)
    hidden = torch.from_numpy(random.integers(-2, 3, size=(N, 4)).astype(np.float32))
    output = torch.from_numpy(random.integers(-2, 3, size=(N_ITEMS, 4)).astype(np.float32))
    histories = Sessions.from_lists([random.integers(0, N_ITEMS, size=random.integers(0, 6)) for _ in range(N)])
    targets = random.integers(0, N_ITEMS, size=N)
    targets[3] = histories[3][0] if len(histories[3]) else targets[3]
    scores = (hidden @ output.T).numpy()
    expected = [by_hand(scores[p], histories[p].tolist(), targets[p]) for p in range(N)]
    assert scoring.target_ranks(hidden, output, histories, targets).tolist() == expected


def test_no_prompts():
    nothing = scoring.target_ranks(torch.zeros(0, 4), torch.zeros(9, 4), Sessions.from_lists([]), np.zeros(0))
    assert nothing.tolist() == []
