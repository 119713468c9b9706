"""Pointwise: candidates by the log-probability that a model gives to Yes, or to their titles, as the answer."""

from __future__ import annotations

import json
import math

import numpy as np

from llmseq_cli.prompting.asking import REFUSED
from llmseq_cli.prompting.rerank.method import Method, Shown, by_score

YES_OR_NO = ("Yes", "No")


class Pointwise(Method):
    """by_title: one question a session, which is answered by log-probabilities of all titles; else one a candidate, by
    those of Yes and No, whose difference counts.

    Answers are JSON lists of numbers, null for what the server does not tell.
    """

    rounds = 1

    def __init__(self, lists: np.ndarray, *, by_title: bool) -> None:
        super().__init__(lists)
        self.by_title = by_title
        self.scores = np.full(lists.shape, np.nan)

    def show(self, round: int) -> Shown:
        held = self.lists >= 0
        if self.by_title:
            slots = np.where(held, np.arange(self.lists.shape[1]), -1)
            return Shown(np.arange(len(self.lists)), slots).at_least(2)
        rows, places = np.nonzero(held & (held.sum(axis=1, keepdims=True) > 1))
        return Shown(rows, places[:, None])

    def take(self, shown: Shown, answers: list[tuple[int, str, str]]) -> None:
        for place, text, finish in answers:
            self.counts["answers"] += 1
            self.counts["refused_answers"] += finish == REFUSED
            wanted = int((shown.slots[place] >= 0).sum()) if self.by_title else len(YES_OR_NO)
            told = _numbers(text, wanted)
            if not self.by_title and told[0] is not None and told[1] is not None:
                told = [told[0] - told[1]]
            elif not self.by_title:
                told = [None]
            self.counts["left_out"] += told.count(None)
            self.counts["repaired_answers"] += None in told
            for slot, value in zip(shown.slots[place][: len(told)], told, strict=True):
                self.scores[shown.rows[place], slot] = math.nan if value is None else value

    def order(self) -> np.ndarray:
        return by_score(self.lists, self.scores)


def _numbers(text: str, n: int) -> list[float | None]:
    """The n numbers of an answer, None for each that is missing."""
    try:
        told = json.loads(text)
    except ValueError:
        told = []
    sound = isinstance(told, list) and len(told) == n
    return [
        float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        else None
        for value in (told if sound else [None] * n)
    ]
