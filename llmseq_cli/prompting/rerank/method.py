"""`Method`: the interface of all re-ranking methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass

import numpy as np

from llmseq_cli.evaluation.ranking import NO_ITEM


@dataclass(frozen=True)
class Shown:
    """Questions of a round. rows: int64[q], whose lists. slots: int64[q, m], places in these lists of what each
    question shows, in the order shown; −1 fills.
    """

    rows: np.ndarray
    slots: np.ndarray

    def items(self, lists: np.ndarray) -> np.ndarray:
        """What is shown, int32[q, m]. lists: int32[n, top]."""
        found = lists[self.rows[:, None], np.maximum(self.slots, 0)]
        return np.where(self.slots >= 0, found, NO_ITEM).astype(np.int32)

    def at_least(self, n: int) -> Shown:
        """The questions that show so many or more."""
        keep = (self.slots >= 0).sum(axis=1) >= n
        return Shown(self.rows[keep], self.slots[keep])


class Method(ABC):
    """One way to put lists in order, by rounds of questions; those of a round may be asked at once.

    lists: int32[n, top], titled candidates in the run's order, NO_ITEM fills. counts: what became of the answers.
    """

    rounds: int

    def __init__(self, lists: np.ndarray) -> None:
        self.lists = lists
        self.counts: Counter[str] = Counter()

    @abstractmethod
    def show(self, round: int) -> Shown:
        """The questions of a round, after the answers to those before."""

    @abstractmethod
    def take(self, shown: Shown, answers: list[tuple[int, str, str]]) -> None:
        """Answers to questions: (place of the question, text, why it ended). Questions without one keep their order."""

    @abstractmethod
    def order(self) -> np.ndarray:
        """The places of each list, best first: int64[n, top]; those that hold no item last."""


def by_score(lists: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Places int64[n, top] by descending score, those of equal scores in the run's order. scores: float[n, top]; nan
    comes last.
    """
    keys = np.where(np.isnan(scores), -np.inf, scores)
    keys = np.where(lists >= 0, keys, -np.inf)
    # Of what has no score, places that hold an item come first.
    order: np.ndarray = np.lexsort((np.broadcast_to(np.arange(lists.shape[1]), lists.shape), lists < 0, -keys), axis=1)
    return order
