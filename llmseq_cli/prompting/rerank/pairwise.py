"""Pairwise: a tournament in rounds of comparisons of two candidates, each asked in both orders (as Qin et al. 2024 do).

Rounds are drawn by the Swiss system: candidates of equal points meet, none meets another twice. n candidates take
⌈log2 n⌉ rounds until at most one has won them all, each of n // 2 comparisons, instead of n (n − 1) / 2.
"""

from __future__ import annotations

import numpy as np

from llmseq_cli.prompting.asking import REFUSED
from llmseq_cli.prompting.rerank.method import Method, Shown, by_score
from llmseq_cli.prompting.rerank.reading import ReadAnswer


class Pairwise(Method):
    """A candidate gets a point where it is named in both orders, half a point where the answers differ or say nothing.

    titles: of all items, as shown. rounds: None for as many as single out the best.
    """

    def __init__(self, lists: np.ndarray, titles: list[str], read: ReadAnswer, rounds: int | None) -> None:
        super().__init__(lists)
        self.titles, self.read = titles, read
        n, top = lists.shape
        self.rounds = rounds or max(1, int(np.ceil(np.log2(top))))
        self.points = np.zeros((n, top))
        self.met = np.zeros((n, top, top), dtype=bool)

    def show(self, round: int) -> Shown:
        """Both orders of a pair stand one after the other."""
        standings = self.order()
        rows: list[int] = []
        pairs: list[tuple[int, int]] = []
        for row, counts in enumerate((self.lists >= 0).sum(axis=1).tolist()):
            for first, second in _drawn(standings[row, :counts].tolist(), self.met[row]):
                rows += [row, row]
                pairs += [(first, second), (second, first)]
        return Shown(np.array(rows, dtype=np.int64), np.array(pairs, dtype=np.int64).reshape(-1, 2))

    def take(self, shown: Shown, answers: list[tuple[int, str, str]]) -> None:
        wins = np.zeros(len(shown.rows))  # of the candidate that is shown first: 1, 0, or 0.5 where nothing is said
        wins[:] = 0.5
        answered = np.zeros(len(shown.rows), dtype=bool)
        items = shown.items(self.lists)
        for place, text, finish in answers:
            read = self.read(text, finish == "length", [self.titles[item] for item in items[place].tolist()])
            answered[place] = True
            self.counts["answers"] += 1
            self.counts["refused_answers"] += finish == REFUSED
            self.counts["empty_answers"] += not text.strip()
            self.counts["invented"] += read.invented
            self.counts["parse_failures"] += bool(text.strip()) and not read.named
            if read.named:
                wins[place] = 1.0 - read.named[0]
        first, second = slice(0, None, 2), slice(1, None, 2)
        both = answered[first] & answered[second]
        won = (wins[first] + 1 - wins[second]) / 2  # by the first of the pair, over both orders
        self.counts["comparisons"] += int(both.sum())
        self.counts["undecided_comparisons"] += int((both & (won == 0.5)).sum())
        rows, pairs = shown.rows[first], shown.slots[first]
        np.add.at(self.points, (rows, pairs[:, 0]), won)
        np.add.at(self.points, (rows, pairs[:, 1]), 1 - won)
        self.met[rows, pairs[:, 0], pairs[:, 1]] |= both
        self.met[rows, pairs[:, 1], pairs[:, 0]] |= both

    def order(self) -> np.ndarray:
        """By points, those of equal points in the run's order."""
        return by_score(self.lists, self.points)


def _drawn(standing: list[int], met: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of those who stand next to each other and have not met, from the top."""
    pairs, left = [], list(standing)
    while left:
        first = left.pop(0)
        for place, second in enumerate(left):
            if not met[first, second]:
                pairs.append((first, left.pop(place)))
                break
    return pairs
